import onnx
import pytest
from sample_models import tiny_classifiers

from export.gates.precision import too_slow
from export.measure import speed


@pytest.fixture
def graphs(tmp_path, monkeypatch):
    """A classifier and the same with 100 more nodes; each turn is three calls."""
    monkeypatch.setattr(speed, "_ROUNDS", 3)
    monkeypatch.setattr(speed, "_SECONDS", 0.0)
    light = tiny_classifiers.classifier()
    heavy = onnx.ModelProto()
    heavy.CopyFrom(light)
    (first,) = (node for node in heavy.graph.node if node.op_type == "Mul")
    first.output[0] = "scaled_0"
    work = [
        onnx.helper.make_node("Sin", [f"scaled_{number}"], [f"scaled_{number + 1}"])
        for number in range(100)
    ]
    work[-1].output[0] = "scaled"
    nodes = [*heavy.graph.node[:2], *work, *heavy.graph.node[2:]]
    del heavy.graph.node[:]
    heavy.graph.node.extend(nodes)
    files = tmp_path / "light.onnx", tmp_path / "heavy.onnx"
    for made, file in zip((light, heavy), files, strict=True):
        onnx.checker.check_model(made, full_check=True)
        onnx.save(made, file)
    return files


def test_a_faster_variant_is_told_from_a_slower_one(graphs):
    """By measured times, a faster graph passes the speed gate and a slower one does not."""
    light, heavy = graphs
    pixels = tiny_classifiers.images(3)

    faster = speed.measure(heavy, light, "int8", {"images": pixels})
    slower = speed.measure(light, heavy, "int8", {"images": pixels})

    assert list(faster.speedup) == list(slower.speedup) == list(speed.BATCH_SIZES)
    assert too_slow(faster.speedup) == []
    assert len(too_slow(slower.speedup)) == len(speed.BATCH_SIZES)
    for batch in speed.BATCH_SIZES:
        assert faster.speedup[batch] > 1.5
        assert faster.fp32_ms[batch] > faster.ms[batch] > 0
        assert slower.ms[batch] > slower.fp32_ms[batch] > 0
    assert set(faster.as_dict()["batches"]["32"]) == {"fp32_ms", "ms", "speedup"}

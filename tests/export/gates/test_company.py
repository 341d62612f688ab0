"""The gate that sends several concurrent requests to the served model."""

from dataclasses import replace

import numpy as np
import pytest
from onnx import TensorProto, helper
from sample_models.tiny_models import save

from export.errors import GateFailed
from export.gates import company, rows
from export.gates.asked import Asked
from serving.engine.runtime import Runtime, RuntimeConfig
from serving.tensors.signature import DataType, Signature, TensorSpec
from serving.tensors.verdict import Verdict


def spec(name):
    return TensorSpec(dtype=DataType.DT_FLOAT, shape=(-1, 2), tensor=name, graph_name=f"{name}:0")


def graph(folder, *nodes):
    """Write a graph; return its one signature, x to y, with the prover's verdict."""
    infos = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 2]) for name in ("x", "y")
    ]
    save(folder / "model.onnx", nodes, infos[:1], infos[1:])
    signature = Signature(
        method_name="tensorflow/serving/predict",
        file="model.onnx",
        inputs={"x": spec("x")},
        outputs={"y": spec("y")},
    )
    return rows.with_verdicts(folder, {"serving_default": signature})


def asked(function, *row_counts):
    random = np.random.default_rng(0)
    inputs = [random.standard_normal((count, 2)).astype(np.float32) for count in row_counts]
    return [
        Asked(signature="serving_default", inputs={"x": x}, outputs={"y": function(x)})
        for x in inputs
    ]


def less_mean(x):
    return x - x.mean(axis=0, keepdims=True)


MEAN = (
    helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1),
    helper.make_node("Sub", ["x", "mean"], ["y"]),
)


def test_requests_share_runs_and_keep_their_answers(tmp_path):
    """Each request gets the answer to its own rows, although several requests shared a run."""
    signatures = graph(tmp_path, helper.make_node("Add", ["x", "x"], ["y"]))

    (finding,) = company.check(tmp_path, signatures, asked(lambda x: x + x, 1, 5, 2))

    assert finding["requests"] == 9
    assert finding["runs"] < 9
    assert finding["most_rows"] > 5


def test_the_gate_runs_on_the_cpu(tmp_path, monkeypatch):
    """As TensorFlow did for the expected answers, also where there is a GPU."""
    signatures = graph(tmp_path, helper.make_node("Add", ["x", "x"], ["y"]))
    configs = []

    def runtime(file, config):
        configs.append(config)
        return Runtime(file, config)

    monkeypatch.setattr(company, "Runtime", runtime)
    company.check(tmp_path, signatures, asked(lambda x: x + x, 1))

    assert configs == [RuntimeConfig(device="cpu")]


def test_rows_that_depend_on_each_other_run_alone(tmp_path):
    """A graph with dependent rows passes the gate, because each request has its own run."""
    signatures = graph(tmp_path, *MEAN)

    (finding,) = company.check(tmp_path, signatures, asked(less_mean, 2, 5))

    assert finding["runs"] == finding["requests"] == 6


def test_wrong_verdict_is_found(tmp_path):
    """A graph with dependent rows fails the gate if its verdict says that they are independent."""
    signatures = {
        name: replace(
            signature,
            verdicts={
                digest: Verdict(independent=True, evidence="claimed", max_batch_size=64)
                for digest in signature.verdicts
            },
        )
        for name, signature in graph(tmp_path, *MEAN).items()
    }

    with pytest.raises(GateFailed, match=r"x \(2, 2\): output 'y' differs"):
        company.check(tmp_path, signatures, asked(less_mean, 2, 5))


def test_refused_request_is_found(tmp_path):
    """A request that the served model refuses fails the gate."""
    signatures = graph(tmp_path, helper.make_node("Add", ["x", "x"], ["y"]))
    question = Asked(
        signature="serving_default",
        inputs={"x": np.zeros((1, 3), np.float32)},
        outputs={"y": np.zeros((1, 3), np.float32)},
    )

    with pytest.raises(GateFailed, match=r"x \(1, 3\)"):
        company.check(tmp_path, signatures, [question])

import onnx
import tiny_classifiers

from export.measure import speed
from export.precisions import w8


def test_real_measurement_times_both(tmp_path):
    """Without a stand-in: times of both models at each batch size, and their ratio about right."""
    fp32_file = tmp_path / "model.onnx"
    onnx.save(tiny_classifiers.classifier(), fp32_file)
    onnx.save(w8.quantize(onnx.load(fp32_file)), fp32_file.with_name("model.w8.onnx"))

    measured = speed.measure(
        fp32_file, fp32_file.with_name("model.w8.onnx"), "w8", tiny_classifiers.images(3)
    )

    assert list(measured.speedup) == list(speed.BATCH_SIZES)
    for batch in speed.BATCH_SIZES:
        assert measured.ms[batch] > 0
        assert measured.fp32_ms[batch] > 0
    assert set(measured.as_dict()["batches"]["32"]) == {"fp32_ms", "ms", "speedup"}

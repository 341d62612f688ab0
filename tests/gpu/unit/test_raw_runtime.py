import numpy as np
import pytest
from gpu import graphs, raw_runtime
from gpu.machine import ROOT
from gpu.results import Results, read

GRAPH = graphs.Graph(
    model="simcnn", precision="fp32", file=ROOT / "models" / "simcnn" / "1" / "model.onnx"
)


def rows(tmp_path, **given: object) -> list[dict]:
    """Measure raw ONNX Runtime on the CPU; return the rows."""
    results = Results("raw", tmp_path, device="cpu")
    raw_runtime.run([GRAPH], results, device="cpu", seconds=0.01, **given)
    return read(tmp_path / "raw.json")["rows"]


def test_every_way_to_call_gives_the_right_answers(tmp_path):
    """Each mode answers images that it has not seen in the timed calls as the CPU does."""
    found = rows(tmp_path, batches=(1, 3))

    assert [(row["mode"], row["batch"]) for row in found] == [
        (mode, batch) for batch in (1, 3) for mode in ("eager", "host buffers", "device buffers")
    ]
    assert all((row["agreement"], row["max_delta"]) == (1, 0) for row in found)
    assert all(row["images_per_second"] > 0 for row in found)


def test_old_answers_are_an_error(tmp_path, monkeypatch):
    """A mode that answers the images of the timed calls again is an error, not a figure."""
    kept: list[np.ndarray] = []

    def stale(session, images):
        kept.append(session.run(["probabilities"], {"images": images})[0])
        return kept[min(1, len(kept) - 1)]  # the first answers are the reference's

    monkeypatch.setattr(raw_runtime, "_eager", stale)
    found = rows(tmp_path, batches=(8,))

    assert "wrong answers" in found[0]["error"]


def test_a_setting_that_cannot_be_used_does_not_stop_the_others(tmp_path):
    """A session that does not run on its device is a row with the error for each setting."""
    results = Results("raw", tmp_path, device="cuda")
    raw_runtime.run([GRAPH], results, device="cuda", batches=(1,), seconds=0.01)

    found = read(tmp_path / "raw.json")["rows"]
    assert len(found) == len(raw_runtime.SETTINGS["cuda"])
    assert all("CUDAExecutionProvider" in row["error"] for row in found)
    assert not results.ok


@pytest.mark.parametrize("count", [1, 24, 60])
def test_the_images_are_those_of_the_sample(count, sample_images):
    """Any number of images can be asked for; two seeds give other images first."""
    first, second = graphs.images(count), graphs.images(count, 1)

    known = {image.tobytes() for image in sample_images}
    assert first.shape == (count, 32, 32, 3)
    assert {image.tobytes() for image in first} <= known
    assert not np.array_equal(first[0], second[0])

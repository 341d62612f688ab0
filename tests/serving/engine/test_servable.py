import asyncio
import json
import logging
import time

import numpy as np
import pytest
from calling.rest_client import Http
from onnx import TensorProto, helper
from running import servers
from sample_models import arithmetic_models, odd_models, tiny_models

from serving.client import PredictClient
from serving.engine.batching.batching_config import BatchingConfig
from serving.engine.loading import graphs
from serving.engine.runtime import CPU, CUDA, RuntimeConfig
from serving.engine.servable import Servable
from serving.errors import DataLoss, FailedPrecondition, InvalidInput, ServingError
from serving.repository import publishing

ONES = np.ones((1, 3), np.float32)


def load(path, **config):
    return Servable.load("variants", 1, path, RuntimeConfig(**config), BatchingConfig())


@pytest.mark.parametrize(
    ("present", "asked", "chosen"),
    [
        (["fp32", "fp16", "w8", "int8"], "auto", "int8"),
        (["fp32", "fp16", "w8"], "auto", "fp32"),
        (["fp16", "w8"], "auto", "w8"),
        (["fp32", "int8"], "fp32", "fp32"),
    ],
)
def test_the_precision_that_was_chosen_answers(tmp_path, caplog, present, asked, chosen):
    """The servable and the log name the precision of the graph that runs."""
    caplog.set_level(logging.INFO)
    servable = load(arithmetic_models.variants(tmp_path, present), device="cpu", precision=asked)
    answer = servable.run("serving_default", {"x": ONES}, ["y"])["y"]
    servable.close()

    assert servable.precision == chosen
    assert answer[0, 0] == pytest.approx(arithmetic_models.VARIANT_ANSWERS[chosen], abs=1e-5)
    assert f"loaded variants/1 as {chosen} on CPUExecutionProvider in" in caplog.text


def test_a_missing_precision_fails_the_load(tmp_path):
    """A version without the asked precision fails to load; the message lists its precisions."""
    path = arithmetic_models.variants(tmp_path, ["fp32", "w8"])

    with pytest.raises(FailedPrecondition, match="precision int8; it has fp32, w8"):
        load(path, device="cpu", precision="int8")


def test_the_precision_follows_the_device_that_works(tmp_path, monkeypatch):
    """If CUDA does not start, the version runs on the CPU in the CPU's fastest precision."""
    monkeypatch.setattr(
        graphs,
        "choose_providers",
        lambda device: ([CPU] if device == "cpu" else [CUDA, CPU], "for the test"),
    )
    servable = load(arithmetic_models.variants(tmp_path, ["fp16", "int8"]))
    provider = servable.provider
    servable.close()

    assert (provider, servable.precision) == (CPU, "int8")


def test_a_server_runs_the_precision_of_its_flag(tmp_path):
    """A server with `--precision w8` answers with the w8 graph, also without a model.onnx."""
    arithmetic_models.variants(tmp_path, ["w8", "int8"])
    with (
        servers.in_this_process(tmp_path, precision="w8") as address,
        PredictClient(address) as client,
    ):
        answer = client.predict("variants", {"x": ONES})["y"]
        _, metadata = Http(address).get("/v2/models/variants")

    assert metadata["parameters"]["precision"] == "w8"
    assert answer.tolist() == [[arithmetic_models.VARIANT_ANSWERS["w8"]]]


def load_bare(path, **settings):
    config = RuntimeConfig(device="cpu")
    return Servable.load(path.parent.name, 1, path, config, BatchingConfig(), **settings)


def test_a_graph_that_refuses_zeros_is_served(tmp_path, caplog):
    """A graph that fails on zeros in warm-up is served, and one INFO line says so.

    The failure says nothing about real inputs.
    """
    caplog.set_level(logging.INFO)
    servable = load_bare(odd_models.quotient(tmp_path))
    feeds = {"a": np.array([6, 8]), "b": np.array([3, 2])}
    answer = servable.run("serving_default", feeds, ["y"])["y"]
    servable.close()

    lines = [record for record in caplog.records if "made-up inputs" in record.message]
    assert answer.tolist() == [2, 4]
    assert [record.levelname for record in lines] == ["INFO"]
    assert "\n" not in lines[0].message
    assert lines[0].message.startswith(
        "quotient/1: signature serving_default takes no made-up inputs of zeros, its first request "
        "warms it up (the model failed: "
    )


def test_free_dimensions_are_tried_with_several_sizes(tmp_path, caplog, monkeypatch):
    """Warm-up tries 1, 8 and 32 for a free dimension: a kernel of 16 pixels refuses 1 and 8."""
    caplog.set_level(logging.INFO)
    sizes = []
    run = Servable.run

    def note(self, name, inputs, outputs, control=None):
        answer = run(self, name, inputs, outputs, control)
        sizes.append(inputs["x"].shape)
        return answer

    monkeypatch.setattr(Servable, "run", note)
    load_bare(odd_models.image_filter(tmp_path)).close()

    assert sizes == [(1, 1, 32, 32)]
    assert "made-up inputs" not in caplog.text


def test_without_warm_up_no_graph_runs(tmp_path, monkeypatch):
    """With warm_up=False no graph runs while a version loads."""
    runs = []
    monkeypatch.setattr(Servable, "run", lambda *arguments: runs.append(arguments))
    load_bare(odd_models.quotient(tmp_path), warm_up=False).close()

    assert runs == []


def test_a_signature_may_leave_a_rank_open(tmp_path):
    """If the graph or signature.json leaves a rank open, the version loads."""
    path = odd_models.any_rank(tmp_path)
    tensor = {"dtype": "DT_FLOAT", "tensor": "x", "shape": [-1, 3]}
    signature = {
        "method_name": "tensorflow/serving/predict",
        "file": "model.onnx",
        "inputs": {"x": tensor},
        "outputs": {"y": tensor | {"tensor": "y", "shape": None}},
    }

    def write(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.onnx").write_bytes((path / "model.onnx").read_bytes())
        document = {"signatures": {"serving_default": signature}}
        (folder / "signature.json").write_text(json.dumps(document))

    servable = load_bare(publishing.publish(tmp_path / "published", write))
    signatures = servable.signatures
    servable.close()

    assert signatures["serving_default"].inputs["x"].shape == (-1, 3)
    assert signatures["serving_default"].outputs["y"].shape is None


def publish_with(models_dir, declared, shape, output_shape=(-1, 3)):
    """Publish `y = -x` with a declared shape in the graph and another one in signature.json."""
    tensor = {"dtype": "DT_FLOAT", "tensor": "x", "shape": shape}
    signature = {
        "method_name": "tensorflow/serving/predict",
        "file": "model.onnx",
        "inputs": {"x": tensor},
        "outputs": {"y": tensor | {"tensor": "y", "shape": output_shape}},
    }

    def write(folder):
        bare = odd_models.save(
            models_dir / "bare",
            "negative",
            [helper.make_node("Neg", ["x"], ["y"])],
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, declared)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, declared)],
        )
        (folder / "model.onnx").write_bytes((bare / "model.onnx").read_bytes())
        document = {"signatures": {"serving_default": signature}}
        (folder / "signature.json").write_text(json.dumps(document))

    return publishing.publish(models_dir / "negative", write)


@pytest.mark.parametrize(
    ("declared", "shape", "output_shape"),
    [
        (["batch", 3], (-1,), (-1, 3)),
        (["batch", 3], (-1, 4), (-1, 3)),
        (["batch", 3], (-1, 3), (-1,)),
        ([2, 3], (1, 3), (-1, 3)),
        ([], (1,), ()),
    ],
)
def test_a_signature_that_no_request_could_follow_is_refused(
    tmp_path, declared, shape, output_shape
):
    """A version whose signature contradicts its graph's shapes fails to load with DATA_LOSS.

    Requests that follow the signature would be refused by the graph or get another rank back.
    """
    path = publish_with(tmp_path, declared, shape, output_shape)

    with pytest.raises(DataLoss, match=r'put "[xy]" of signature serving_default is DT_FLOAT \('):
        load_bare(path)


@pytest.mark.parametrize(
    ("declared", "shape", "taken"),
    [
        (["batch", "any"], (-1, 3), (-1, -1)),
        (["batch", 3], (-1, -1), (-1, 3)),
        ([2, 3], (-1, 3), (2, 3)),
        (None, (-1, 3), None),
        (["batch", 3], None, (-1, 3)),
    ],
)
def test_either_side_may_know_more_of_a_shape(tmp_path, declared, shape, taken):
    """`signatures` shows the signature's shape; `declared` has the shape that the graph accepts."""
    servable = load_bare(publish_with(tmp_path, declared, shape, None))
    servable.close()

    assert servable.signatures["serving_default"].inputs["x"].shape == shape
    assert servable.declared["serving_default"]["x"].shape == taken


def test_requests_of_another_shape_run_alone(tmp_path):
    """A request whose shape is not the signature's runs alone.

    The proof of independent rows was about the signature's shape.
    """
    servable = load_bare(arithmetic_models.half_plus_two(tmp_path))
    reports = []
    servable.report_batches(reports.append)

    async def ask() -> None:
        for shape in ((2, 1), (3,), (), (2, 2), (0, 1), (70, 1), (70,)):
            inputs = {"x": np.ones(shape, np.float32)}
            await servable.predict("serving_default", inputs, ["y"])

    asyncio.run(ask())
    servable.close()

    assert servable.batched == {"serving_default": True}
    # (70, 1) is split at 64 rows; (70,) is not a batch and is not split.
    assert [report.request_rows for report in reports] == [
        *([2], [None], [None], [None], [None], [64], [6], [None])
    ]


def test_a_report_has_the_stages_of_its_runs(tmp_path):
    """A batch is taken, then runs, then is delivered; a run that raises an error is marked."""
    servable = load_bare(tiny_models.lookup(tmp_path))
    reports = []
    servable.report_batches(reports.append)

    async def ask() -> None:
        await servable.predict("serving_default", {"index": np.array([0, 1])}, ["y"])
        with pytest.raises(ServingError):
            await servable.predict("serving_default", {"index": np.array([7])}, ["y"])

    before = time.monotonic()
    asyncio.run(ask())
    servable.close()

    assert [[run.failed for run in report.runs] for report in reports] == [[False], [True]]
    for report in reports:
        (run,) = report.runs
        times = [before, report.taken, run.started, run.ended, report.delivered]
        assert times == sorted(times)
        assert report.waits[0] >= run.started - report.taken


def test_a_string_that_is_no_text_is_named_by_its_alias(tmp_path):
    """The error about a string that is not UTF-8 names the input's alias and the way out.

    Clients do not know the names of the graph's tensors.
    """
    bare = tiny_models.echo(tmp_path / "bare", "BYTES")
    tensor = {"dtype": "DT_STRING", "tensor": "x", "shape": [-1, 2]}
    signature = {
        "method_name": "tensorflow/serving/predict",
        "file": "model.onnx",
        "inputs": {"words": tensor},
        "outputs": {"y": tensor | {"tensor": "y"}},
    }

    def write(folder):
        (folder / "model.onnx").write_bytes((bare / "model.onnx").read_bytes())
        document = {"signatures": {"serving_default": signature}}
        (folder / "signature.json").write_text(json.dumps(document))

    servable = load_bare(publishing.publish(tmp_path / "echo", write))
    words = np.array([[b"\xff", b"b"]], object)
    with pytest.raises(InvalidInput) as caught:
        servable.run("serving_default", {"words": words}, ["y"])
    servable.close()

    assert caught.value.message.startswith('input "words" has a string that is not UTF-8, as ONNX')
    assert "send text in UTF-8" in caught.value.message

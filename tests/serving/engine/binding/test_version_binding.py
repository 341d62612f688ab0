import asyncio
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from running import servers
from sample_models import odd_models, tiny_models

from serving.client import PredictClient
from serving.engine.batching.batching_config import BatchingConfig
from serving.engine.binding import version_binding
from serving.engine.binding.graph_binding import GraphBinding
from serving.engine.devices.cuda_options import CudaChoices
from serving.engine.runtime import RuntimeConfig
from serving.engine.servable import Servable
from serving.errors import InvalidInput

MODELS = Path(__file__).parents[4] / "models"
SIZES = (1, 2, 4, 8, 16, 32, 64)


def load(path, io_binding="on", *, batching=None, warm_up=True, **config):
    return Servable.load(
        path.parent.name,
        1,
        path,
        RuntimeConfig(device="cpu", io_binding=io_binding, **config),
        batching or BatchingConfig(),
        warm_up=warm_up,
    )


@pytest.fixture
def loaded():
    """Load servables and close them at the end; the function has the arguments of `load`."""
    made = []

    def make(*arguments, **settings):
        made.append(load(*arguments, **settings))
        return made[-1]

    yield make
    for servable in made:
        servable.close()


def bound_runs(servable):
    """Return the bound runs of each worker thread."""
    return [worker._runs for worker in servable._batcher._workers]


async def ask(servable, inputs, outputs, name="serving_default"):
    return await servable.predict(name, inputs, outputs)


@pytest.mark.parametrize("model", ["simcnn", "resnet50"])
def test_bound_answers_are_equal_in_every_bit(model, loaded):
    """Both bundled models answer 1 to 64 images on fixed buffers as without, bit for bit.

    All sizes between the powers of two are padded.
    """
    path = MODELS / model / "1"
    bound, other = loaded(path), loaded(path, "off")
    images = np.random.default_rng(1).integers(0, 256, (64, 32, 32, 3), np.uint8)

    async def compare() -> list[tuple[int, str]]:
        different = []
        for rows in range(1, 65):
            inputs, outputs = {"images": images[:rows]}, ["probabilities", "classes"]
            ours, theirs = await ask(bound, inputs, outputs), await ask(other, inputs, outputs)
            for alias in outputs:
                same = ours[alias].tobytes() == theirs[alias].tobytes()
                if not same or ours[alias].shape != theirs[alias].shape:
                    different.append((rows, alias))
        return different

    assert asyncio.run(compare()) == []
    assert {rows for (_, rows) in bound_runs(bound)[0]} == set(SIZES)
    assert bound_runs(other) == [{}]


def test_many_callers_get_their_own_rows(loaded, tmp_path):
    """With two instances and many callers at the same time, each gets the answer to its rows.

    The answers are held until the end: no later run may change them.
    """
    servable = loaded(tiny_models.brightness(tmp_path), instances=2)
    random = np.random.default_rng(2)
    requests = [
        np.full((rows, 32, 32, 3), number % 256, np.uint8)
        for number, rows in enumerate(random.integers(1, 9, 300))
    ]

    async def callers() -> list[dict[str, np.ndarray]]:
        return await asyncio.gather(
            *(ask(servable, {"images": images}, ["probabilities"]) for images in requests)
        )

    answers = asyncio.run(callers())

    assert [len(runs) for runs in bound_runs(servable)] == [len(SIZES)] * 2
    for number, (images, answer) in enumerate(zip(requests, answers, strict=True)):
        bright = np.full(len(images), number % 256 / 255, np.float32)
        np.testing.assert_allclose(answer["probabilities"][:, 1], bright, atol=1e-6)
        assert list(answer) == ["probabilities"]


def test_outputs_are_filtered(loaded, tmp_path):
    """Requests for some outputs get these only, in a batch with the buffers of all outputs."""
    servable = loaded(tiny_models.add(tmp_path))
    inputs = {"a": np.array([5, 6, 7]), "b": np.array([3, 2, 1])}

    async def scenario():
        return [await ask(servable, inputs, outputs) for outputs in (["sum"], ["difference"])]

    some, others = asyncio.run(scenario())

    assert {alias: array.tolist() for alias, array in some.items()} == {"sum": [8, 8, 8]}
    assert {alias: array.tolist() for alias, array in others.items()} == {"difference": [2, 4, 6]}


def test_only_the_faulty_request_of_a_batch_fails(loaded, tmp_path):
    """A refused value fails its own request with INVALID_ARGUMENT, as without buffers."""
    servable = loaded(
        tiny_models.lookup(tmp_path), batching=BatchingConfig(batch_timeout_micros=100_000)
    )

    async def scenario():
        return await asyncio.gather(
            *(ask(servable, {"index": np.array([value])}, ["y"]) for value in (0, 9, 2)),
            return_exceptions=True,
        )

    first, bad, last = asyncio.run(scenario())

    assert (first["y"].tolist(), last["y"].tolist()) == ([1], [3])
    assert isinstance(bad, InvalidInput)
    assert "idx=9" in bad.message


def test_the_log_says_what_batches_run_on(loaded, tmp_path, caplog):
    """One line for each version names the way and the batch sizes."""
    caplog.set_level(logging.INFO)
    loaded(tiny_models.brightness(tmp_path), batching=BatchingConfig(max_batch_size=4))

    assert "brightness/1: fixed buffers on one session (1, 2, 4 rows)" in [
        record.message for record in caplog.records
    ]


FORCED = {"batching": BatchingConfig(forced_by="--test")}


@pytest.mark.parametrize(
    ("build", "settings", "reason"),
    [
        (lambda f: tiny_models.echo(f, "BYTES"), FORCED, 'input "x" has dtype DT_STRING'),
        (
            odd_models.image_filter,
            {},
            'input "x" is of shape (-1, 1, -1, -1), expected a free first dimension and fixed',
        ),
        (odd_models.total, {}, "its requests run alone"),
        (tiny_models.identity, {"warm_up": False}, "--enable_model_warmup is off"),
    ],
)
def test_other_signatures_run_without_buffers(caplog, tmp_path, build, settings, reason):
    """Signatures without fixed sizes, or whose requests run alone, have no buffers.

    The log says why, and batches on the CPU are then not padded either.
    """
    caplog.set_level(logging.INFO)
    servable = load(build(tmp_path), **settings)
    runs = bound_runs(servable)
    servable.close()

    assert f"no fixed buffers for serving_default ({reason}" in caplog.text
    assert runs == [{}]
    assert servable._batcher._config == settings.get("batching", BatchingConfig())


def test_a_signature_that_refuses_zeros_has_no_buffers(loaded, tmp_path, caplog):
    """A graph that refuses zeros is served without buffers; the refusal is in the log once."""
    caplog.set_level(logging.INFO)
    vectors = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch"]) for name in "aby"]
    path = odd_models.save(
        tmp_path, "quotient", [helper.make_node("Div", ["a", "b"], ["y"])], vectors[:2], vectors[2:]
    )
    servable = loaded(path, instances=3, **FORCED)
    answer = asyncio.run(ask(servable, {"a": np.array([6, 8]), "b": np.array([3, 2])}, ["y"]))

    assert answer["y"].tolist() == [2, 4]
    assert bound_runs(servable) == [{}] * 3
    assert caplog.text.count("takes no made-up inputs of zeros") == 1
    assert "quotient/1: no fixed buffers" in caplog.text


def test_the_sizes_of_a_batching_file_are_kept(loaded, tmp_path):
    """Sizes that the settings give are the sizes of the buffers."""
    batching = BatchingConfig(max_batch_size=6, allowed_batch_sizes=(3, 6))
    servable = loaded(tiny_models.identity(tmp_path), batching=batching)

    assert {rows for _, rows in bound_runs(servable)[0]} == {3, 6}
    assert servable._batcher._config == batching


def test_requests_are_split_at_the_largest_size_that_works(loaded, tmp_path, monkeypatch):
    """If only small batches could be prepared, larger requests are split.

    The sizes that worked are set; a GPU without memory is needed otherwise.
    """
    prepare = GraphBinding.prepare

    def less(self, refused, unbound):
        runs = prepare(self, refused, unbound)
        self.sizes = (1, 2)
        return runs

    monkeypatch.setattr(GraphBinding, "prepare", less)
    servable = loaded(tiny_models.identity(tmp_path))
    reports = []
    servable.report_batches(reports.append)
    x = np.arange(15, dtype=np.float32).reshape(5, 3)
    answer = asyncio.run(ask(servable, {"x": x}, ["y"]))

    np.testing.assert_array_equal(answer["y"], x)
    assert sorted(run.rows for report in reports for run in report.runs) == [1, 2, 2]


def test_a_failed_preparation_fails_the_load(tmp_path, monkeypatch):
    """An unexpected error while buffers are prepared fails the load and ends the threads."""

    def fail(*_arguments):
        msg = "unexpected"
        raise ValueError(msg)

    monkeypatch.setattr(GraphBinding, "prepare", fail)

    with pytest.raises(ValueError, match="unexpected"):
        load(tiny_models.identity(tmp_path))


@pytest.mark.parametrize(
    ("provider", "io_binding", "reasons"),
    [
        ("CPUExecutionProvider", "auto", None),
        ("CPUExecutionProvider", "off", None),
        ("CPUExecutionProvider", "on", {}),
        ("CUDAExecutionProvider", "auto", {}),
        ("CUDAExecutionProvider", "off", {"serving_default": "--io_binding is off"}),
    ],
)
def test_buffers_are_for_cuda_by_default(loaded, tmp_path, provider, io_binding, reasons):
    """`auto` binds on CUDA only. On CUDA the worker threads always warm up, so there is a plan."""
    servable = loaded(tiny_models.identity(tmp_path), "off")
    (runtime,) = servable._runtimes.values()
    runtime.provider = provider
    made = version_binding.plan(
        "m/1",
        servable.signatures,
        servable._runtimes,
        batched=servable.batched,
        config=RuntimeConfig(io_binding=io_binding),
        sizes=(1, 2),
    )

    assert (None if made is None else made.reasons) == reasons


def test_the_log_names_the_choices_on_cuda():
    """On CUDA the log names precision, TF32 and NHWC, with the setting or the reason of each."""
    default = RuntimeConfig()
    other = replace(default, precision="fp32", cuda=CudaChoices(tf32=False, prefer_nhwc=True))

    assert version_binding.describe_cuda(default, "fp16") == (
        "precision fp16 (the version's fastest on CUDA), TF32 on (--cuda_tf32), NHWC off "
        "(--cuda_prefer_nhwc)"
    )
    assert version_binding.describe_cuda(other, "fp32") == (
        "precision fp32 (--precision), TF32 off (--cuda_tf32), NHWC on (--cuda_prefer_nhwc)"
    )


def test_a_server_binds_with_its_flag(tmp_path, caplog):
    """A server with `--io_binding on` answers clients on fixed buffers."""
    caplog.set_level(logging.INFO)
    tiny_models.brightness(tmp_path)
    images = np.full((3, 32, 32, 3), 255, np.uint8)
    with (
        servers.in_this_process(tmp_path, io_binding="on") as address,
        PredictClient(address) as client,
    ):
        answer = client.predict("brightness", {"images": images})

    assert answer["classes"].tolist() == [1, 1, 1]
    assert "brightness/1: fixed buffers on one session" in caplog.text

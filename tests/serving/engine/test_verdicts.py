"""Tests of which signatures batch: recorded verdicts, proofs at load, forced batching."""

import asyncio
import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from sample_models import tiny_models

from serving.engine import verdicts
from serving.engine.batching.batching_config import BatchingConfig
from serving.engine.runtime import RuntimeConfig
from serving.engine.servable import Servable
from serving.errors import DataLoss, InternalError
from serving.repository import model_folder, publishing
from serving.tensors.signature import PREDICT_METHOD_NAME, Signature
from serving.tensors.tensor_spec import DataType, TensorSpec
from serving.tensors.verdict import Verdict

YES = Verdict(independent=True, evidence="was seen before", max_batch_size=64)


def save(models_dir: Path, name: str, *nodes) -> Path:
    """Save an ONNX file from `x` to `y`, float32 (rows, 3), whose nodes may reduce over rows."""
    path = models_dir / name / "1"
    tiny_models.save(
        path / "model.onnx",
        nodes,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["out", 3])],
    )
    return path


def save_centred(models_dir: Path) -> Path:
    """Save an ONNX file whose answers depend on the whole batch: it subtracts the batch's mean."""
    return save(
        models_dir,
        "centred",
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0]),
        helper.make_node("Sub", ["x", "mean"], ["y"]),
    )


def publish(models_dir: Path, verdict: Verdict, *, digest: str | None = None) -> Path:
    """Publish the model of `save_centred` with a verdict for its digest, or for `digest`."""

    def write(folder: Path) -> None:
        bare = save_centred(models_dir / "bare")
        (folder / "model.onnx").write_bytes((bare / "model.onnx").read_bytes())
        specs = {
            alias: {
                alias: TensorSpec(
                    dtype=DataType.DT_FLOAT, shape=(-1, 3), tensor=alias, graph_name=alias
                )
            }
            for alias in ("x", "y")
        }
        own = model_folder.sha256(folder / "model.onnx")
        signature = Signature(
            method_name=PREDICT_METHOD_NAME,
            file="model.onnx",
            inputs=specs["x"],
            outputs=specs["y"],
            verdicts={digest or own: verdict},
        )
        publishing.write_signatures(folder, {"serving_default": signature})

    return publishing.publish(models_dir / "published", write)


@pytest.fixture
def load():
    """A function that loads a version; the versions are closed at the end."""
    loaded = []

    def load(path: Path, **config) -> Servable:
        servable = Servable.load(
            path.parent.name, 1, path, RuntimeConfig(), BatchingConfig(**config)
        )
        loaded.append(servable)
        return servable

    yield load
    for servable in loaded:
        servable.close()


def test_a_bare_file_is_probed(tmp_path, load, caplog):
    """A file without a recorded verdict is probed at load; the log has the evidence."""
    caplog.set_level(logging.INFO)
    servable = load(save_centred(tmp_path))

    assert servable.batched == {"serving_default": False}
    assert 'output "y" of a batch of 2 rows' in servable.verdicts["serving_default"].evidence
    assert "centred/1: each request to serving_default runs alone: output" in caplog.text


def test_a_recorded_verdict_costs_nothing(tmp_path, load, monkeypatch):
    """A verdict that export recorded for the graph is used without a probe."""
    monkeypatch.setattr(verdicts.row_independence, "prove", lambda *_, **__: pytest.fail("probed"))
    servable = load(publish(tmp_path, YES))

    assert servable.batched == {"serving_default": True}
    assert servable.verdicts == {"serving_default": YES}


def test_another_graphs_verdict_is_not_believed(tmp_path, load):
    """A verdict for another graph's digest is ignored, and the graph is probed."""
    servable = load(publish(tmp_path, YES, digest="0" * 64))

    assert servable.batched == {"serving_default": False}


def test_a_verdict_on_smaller_batches_is_not_enough(tmp_path, load):
    """A verdict for batches of up to 64 rows does not suffice for a server with batches of 65."""
    path = publish(tmp_path, YES)

    assert load(path, max_batch_size=64).batched == {"serving_default": True}
    assert load(path, max_batch_size=65).batched == {"serving_default": False}


def test_a_recorded_no_holds_for_any_size(tmp_path, load, monkeypatch):
    """A recorded verdict of dependent rows holds for every batch size, without a probe."""
    monkeypatch.setattr(verdicts.row_independence, "prove", lambda *_, **__: pytest.fail("probed"))
    no = Verdict(independent=False, evidence="they mix", max_batch_size=64)
    servable = load(publish(tmp_path, no), max_batch_size=128)

    assert servable.batched == {"serving_default": False}


def test_the_whole_servers_switch_is_no_override(tmp_path, load):
    """`--enable_batching` does not override a verdict: TensorFlow Serving's users often pass it."""
    path = save_centred(tmp_path)

    assert load(path, enabled=True).batched == {"serving_default": False}
    assert load(tiny_models.identity(tmp_path), enabled=False).batched == {"serving_default": False}


def test_one_model_can_be_forced_with_a_warning(tmp_path, load, caplog):
    """--force_batching batches a refused signature; a warning has the setting and the evidence."""
    servable = load(save_centred(tmp_path), forced_by="--force_batching")

    assert servable.batched == {"serving_default": True}
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "share runs because of --force_batching" in record.getMessage()
    assert 'output "y" of a batch of 2 rows' in record.getMessage()


def test_a_proof_that_takes_too_long_counts_as_dependent(tmp_path, load, monkeypatch):
    """If the proof of independent rows takes too long, requests run alone."""
    monkeypatch.setattr(verdicts, "PROOF_SECONDS", 0.0)
    servable = load(tiny_models.identity(tmp_path))

    assert servable.batched == {"serving_default": False}
    evidence = servable.verdicts["serving_default"].evidence
    assert "the proof takes longer than its limit of 0 s" in evidence


def test_a_verdict_that_cannot_be_read_refuses_the_version(tmp_path, load):
    """A verdict that is not true or false fails the load of its version."""
    path = publish(tmp_path, YES)
    file = path / "signature.json"
    document = json.loads(file.read_text())
    (verdict,) = document["signatures"]["serving_default"]["row_independence"].values()
    verdict["independent"] = "yes"
    publishing.replace_documents(path, {"signature.json": json.dumps(document)})

    with pytest.raises(DataLoss, match="independent is 'yes', expected true or false"):
        load(path)


def test_the_outputs_of_a_forced_model_are_checked(tmp_path, load):
    """If a forced model's answer lacks rows, small requests run again alone and large ones fail.

    A large request runs in parts, and each part needs an output row for each of its own rows.
    """
    path = save(
        tmp_path,
        "first",
        helper.make_node("Constant", [], ["one"], value=helper.make_tensor("", 9, [1], [1])),
        helper.make_node("Compress", ["x", "one"], ["y"], axis=0),
    )
    servable = load(path, forced_by="--force_batching", max_batch_size=4)

    async def ask(rows: int) -> list:
        inputs = {"x": np.ones((rows, 3), np.float32)}
        asking = [servable.predict("serving_default", inputs, ["y"]) for _ in range(8)]
        return await asyncio.gather(*asking, return_exceptions=True)

    small, large = asyncio.run(ask(2)), asyncio.run(ask(5))

    assert [answer["y"].shape for answer in small] == [(1, 3)] * 8
    assert all(isinstance(error, InternalError) for error in large)
    assert all("do not name it in --force_batching" in error.message for error in large)


@pytest.mark.parametrize(
    ("verdict", "rows"),
    [
        (replace(YES, max_batch_size=256), 256),
        (YES, 64),
        (Verdict(independent=False, evidence="they mix", max_batch_size=64), None),
    ],
)
def test_the_largest_proved_batch_is_known(tmp_path, verdict, rows):
    """`proved_rows` is the size of the recorded proof; a version without one has none."""
    folder = model_folder.read(publish(tmp_path, verdict), ("fp32",))
    other = model_folder.read(publish(tmp_path / "other", verdict, digest="0" * 64), ("fp32",))

    assert verdicts.proved_rows(folder, folder.signatures) == rows
    assert verdicts.proved_rows(other, other.signatures) is None

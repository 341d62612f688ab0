"""Row independence verdicts on the graphs of a version, recorded at export or later."""

from dataclasses import replace

import pytest
from sample_models import arithmetic_models
from sample_results import sample_metrics as sample

from export.__main__ import main
from export.gates import rows
from serving.repository import model_folder
from serving.tensors.verdict import Verdict

PRECISIONS = ("fp32", "w8", "int8")


@pytest.fixture
def version(tmp_path):
    """A published version in three precisions without recorded verdicts."""
    return arithmetic_models.variants(tmp_path, PRECISIONS)


def digests(path) -> set[str]:
    files = [model_folder.variant_file("model.onnx", precision) for precision in PRECISIONS]
    return {model_folder.sha256(path / file) for file in files}


def test_every_graph_gets_a_verdict(version):
    """The graph of each precision gets a verdict, stored under the graph's SHA-256."""
    (signature,) = rows.with_verdicts(version, model_folder.read(version).signatures).values()

    assert signature.verdicts.keys() == digests(version)
    assert all(verdict.independent for verdict in signature.verdicts.values())


def test_verdicts_that_are_known_are_kept_and_stale_ones_dropped(version):
    """A recorded verdict is kept; verdicts on graphs that are not in the folder are dropped."""
    known = model_folder.sha256(version / "model.onnx")
    before = Verdict(independent=False, evidence="seen before", max_batch_size=64)
    (name, signature), *_ = model_folder.read(version).signatures.items()
    signature = replace(signature, verdicts={known: before, "0" * 64: before})

    given = rows.with_verdicts(version, {name: signature})[name].verdicts

    assert given.keys() == digests(version)
    assert given[known] == before
    assert all(verdict.independent for digest, verdict in given.items() if digest != known)


@pytest.mark.parametrize(("rows_before", "is_kept"), [(64, False), (256, True)])
def test_proofs_of_small_batches_are_repeated(version, rows_before, is_kept):
    """A recorded proof is kept only if it covers the largest batches that a GPU runs, 256 rows."""
    known = model_folder.sha256(version / "model.onnx")
    before = Verdict(independent=True, evidence="seen before", max_batch_size=rows_before)
    (name, signature), *_ = model_folder.read(version).signatures.items()
    signature = replace(signature, verdicts={known: before})

    verdict = rows.with_verdicts(version, {name: signature})[name].verdicts[known]

    assert (verdict == before) is is_kept
    assert verdict.max_batch_size == 256


def test_the_command_records_verdicts_of_a_published_version(tmp_path, capsys):
    """`prove-rows` writes signature.json, the card and the manifest, and nothing else."""
    path = sample.version(tmp_path, sample.metrics("tiny"))
    others = {
        file.name: file.read_bytes()
        for file in path.iterdir()
        if file.name not in {"signature.json", "manifest.json", "MODEL_CARD.md"}
    }

    code = main(["prove-rows", str(path)])

    signatures = model_folder.read(path).signatures  # read checks every file against the manifest
    assert code == 0
    assert all(signature.verdicts for signature in signatures.values())
    assert {name: (path / name).read_bytes() for name in others} == others
    assert "share runs" in (path / "MODEL_CARD.md").read_text()
    assert "may batch: rows answer the same" in capsys.readouterr().out

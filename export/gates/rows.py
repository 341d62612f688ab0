"""The proof for every graph of a version that its rows are independent and may be batched."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from export import progress
from serving.engine import row_independence
from serving.engine.batching.batching_config import ROWS_ON_CUDA
from serving.repository import model_folder
from serving.repository.model_folder import PRECISIONS, Precision
from serving.tensors.signature import Signature
from serving.tensors.verdict import Verdict

_log = logging.getLogger("export")


def with_verdicts(folder: Path, signatures: Mapping[str, Signature]) -> dict[str, Signature]:
    """Add the missing verdicts on row independence to signatures; takes as long as it needs.

    The proofs cover the largest batches that the server makes by default, those on CUDA. A
    signature without a proof is published too: the server runs each of its requests alone.

    Args:
        folder: Folder of the graphs, each in one precision or several.
        signatures: Signatures by name. Their verdicts on graphs in the folder are kept, verdicts
            on other graphs are dropped. A proof of smaller batches is repeated.

    Returns:
        The signatures, with a verdict on every graph that computes them.
    """
    verdicts: dict[str, dict[str, Any]] = {name: {} for name in signatures}
    for file in sorted({signature.file for signature in signatures.values()}):
        ours = {name: each for name, each in signatures.items() if each.file == file}
        for precision, onnx_file in _graphs(folder, file):
            progress.part(onnx_file.name)
            digest = model_folder.sha256(onnx_file)
            unknown = {
                name: each for name, each in ours.items() if not _reaches(each.verdicts.get(digest))
            }
            found = row_independence.prove_each(
                onnx_file, unknown, max_batch_size=ROWS_ON_CUDA, precision=precision
            )
            for name, signature in ours.items():
                verdict = found.get(name) or signature.verdicts[digest]
                verdicts[name][digest] = verdict
                _log.info(
                    "%s of %s: %s: %s",
                    name,
                    onnx_file.name,
                    "may batch" if verdict.independent else "each request runs alone",
                    verdict.evidence,
                )
    return {
        name: replace(signature, verdicts=verdicts[name]) for name, signature in signatures.items()
    }


def _reaches(verdict: Verdict | None) -> bool:
    """Return whether a verdict needs no new proof: it is negative, or covers a GPU's batches."""
    if verdict is None:
        return False
    return not verdict.independent or verdict.max_batch_size >= ROWS_ON_CUDA


def _graphs(folder: Path, file: str) -> Iterator[tuple[Precision, Path]]:
    for precision in PRECISIONS:
        onnx_file = folder / model_folder.variant_file(file, precision)
        if onnx_file.is_file():
            yield precision, onnx_file

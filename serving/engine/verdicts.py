"""Verdicts on row independence: recorded at export, or else found when a version is loaded."""

import logging
from collections.abc import Mapping

from serving.engine import row_independence
from serving.engine.batching.batching_config import BatchingConfig
from serving.engine.runtime import CPU, GraphRuntime
from serving.repository.model_folder import ModelFolder
from serving.tensors.signature import Signature
from serving.tensors.verdict import Verdict

logger = logging.getLogger(__name__)

# Time limit of a proof while a version is loaded; at export a proof has no limit.
PROOF_SECONDS = 20.0


def find(
    folder: ModelFolder,
    signatures: Mapping[str, Signature],
    runtimes: Mapping[str, GraphRuntime],
    batching: BatchingConfig,
) -> dict[str, Verdict]:
    """Return the verdict on each signature, by signature name.

    A recorded verdict is used if its SHA-256 is that of the graph in the manifest, and if it is
    negative or covers batches as large as this server makes. Any other signature is probed now.

    Args:
        folder: The version folder.
        signatures: Signatures of the version by name.
        runtimes: The loaded graphs by file name.
        batching: See `BatchingConfig`.
    """
    if not batching.enabled:
        off = Verdict(independent=False, evidence="batching is switched off for the whole server")
        return dict.fromkeys(signatures, off)
    verdicts: dict[str, Verdict] = {}
    for file, runtime in runtimes.items():
        ours = {name: each for name, each in signatures.items() if each.file == file}
        recorded = {
            name: verdict
            for name, each in ours.items()
            if (verdict := _recorded(folder, each, batching))
        }
        recorded |= {
            name: Verdict(independent=False, evidence=mixing)
            for name, mixing in runtime.row_mixing.items()
        }
        onnx_file = folder.onnx_files.get(file)  # None: a SavedModel
        verdicts |= recorded | row_independence.prove_each(
            onnx_file,
            {name: each for name, each in ours.items() if name not in recorded},
            max_batch_size=batching.max_batch_size,
            seconds=PROOF_SECONDS,
            precision=folder.precision,
            runtime=runtime if onnx_file is None or runtime.provider == CPU else None,
        )
    return verdicts


def proved_rows(folder: ModelFolder, signatures: Mapping[str, Signature]) -> int | None:
    """Return the rows of the largest batch that all recorded proofs of a version cover.

    Signatures whose rows are recorded as dependent do not count, because their requests run alone.

    Returns:
        The number of rows; None if a signature has no recorded verdict, or all are negative.
    """
    verdicts = [_of_this_graph(folder, signature) for signature in signatures.values()]
    if not all(verdicts):
        return None
    rows = [each.max_batch_size for each in verdicts if each is not None and each.independent]
    return min(rows, default=None)


def _of_this_graph(folder: ModelFolder, signature: Signature) -> Verdict | None:
    """Return the recorded verdict on a signature's graph; None if there is none."""
    onnx_file = folder.onnx_files.get(signature.file)
    digest = folder.digests.get(onnx_file.name) if onnx_file is not None else None
    return signature.verdicts.get(digest) if digest is not None else None


def _recorded(
    folder: ModelFolder, signature: Signature, batching: BatchingConfig
) -> Verdict | None:
    verdict = _of_this_graph(folder, signature)
    if verdict is None or not verdict.independent:
        return verdict
    return verdict if verdict.max_batch_size >= batching.max_batch_size else None


def may_batch(signature: Signature, verdict: Verdict, batching: BatchingConfig) -> bool:
    """Return whether requests to a signature share runs."""
    if not batching.enabled:
        return False
    return verdict.independent or (signature.has_rows and bool(batching.forced_by))


def batched(
    signatures: Mapping[str, Signature],
    verdicts: Mapping[str, Verdict],
    batching: BatchingConfig,
) -> dict[str, bool]:
    """Return whether requests to each signature share runs, by signature name."""
    return {
        name: may_batch(signature, verdicts[name], batching)
        for name, signature in signatures.items()
    }


def log(
    servable: str,
    verdicts: Mapping[str, Verdict],
    shared: Mapping[str, bool],
    batching: BatchingConfig,
) -> None:
    """Log each signature whose requests run alone, or share runs without a proof, with the reason.

    Args:
        servable: The version, as `name/version`.
        verdicts: The verdicts by signature name.
        shared: Whether requests share runs, by signature name.
        batching: See `BatchingConfig`.
    """
    for name, verdict in verdicts.items():
        if not shared[name]:
            logger.info("%s: each request to %s runs alone: %s", servable, name, verdict.evidence)
        elif not verdict.independent:
            logger.warning(
                "%s: requests to %s share runs because of %s, although its rows are not proved to "
                "be independent: %s",
                servable,
                name,
                batching.forced_by,
                verdict.evidence,
            )

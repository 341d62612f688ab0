"""The served gate: concurrent requests to the served model get TensorFlow's answers.

An earlier gate has compared the bare graph with TensorFlow. This gate sends requests through the
rest of the server's code: the version's signatures, the verdicts on its rows, the parser of
tf.Examples and the batcher.
"""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from export import progress
from export.errors import GateFailed
from export.failures import reason
from export.gates.asked import Asked
from export.gates.random_inputs import agree
from serving.engine.batching.batching_config import BatchingConfig
from serving.engine.runtime import Runtime, RuntimeConfig
from serving.engine.servable import Servable
from serving.errors import ServingError
from serving.repository.model_folder import sha256
from serving.tensors.signature import Signature

if TYPE_CHECKING:
    from serving.engine.batching.batch_report import BatchReport

# Number of concurrent requests with the same inputs.
_TIMES = 3
_WAIT_MICROS = 100_000

Arrays = Mapping[str, npt.NDArray[Any]]


def check(
    folder: Path, signatures: Mapping[str, Signature], asked: Sequence[Asked]
) -> list[dict[str, Any]]:
    """Send all requests of a signature at once, each several times, and compare the answers.

    Args:
        folder: Folder of the graphs.
        signatures: Signatures by name, with the verdicts on their rows.
        asked: Requests, with TensorFlow's answer to each alone.

    Returns:
        Entries for metrics.json, one a signature: the number of requests, the number of runs of the
        graph, and the largest number of rows in one run.

    Raises:
        GateFailed: an answer differs from TensorFlow's, or a request fails.
    """
    runtimes = {
        each.file: Runtime(folder / each.file, RuntimeConfig(device="cpu"))
        for each in signatures.values()
    }
    servable = Servable(
        name=folder.name,
        version=1,
        precision="fp32",
        signatures=signatures,
        row_verdicts={
            name: each.verdicts[sha256(folder / each.file)] for name, each in signatures.items()
        },
        runtimes=runtimes,
        class_names=(),
        instances=1,
        batching=BatchingConfig(batch_timeout_micros=_WAIT_MICROS),
    )
    try:
        return asyncio.run(_check_all(servable, asked))
    finally:
        servable.close()


async def _check_all(servable: Servable, asked: Sequence[Asked]) -> list[dict[str, Any]]:
    reports: list[BatchReport] = []
    servable.report_batches(reports.append)
    findings, problems = [], []
    for name in servable.signatures:
        questions = [each for each in asked if each.signature == name] * _TIMES
        reports.clear()
        progress.part(f"signature {name}")
        answers = await asyncio.gather(
            *(_ask(servable, each) for each in questions), return_exceptions=True
        )
        for question, answer in zip(questions, answers, strict=True):
            if difference := _difference(question, answer):
                problems.append(f"  signature {name!r}, {difference}")
        runs = [run for report in reports for run in report.runs]
        findings.append(
            {
                "signature": name,
                "requests": len(questions),
                "runs": len(runs),
                "most_rows": max((run.rows or 0 for run in runs), default=0),
            }
        )
    if problems:
        lines = dict.fromkeys(problems)
        msg = "\n".join(
            [
                "served gate: with concurrent requests the served model differs from TensorFlow",
                *lines,
            ]
        )
        msg += (
            "\n  way out: requests must not share a batch if rows depend on each other, and the "
            "proof of independence missed that: report this graph with its signature.json; "
            "nothing was published"
        )
        raise GateFailed(msg)
    return findings


async def _ask(servable: Servable, question: Asked) -> Arrays:
    signature = servable.signatures[question.signature]
    inputs = dict(question.inputs)
    if signature.feature_spec:
        examples = inputs.pop(signature.example_input)
        inputs |= servable.parsers[question.signature].parse(examples.tolist())
    return await servable.predict(question.signature, inputs, list(signature.outputs))


def _difference(question: Asked, answer: Arrays | BaseException) -> str:
    """A phrase that says how an answer differs from TensorFlow's; empty if it does not differ.

    Any error in place of the answer is raised again unless it is a ServingError.
    """
    shapes = ", ".join(f"{alias} {array.shape}" for alias, array in question.inputs.items())
    if isinstance(answer, ServingError):
        return f"{shapes}: {reason(answer)}"
    if isinstance(answer, BaseException):
        raise answer
    for alias, expected in question.outputs.items():
        if not agree(expected, answer[alias]):
            return f"{shapes}: output {alias!r} differs"
    return ""

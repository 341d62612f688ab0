"""The served model's answers in company: requests at once, through the batcher, as clients ask.

The graph alone answers as TensorFlow does before this is asked. Here the version's signatures, the
verdicts on its rows, the parser of tf.Examples and the batcher stand between question and answer.
"""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

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

# Each question is asked so often at once.
_TIMES = 3
_WAIT_MICROS = 100_000

Arrays = Mapping[str, npt.NDArray[Any]]


def check(
    folder: Path, signatures: Mapping[str, Signature], asked: Sequence[Asked]
) -> list[dict[str, Any]]:
    """Ask all questions of a signature at once, several times over, and compare each answer.

    Args:
        folder: Holds the graphs.
        signatures: By name, with the verdicts on their rows.
        asked: Questions, and what TensorFlow answered to each alone.

    Returns:
        For metrics.json: requests, runs of the graph and largest number of rows of one, by
        signature.

    Raises:
        GateFailed: an answer differs from TensorFlow's, or there is none.
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
            ["served gate: asked in company, the served model differs from TensorFlow", *lines]
        )
        msg += (
            "\n  way out: a function whose rows depend on each other must not batch: report this "
            "graph with its signature.json; nothing was published"
        )
        raise GateFailed(msg)
    return findings


async def _ask(servable: Servable, question: Asked) -> dict[str, np.ndarray]:
    signature = servable.signatures[question.signature]
    inputs = dict(question.inputs)
    if signature.feature_spec:
        examples = inputs.pop(signature.example_input)
        inputs |= servable.parsers[question.signature].parse(examples.tolist())
    return await servable.predict(question.signature, inputs, list(signature.outputs))


def _difference(question: Asked, answer: Arrays | BaseException) -> str:
    """What is wrong with an answer; empty if it agrees."""
    shapes = ", ".join(f"{alias} {array.shape}" for alias, array in question.inputs.items())
    if isinstance(answer, ServingError):
        return f"{shapes}: {reason(answer)}"
    if isinstance(answer, BaseException):
        raise answer
    for alias, expected in question.outputs.items():
        if not agree(expected, answer[alias]):
            return f"{shapes}: output {alias!r} differs"
    return ""

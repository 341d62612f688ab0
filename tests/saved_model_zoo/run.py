"""Publishes a model of the zoo, serves it, and compares every answer with TensorFlow's."""

import asyncio
import contextlib
import io
import re
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from calling.rest_client import Http
from running import servers
from saved_model_zoo import question
from saved_model_zoo.entry import Arrays, Entry, Way
from saved_model_zoo.question import Question

from export.__main__ import main
from serving.client import AsyncPredictClient, PredictError

# Rows of the questions of a single caller, and of those of CALLERS concurrent callers.
ALONE = (1, 3, 5)
CALLERS = 24
AT_ONCE = tuple(1 + number % 4 for number in range(CALLERS))
_SECONDS = 120.0


@dataclass
class Result:
    """The result of publishing, serving and comparing a model.

    Attributes:
        entry: The model.
        way: The runtime that served the model.
        why: If the export refused the model, its reason in one line.
        difference: The largest difference of two floats, in units of the range of the output;
            None if no output has floats.
        batched: Whether requests share runs, by signature.
        faults: Differences from the expected behaviour; empty if there are none.
    """

    entry: Entry
    way: Way = "onnx"
    why: str = ""
    difference: float | None = None
    batched: dict[str, bool] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def run(entry: Entry, folder: Path) -> Result:
    """Build, publish and serve a model, and compare its answers with TensorFlow's.

    Args:
        entry: The model.
        folder: An empty folder, which gets the SavedModel and the models folder.
    """
    result = Result(entry)
    source, models = folder / "saved" / entry.name, folder / "models"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras and TensorFlow warn about saving
        entry.build(source)
    folders = {int(path.name): path for path in source.iterdir() if path.name.isdigit()}
    folders = dict(sorted(folders.items())) or {1: source}
    _publish(source, folders, models, result)
    alone = question.questions(entry, list(folders), ALONE)
    at_once = question.questions(entry, list(folders), AT_ONCE)
    expected = question.ask_tensorflow(entry, folders, alone)
    expected_at_once = question.ask_tensorflow(entry, folders, at_once)
    spans = question.ranges([*alone, *at_once], [*expected, *expected_at_once])
    file = folder / "models.config"
    file.write_text(
        f'model_config_list {{ config {{ name: "{entry.name}" base_path: "{models / entry.name}" '
        'model_platform: "tensorflow" model_version_policy { all {} } } }\n'
    )
    settings = {"model_config_file": file, "file_system_poll_wait_seconds": 0}
    with servers.in_this_process(None, **settings) as address:
        for callers, asked, wanted in (
            (1, alone, expected),
            (CALLERS, at_once, expected_at_once),
        ):
            answers = asyncio.run(_ask(address, entry.name, asked, callers))
            _compare(result, asked, wanted, answers, spans=spans, callers=callers)
        result.batched = _batched(address)
    return result


def _publish(source: Path, folders: dict[int, Path], models: Path, result: Result) -> None:
    """Publish the SavedModel by the export command; if that refuses it, copy it unconverted."""
    name, output, errors = result.entry.name, io.StringIO(), io.StringIO()
    command = ["saved-model", str(source), "--name", name, "--models-dir", str(models)]
    for signature in result.entry.questions:  # Keras saves each endpoint under two names
        command += ["--signature", signature]
    command += result.entry.flags
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        code = main(command)
    told = errors.getvalue()
    if code:
        result.way = "tensorflow"
        result.why = " ".join(told.replace(str(source), name).split()).removeprefix("error: ")
        if code not in {1, 2} or not told.startswith("error: ") or "Traceback" in told:
            result.faults.append(f"the export ended with {code}: {told}")
        if code == 2 and told.count("\n") != 1:
            result.faults.append(f"the reason has more than one line: {told}")
        shutil.rmtree(models / name, ignore_errors=True)
        for number, path in folders.items():
            shutil.copytree(path, models / name / str(number))
    if result.way != result.entry.way or result.entry.because not in result.why:
        wanted = f"{result.entry.way} {result.entry.because}".strip()
        result.faults.append(f"served by {result.way} ({result.why}), expected {wanted}")


async def _ask(
    address: str, model: str, asked: Sequence[Question], callers: int
) -> list[Arrays | PredictError]:
    """Return the server's answers; at most `callers` requests are in flight."""
    free = asyncio.Semaphore(callers)
    async with AsyncPredictClient(address, timeout=_SECONDS) as client:

        async def ask(one: Question) -> Arrays | PredictError:
            async with free:
                try:
                    return await client.predict(
                        model, one.inputs, version=one.version, signature_name=one.signature
                    )
                except PredictError as error:
                    return error

        return await asyncio.gather(*map(ask, asked))


def _compare(
    result: Result,
    asked: Sequence[Question],
    expected: Sequence[Arrays],
    answers: Sequence[Arrays | PredictError],
    *,
    spans: dict[tuple[str, str], float],
    callers: int,
) -> None:
    """Record the largest difference and every fault in the result."""
    for one, wanted, answer in zip(asked, expected, answers, strict=True):
        shapes = ", ".join(f"{alias} {array.shape}" for alias, array in one.inputs.items())
        place = f"{callers} callers, version {one.version}, {one.signature}, {shapes}"
        if isinstance(answer, PredictError):
            result.faults.append(f"{place}: {answer}")
            continue
        if answer.keys() != wanted.keys():
            result.faults.append(f"{place}: outputs {sorted(answer)}, expected {sorted(wanted)}")
            continue
        for alias, array in wanted.items():
            span = spans.get((one.signature, alias), 1.0)
            fault, share = question.difference(array, answer[alias], span)
            if fault:
                result.faults.append(f"{place}: {alias}: {fault}")
            if share is not None:
                result.difference = max(share, result.difference or 0.0)


def _batched(address: str) -> dict[str, bool]:
    """Return from the metrics page whether requests to each signature share runs."""
    page = Http(address).ask("GET", "/monitoring/prometheus/metrics")[2].decode()
    found = {}
    for labels, value in re.findall(r"_signature_batched\{([^}]*)\} ([01])", page):
        name = re.search(r'signature_name="([^"]*)"', labels)
        assert name is not None
        found[name[1]] = value == "1"
    return found

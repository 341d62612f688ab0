"""The command line of `tune`."""

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from loadtest.figures import manifest
from loadtest.settings.arguments import (
    non_negative_int,
    output_folder,
    percent,
    positive_int,
    positive_number,
    share,
)
from loadtest.settings.config import DataConfig, GateConfig, LoadTestConfig, UsageError
from loadtest.settings.parser import Parser
from loadtest.tune.cells import BATCH_LIMITS, FLAGS, Cell, grid
from loadtest.tune.meter import CONNECTIONS, WARMUP_REQUESTS
from loadtest.tune.search import Limits
from loadtest.tune.served_model import TunedModel, find
from training.evaluation.significance import pairs_needed

_DESCRIPTION = """\
Find the flags of `python -m serving` with the highest goodput on this machine: workers, instances,
threads, batch limit and precision, by successive halving against real servers. The best cell and
the server without flags are then measured in pairs, and the gain is printed with its 95 % interval.
An environment file has the flags as variables. No flag is recommended unless the gain is clear.
"""
_PERCENTILE = 99.0
# The load generator and the server share the machine: a shorter measurement would be too noisy.
_SECONDS, _PAIRS, _MAX_SECONDS, _SERVERS = 3.0, 8, 900.0, 8


@dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """Settings of a search.

    Attributes:
        model: The model.
        cells: The whole grid.
        limits: How much to measure.
        run: Settings of every measurement.
        models_dir: Folder of the models.
        server_flags: Flags of every server.
        env_file: File for the variables.
        record: Turns in which the whole grid is measured instead of searching; None to search.
    """

    model: TunedModel
    cells: list[Cell]
    limits: Limits
    run: LoadTestConfig
    models_dir: Path
    server_flags: list[str]
    env_file: Path
    record: int | None


def parse(arguments: list[str]) -> TuneConfig:
    """Parse the command line; a wrong one exits with code 2.

    Raises:
        UsageError: The model or the grid does not exist.
    """
    parser = _parser()
    values = parser.parse_args(arguments)
    needed = pairs_needed(1)
    if values.pairs < needed:
        parser.error(f"argument --pairs: {values.pairs} received, an interval needs {needed}")
    tuned = {f"--{flag}" for flag in FLAGS.values()}
    for flag in values.serve:
        if not flag.startswith("--") or flag.partition("=")[0] in tuned:
            msg = (
                f"--serve {flag!r} received, expected a flag of python -m serving such as "
                "--serve=--batch_timeout_micros=500, and none of those that are tuned"
            )
            raise UsageError(msg)
    available = available_cores()
    cores = values.cores or available
    model = find(
        values.models_dir,
        values.model,
        precisions=values.precisions,
        min_accuracy=values.min_accuracy,
    )
    cells = grid(
        cores,
        list(model.top1),
        workers=values.workers,
        instances=values.instances,
        threads=values.threads,
        batch_limits=values.batch_limits,
    )
    name = f"{model.name}-tune-{values.slo_ms:g}-ms"
    folder = values.output_dir or output_folder(name)
    run = LoadTestConfig(
        target="",
        model=model.name,
        batch=values.batch,
        connections=CONNECTIONS,
        warmup_requests=WARMUP_REQUESTS,
        slo_ms=values.slo_ms,
        percentile=values.percentile,
        processes=values.processes,
        data=DataConfig(data_dir=values.data_dir),
        models_dir=None if values.no_record else values.models_dir,
        output_dir=folder,
        name=name,
        print_json=values.json,
        gates=GateConfig(
            min_accuracy=values.min_accuracy, max_wrong_answers=values.max_wrong_answers
        ),
    )
    return TuneConfig(
        model=model,
        cells=cells,
        limits=Limits(
            seconds=values.seconds,
            pairs=values.pairs,
            max_seconds=values.max_seconds,
            cores=cores,
            server_cores=available,
            servers=values.servers,
            seed=values.seed,
        ),
        run=run,
        models_dir=values.models_dir,
        server_flags=values.serve,
        env_file=values.env_file or folder / "tuned.env",
        record=values.record,
    )


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m loadtest tune",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument_group("target").add_argument
    add("--slo-ms", type=positive_number, required=True, metavar="MS", help="latency bound")
    add(
        "--percentile",
        type=percent,
        default=_PERCENTILE,
        metavar="P",
        help="latency percentile of the bound (default: %(default)g)",
    )
    add("--model", help="model name (default: the one of the folder with the smallest graph)")
    add(
        "--models-dir",
        type=Path,
        default=Path("models"),
        help="models to serve, with the recorded predictions to compare answers with (default: "
        "%(default)s)",
    )
    add("--no-record", action="store_true", help="do not compare answers with the recorded ones")
    add("--data-dir", type=Path, help="CIFAR-10 folder or archive (default: $CIFAR10_DIR)")
    add("--batch", type=positive_int, default=1, help="images per request (default: %(default)s)")
    add(
        "--serve",
        action="append",
        default=[],
        metavar="FLAG",
        help="flag of every server, such as --serve=--batch_timeout_micros=500; may be repeated",
    )
    _add_grid(parser.add_argument_group("grid (lists of values, separated by commas)").add_argument)
    _add_search(parser.add_argument_group("search").add_argument)
    add = parser.add_argument_group("answers (a cell that fails is left out)").add_argument
    add("--min-accuracy", type=share, metavar="SHARE", help="lowest top-1 of a precision (0 to 1)")
    add(
        "--max-wrong-answers",
        type=non_negative_int,
        default=0,
        metavar="N",
        help="most answers of a measurement that differ from the record (default: 0)",
    )
    add = parser.add_argument_group("report").add_argument
    add(
        "--output-dir", type=Path, help="folder for tune.json and logs (default: results/TIME-NAME)"
    )
    add(
        "--env-file",
        type=Path,
        metavar="FILE",
        help="file for the recommended flags as variables (default: tuned.env in that folder)",
    )
    add("--json", action="store_true", help="end with tune.json as one line of JSON")
    return parser


def _add_grid(add: Callable[..., object]) -> None:
    powers = "powers of two"
    add("--workers", type=_counts, metavar="LIST", help=f"worker processes (default: {powers})")
    add(
        "--instances",
        type=_counts,
        metavar="LIST",
        help=f"runs at the same time in a worker (default: {powers})",
    )
    add(
        "--threads",
        type=_counts,
        metavar="LIST",
        help=f"threads inside a run (default: {powers}; of the combinations, those remain that "
        "have half as many threads as cores to twice as many)",
    )
    add(
        "--batch-limits",
        type=_counts,
        default=list(BATCH_LIMITS),
        metavar="LIST",
        help=f"most rows of a run (default: {','.join(map(str, BATCH_LIMITS))})",
    )
    add(
        "--precisions",
        type=_names,
        metavar="LIST",
        help="precisions of the graph (default: all that the version has)",
    )
    add(
        "--cores",
        type=positive_int,
        metavar="N",
        help="cores that the combinations are for (default: the cores of this process)",
    )


def _add_search(add: Callable[..., object]) -> None:
    add(
        "--seconds",
        type=positive_number,
        default=_SECONDS,
        help="length of a full measurement; first rounds are shorter (default: %(default)g)",
    )
    add(
        "--pairs",
        type=positive_int,
        default=_PAIRS,
        metavar="N",
        help="pairs of the best cell and the server without flags (default: %(default)s)",
    )
    add(
        "--max-seconds",
        type=positive_number,
        default=_MAX_SECONDS,
        metavar="SECONDS",
        help="time limit; if it is too short for the grid, cells are chosen by chance (default: "
        "%(default)g)",
    )
    add(
        "--servers",
        type=positive_int,
        default=_SERVERS,
        metavar="N",
        help="most servers that stay started (default: %(default)s)",
    )
    add("--processes", type=positive_int, default=1, help="generator processes (default: 1)")
    add(
        "--seed",
        type=non_negative_int,
        default=0,
        help="seed of the choice of cells if there is no time for all (default: 0)",
    )
    add(
        "--record",
        type=positive_int,
        metavar="TURNS",
        help="instead of searching, measure every cell this often, in turns, without a time limit",
    )


def _counts(text: str) -> list[int]:
    return list(dict.fromkeys(positive_int(part.strip()) for part in text.split(",")))


def _names(text: str) -> list[str]:
    names = [part.strip() for part in text.split(",")]
    if not all(names):
        msg = f"{text!r} received, expected names separated by commas, such as fp32,int8"
        raise argparse.ArgumentTypeError(msg)
    return list(dict.fromkeys(names))


def available_cores() -> int:
    """Return how many whole cores a server may use, as the server itself counts them."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota = manifest.cpu_quota()
    return cores if quota is None else max(1, min(cores, int(quota)))

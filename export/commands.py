"""Commands on published versions: `python -m export benchmark | robustness | tables`."""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from export.errors import ExportError
from training.data.cifar10 import DATA_DIR_VARIABLE, DataError, load_split, resolve_data_dir

# What a command needs is imported when it runs: the README's tables need no ONNX Runtime.


def run(name: str, parsed: argparse.Namespace) -> str:
    """Run a command.

    Args:
        name: A key of PARSERS.
        parsed: What its parser gave.

    Returns:
        What to print.

    Raises:
        ExportError: see the command.
    """
    return _COMMANDS[name](parsed)


def benchmark_in_own_process(path: Path) -> int:
    """Measure a version just published, by a process in which TensorFlow has not run yet.

    Returns:
        Its exit code.
    """
    arguments = [sys.executable, "-m", "export", "benchmark", str(path)]
    return subprocess.run(arguments, check=False).returncode


def _benchmark(parsed: argparse.Namespace) -> str:
    from export.measure import benchmark  # noqa: PLC0415
    from export.papers import papers, speed_table  # noqa: PLC0415

    folder, metrics = papers.read(parsed.version)
    settings = benchmark.Settings(
        threads=parsed.threads,
        rounds=parsed.rounds,
        seconds=parsed.seconds,
        batch_sizes=tuple(parsed.batch_sizes),
    )
    section = benchmark.measure(
        folder,
        settings,
        saved_model=parsed.saved_model,
        fp32=parsed.fp32,
        fp32_sha256=(metrics.get("reference") or {}).get("sha256"),
        other_weights=parsed.other_weights,
    )
    if not parsed.print_only:
        papers.add_section(parsed.version, benchmark.SECTION, section)
    shown = speed_table.render(section)
    return f"{shown}\n{json.dumps(section)}" if parsed.json else shown


def _robustness(parsed: argparse.Namespace) -> str:
    from export.measure import robustness  # noqa: PLC0415
    from export.papers import papers, robustness_table  # noqa: PLC0415

    folder, metrics = papers.read(parsed.version)
    try:
        split = load_split(resolve_data_dir(parsed.data_dir), "test")
    except DataError as error:
        raise ExportError(str(error)) from error
    section = robustness.measure(folder, metrics, split)
    if not parsed.print_only:
        papers.add_section(parsed.version, robustness.SECTION, section)
    return robustness_table.render(section)


def _tables(parsed: argparse.Namespace) -> str:
    from export.papers import training_runs  # noqa: PLC0415
    from export.tables import tables  # noqa: PLC0415

    places = tables.Places(
        models_dir=parsed.models_dir,
        readme=parsed.readme,
        results_dir=parsed.results_dir,
        training=parsed.training,
    )
    added = [training_runs.add(run_dir, places.results_dir) for run_dir in parsed.add_run]
    if parsed.check:
        tables.check(places)
        return "up to date"
    if parsed.write or added:
        return "\n".join(f"written: {file}" for file in [*added, *tables.write(places)])
    return tables.models_section(places)


def _benchmark_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m export benchmark",
        description="Time each ONNX variant of a version and TensorFlow in turns on this machine, "
        "and record images/s, milliseconds and CPU time in its metrics.json and model card.",
    )
    _add_version(parser)
    parser.add_argument(
        "--saved-model",
        type=Path,
        metavar="DIR",
        help="folder that holds saved_model.pb (default: the version itself, if it has one)",
    )
    parser.add_argument(
        "--fp32",
        type=Path,
        metavar="PATH",
        help="the float32 model.onnx, or the folder that holds it, if the version has none",
    )
    parser.add_argument(
        "--other-weights",
        action="store_true",
        help="--saved-model and --fp32 are of another training of the same architecture",
    )
    parser.add_argument(
        "--threads",
        type=_positive,
        default=1,
        metavar="N",
        help="threads inside one run, TensorFlow's too (default %(default)s)",
    )
    parser.add_argument(
        "--rounds",
        type=_positive,
        default=5,
        metavar="N",
        help="turns of each variant and batch size (default %(default)s)",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=0.3,
        metavar="S",
        help="length of a turn (default %(default)s)",
    )
    parser.add_argument(
        "--batch-sizes",
        type=_positive,
        nargs="+",
        default=[1, 8, 32, 128],
        metavar="N",
        help="images a batch (default: 1 8 32 128)",
    )
    parser.add_argument("--json", action="store_true", help="print the record as the last line")
    return parser


def _robustness_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m export robustness",
        description="Accuracy on the test images after a round trip through JPEG (quality 75 and "
        "95, 4:2:0), recorded in the version's metrics.json and model card.",
    )
    _add_version(parser)
    parser.add_argument(
        "--data-dir",
        metavar="PATH",
        help="folder or archive with CIFAR-10, as for python -m training; default: "
        f"${DATA_DIR_VARIABLE}, else downloaded",
    )
    return parser


def _tables_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m export tables",
        description="Write the model cards and the tables in README.md and docs/training.md from "
        "the metrics.json of each version. Without --write or --check, print README's part.",
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--write", action="store_true", help="write what is out of date")
    mode.add_argument("--check", action="store_true", help="exit with 1 if something is")
    parser.add_argument(
        "--add-run",
        type=Path,
        action="append",
        default=[],
        metavar="RUN_DIR",
        help="keep the result of a finished training, then write; may be repeated",
    )
    for flag, default, text in (
        ("--models-dir", "models", "folder of the models"),
        ("--readme", "README.md", "document with the two markers"),
        ("--results-dir", "docs/results/training", "results of trainings"),
        ("--training", "docs/training.md", "document about them"),
    ):
        parser.add_argument(
            flag, type=Path, default=Path(default), metavar="PATH", help=f"{text} ({default})"
        )
    return parser


def _add_version(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "version", type=Path, metavar="VERSION_FOLDER", help="for example models/simcnn/1"
    )
    parser.add_argument(
        "--print-only", action="store_true", help="print the result without recording it"
    )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        msg = f"{number} received, expected 1 or more"
        raise argparse.ArgumentTypeError(msg)
    return number


PARSERS: dict[str, Callable[[], argparse.ArgumentParser]] = {
    "benchmark": _benchmark_parser,
    "robustness": _robustness_parser,
    "tables": _tables_parser,
}
_COMMANDS: dict[str, Callable[[argparse.Namespace], str]] = {
    "benchmark": _benchmark,
    "robustness": _robustness,
    "tables": _tables,
}

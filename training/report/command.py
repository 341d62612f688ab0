"""The command `python -m training report RUN...`, which writes two pages about runs."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from training import native_log
from training.report.sources.runs import ReportError, read_all
from training.settings.arguments import add_data_dir

_DEFAULT_OUTPUT = Path("results/training-report")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command's flags."""
    parser = argparse.ArgumentParser(
        prog="python -m training report",
        description="Write report.html (one file, nothing else needed) and report.md (pictures "
        "beside it) about finished runs: comparison, recommendation, curves, mistakes.",
    )
    parser.add_argument(
        "runs",
        type=Path,
        nargs="+",
        metavar="RUN",
        help="run folders; several seeds of a recipe are summarised, and an unfinished run is "
        "shown but not compared",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=_DEFAULT_OUTPUT,
        metavar="DIR",
        help=f"folder of the report; default: {_DEFAULT_OUTPUT}",
    )
    add_data_dir(
        parser,
        "CIFAR-10 as the runs were trained on, for sample pictures, mistakes and paired "
        "comparisons",
        otherwise="they are left out",
    )
    return parser


def write(folders: Sequence[Path], output: Path, data_dir: Path | None) -> Path:
    """Write the report.

    Args:
        folders: Run folders.
        output: Folder of the report; created if it is missing.
        data_dir: See training.report.sources.evidence.collect.

    Returns:
        Path of the HTML page; the Markdown page is beside it.

    Raises:
        ReportError: A folder holds no readable run, no run is finished, or the report cannot be
            written.
        DataError: `data_dir` holds no data set.
    """
    runs = read_all(folders)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"cannot write to {output} ({error.strerror}); name another --output"
        raise ReportError(msg) from error
    # Importing Keras takes seconds, so wrong arguments are reported before.
    with native_log.quiet():
        from training import devices  # noqa: PLC0415
        from training.report import page  # noqa: PLC0415
        from training.report.pages import html_page, markdown_page  # noqa: PLC0415
        from training.report.sources import evidence  # noqa: PLC0415

        devices.look_for_gpus()

    report = page.build(runs, evidence.collect(runs, data_dir))
    target = output / "report.html"
    # Bytes of a folder's name that are not valid text are shown as \xNN.
    _write_text(target, html_page.render(report))
    _write_text(target.with_suffix(".md"), markdown_page.render(report))
    markdown_page.save_pictures(report, output)
    return target


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", errors="backslashreplace")

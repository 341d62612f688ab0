"""The command `python -m training report RUN...`, which writes two pages about runs."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from training import native_log, storage
from training.report.sources.runs import read_all
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
        "the data that the runs were trained on, for sample pictures, mistakes and paired "
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
        ReportError: A folder holds no readable run, or no run is finished.
        StorageError: The report cannot be written. An older one is not changed.
        DataError: `data_dir` holds no data set.
    """
    runs = read_all(folders)
    storage.make_folder(output)
    # Importing Keras takes seconds, so wrong arguments are reported before.
    with native_log.quiet():
        from training import devices  # noqa: PLC0415
        from training.report import page  # noqa: PLC0415
        from training.report.pages import html_page, markdown_page  # noqa: PLC0415
        from training.report.sources import evidence  # noqa: PLC0415

        devices.look_for_gpus()

    report = page.build(runs, evidence.collect(runs, data_dir))
    target = output / "report.html"
    pictures = {output / name: text for name, text in markdown_page.pictures(report).items()}
    texts = {
        target: html_page.render(report),
        target.with_suffix(".md"): markdown_page.render(report),
        **pictures,
    }
    for folder in {picture.parent for picture in pictures}:
        storage.make_folder(folder)
    # Bytes of a folder's name that are not valid text are shown as \xNN.
    storage.write_all(
        {file: text.encode(errors="backslashreplace") for file, text in texts.items()}
    )
    return target

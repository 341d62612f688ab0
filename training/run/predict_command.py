"""The command `python -m training predict RUN PATH...`: the classes of pictures, as a table."""

import argparse
import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training import native_log, schemas, storage
from training.data.cifar10 import DataError
from training.evaluation.accuracy import softmax
from training.schemas import SchemaError
from training.settings.recipes import ConfigError
from training.sources import decoding, folders, opening
from training.sources.listing import Labelled, Listing, PictureFile

_DEFAULT_OUTPUT = Path("predictions.csv")
_COLUMNS = ("path", "class", "probability", "reason")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command's flags."""
    parser = argparse.ArgumentParser(
        prog="python -m training predict",
        description="Classify pictures with the model of a finished run, and write a CSV file with "
        "the columns path, class, probability and reason; reason says why a file could not be "
        "read.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a finished run")
    parser.add_argument(
        "paths",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="pictures, or folders of pictures at any depth",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=_DEFAULT_OUTPUT,
        metavar="FILE",
        help=f"the CSV file; default: {_DEFAULT_OUTPUT}",
    )
    return parser


def run(run_dir: Path, paths: Sequence[Path], output: Path) -> str:
    """Classify pictures and write the table.

    Returns:
        What to print.

    Raises:
        ConfigError: `run_dir` holds no finished run, or its model cannot be read.
        DataError: A path does not exist, or there is no picture.
        StorageError: The table cannot be written.
    """
    metrics = _metrics(run_dir)
    names = tuple(metrics["class_names"])
    files = list(_files(paths))
    if not files:
        msg = f"{', '.join(map(str, paths))}: no pictures, expected JPEG, PNG, WebP or BMP files"
        raise DataError(msg)
    pictures = tuple(Labelled(PictureFile(file, str(file)), 0, "test") for file in files)
    listing = Listing(variant=folders.VARIANT, class_names=names, pictures=pictures)
    side = int((metrics.get("config") or {}).get("image_size", opening.REFERENCE_SIDE))
    decoded = decoding.decode(listing, side)
    rows = opening.rows_of(listing, decoded, "test")
    good = np.flatnonzero(decoded.facts["state"] == decoding.GOOD).tolist()
    answers: dict[int, tuple[str, str, str]] = {}
    if good:
        # Importing Keras takes seconds, so wrong arguments are reported before.
        with native_log.quiet():
            from training import devices  # noqa: PLC0415
            from training.model import architectures, predictions  # noqa: PLC0415

            devices.look_for_gpus()
        model = architectures.load(run_dir / "model.keras")
        for row, shares in zip(good, softmax(predictions.logits_of_rows(model, rows)), strict=True):
            best = int(shares.argmax())
            answers[row] = (names[best], f"{shares[best]:.6f}", "")
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for row, file in enumerate(files):
        writer.writerow((file, *answers.get(row, ("", "", decoded.reasons.get(row, "")))))
    storage.make_folder(output.parent)
    storage.write(output, table.getvalue().encode(errors="surrogateescape"))
    unread = f", {len(decoded.reasons):,} could not be read" if decoded.reasons else ""
    return f"wrote {output}: {len(good):,} pictures classified{unread}"


def _metrics(run_dir: Path) -> dict[str, Any]:
    file = run_dir / "metrics.json"
    try:
        metrics: dict[str, Any] = schemas.RUN.body(json.loads(file.read_text("utf-8")), file)
        if metrics["class_names"] and (run_dir / "model.keras").is_file():
            return metrics
    except SchemaError as error:
        raise ConfigError(str(error)) from error
    except (OSError, ValueError, LookupError, TypeError):
        pass
    msg = (
        f"{run_dir} is no finished run, expected a folder with metrics.json and model.keras that "
        "`python -m training MODEL --run-dir DIR` wrote"
    )
    raise ConfigError(msg)


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from folders.pictures(path)
        elif path.is_file():
            yield path
        else:
            msg = f"{path} does not exist, expected a picture or a folder of pictures"
            raise DataError(msg)

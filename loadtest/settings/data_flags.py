"""The flags for the rows that a run sends, and for the answers that are expected."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from loadtest.settings.config import DataConfig, UsageError

# A 99th percentile needs 662 answers; every row is sent once by default.
DEFAULT_ROWS = 1_000
_SHAPE = re.compile(r"(?P<name>.+)=(?P<sizes>\d+(,\d+)*)?")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags to a parser, as a group of their own."""
    group = parser.add_argument_group("data (default: CIFAR-10's test images)")
    add = group.add_mutually_exclusive_group().add_argument
    add(
        "--data-dir",
        type=Path,
        help="CIFAR-10 folder or archive, or the pictures of any classes that a model was trained "
        "on (default: $CIFAR10_DIR)",
    )
    add(
        "--inputs",
        type=Path,
        metavar="PATH",
        help="rows for any model: .npz, .jsonl, or a folder of images; see docs/any-model.md",
    )
    for flag, what in (
        ("--random", "N random rows of the names, types and shapes in the server's metadata"),
        ("--synthetic", "N images of coloured shapes, in the form of CIFAR-10's"),
    ):
        add(
            flag,
            type=_count,
            nargs="?",
            const=DEFAULT_ROWS,
            metavar="N",
            help=f"{what} (without N: {DEFAULT_ROWS:,})",
        )
    add = group.add_argument
    add(
        "--split-seed",
        type=_seed,
        metavar="N",
        help="seed of the training's drawn test pictures (default: the one recorded in "
        "--models-dir, else 0)",
    )
    add(
        "--input-shape",
        type=_shape,
        action="append",
        metavar="NAME=SIZES",
        help="shape of a row of an input for --random, such as tokens=128 (default: 1 for sizes "
        "that the metadata leaves open)",
    )
    add("--data-seed", type=_seed, default=0, help="seed of --random and --synthetic (default: 0)")
    add(
        "--record-answers",
        action=argparse.BooleanOptionalAction,
        help="ask the server for each answer alone before the run; all later answers must equal "
        "it (default: if there are neither labels nor recorded answers)",
    )
    add(
        "--answer-tolerance",
        type=_tolerance,
        default=DataConfig.answer_tolerance,
        metavar="SHARE",
        help="how far a float may be from the recorded one, as a share of the largest number of "
        "the recorded row (default: %(default)g)",
    )


def names_rows(flags: Sequence[str]) -> bool:
    """Return whether flags, each as `--NAME=VALUE`, name other rows than CIFAR-10's test images."""
    names = {flag.partition("=")[0] for flag in flags}
    return not names.isdisjoint({"--inputs", "--random", "--synthetic"})


def data(values: argparse.Namespace) -> DataConfig:
    """Return the settings that the flags describe.

    Raises:
        UsageError: Flags contradict each other.
    """
    if values.input_shape and values.random is None:
        msg = "--input-shape given without --random, which alone makes rows of a given shape"
        raise UsageError(msg)
    made = "--random" if values.random is not None else "--synthetic"
    if values.models_dir is not None and (values.random or values.synthetic) is not None:
        msg = (
            f"--models-dir given with {made}, but models have records of CIFAR-10's test images "
            "alone; leave it out: the answers are compared with the server's own"
        )
        raise UsageError(msg)
    if values.models_dir is not None and values.record_answers:
        msg = "--models-dir and --record-answers given, expected one of them to compare with"
        raise UsageError(msg)
    return DataConfig(
        data_dir=values.data_dir,
        split_seed=values.split_seed,
        inputs=values.inputs,
        random=values.random,
        synthetic=values.synthetic,
        shapes=tuple(values.input_shape or ()),
        seed=values.data_seed,
        record_answers=values.record_answers,
        answer_tolerance=values.answer_tolerance,
    )


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        msg = f"{text!r} received, expected a whole number of 1 or more"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal():
        msg = f"{text!r} received, expected a whole number of 0 or more"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    """Parse `NAME=2,3`, for argparse; `NAME=` is a row of a single value."""
    found = _SHAPE.fullmatch(text)
    sizes = found and tuple(int(size) for size in (found["sizes"] or "").split(",") if size)
    if found is None or sizes is None or 0 in sizes:
        msg = f"{text!r} received, expected NAME=SIZES of a row without the batch, such as x=28,28"
        raise argparse.ArgumentTypeError(msg)
    return found["name"], sizes


def _tolerance(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        msg = f"{text!r} received, expected a share from 0 to below 1"
        raise argparse.ArgumentTypeError(msg)
    return value

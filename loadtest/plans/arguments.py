"""The command-line flags that `matrix` and `mix` share."""

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from loadtest.plans.child_runs import CommonSettings
from loadtest.rows.sources import open_test_images
from loadtest.settings.arguments import output_folder, positive_int, target_address
from loadtest.settings.connection_flags import add_flags, as_flags
from loadtest.settings.data_flags import names_rows
from loadtest.settings.parser import Parser

OVERRIDES = "overrides the file's value"


def new_parser(command: str, description: str | None) -> argparse.ArgumentParser:
    """Return a parser without flags for `python -m loadtest COMMAND`."""
    return Parser(
        prog=f"python -m loadtest {command}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_model_flags(add: Callable[..., object]) -> None:
    """Add the flags for models and test images; `add` is the parser's `add_argument`."""
    add(
        "--models-dir",
        type=Path,
        default=Path("models"),
        help="models to serve, with the recorded predictions to compare answers with (default: "
        "%(default)s)",
    )
    add(
        "--no-record",
        action="store_true",
        help="do not compare answers with recorded predictions: the models have none",
    )
    add("--data-dir", type=Path, help="CIFAR-10 folder or archive (default: $CIFAR10_DIR)")


def add_target_flag(add: Callable[..., object], targets: str) -> None:
    """Add `--target`, which takes the place of the file's `targets`."""
    add("--target", type=target_address, help=f"running server, instead of the file's {targets}")


def add_repeats_flag(add: Callable[..., object]) -> None:
    """Add `--repeats`."""
    add("--repeats", type=positive_int, metavar="N", help=OVERRIDES)


def add_report_flags(parser: argparse.ArgumentParser, servers: str) -> None:
    """Add the flags for the connection and the report.

    Args:
        parser: The parser.
        servers: Which servers the connection is for.
    """
    add = parser.add_argument
    add("--output-dir", type=Path, help="folder for the report (default: results/TIME-NAME)")
    add_flags(parser.add_argument_group(f"connection to {servers}").add_argument)
    add("--json", action="store_true", help="end with the report as one line of JSON")


def common_settings(values: argparse.Namespace, name: str) -> CommonSettings:
    """Return the settings that all runs of a plan with this name have in common."""
    return CommonSettings(
        folder=values.output_dir or output_folder(name),
        models_dir=None if values.no_record else values.models_dir,
        data_dir=values.data_dir,
        connection_flags=as_flags(values),
    )


def check_images(data_dir: Path | None, loads: Iterable[Sequence[str]]) -> None:
    """Report missing test images now, and not in every run.

    Args:
        data_dir: Folder or archive of the test images; None to use $CIFAR10_DIR.
        loads: Flags of each load; loads that name their own rows need no test images.

    Raises:
        UsageError: The test images are needed and cannot be read.
    """
    if not all(names_rows(flags) for flags in loads):
        open_test_images(data_dir)

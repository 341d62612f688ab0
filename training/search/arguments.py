"""The flags of `python -m training search MODEL`: those of a training, and those of the search."""

import argparse
import math
from pathlib import Path
from typing import get_args

from training.search.plan import DEFAULT_MINUTES, DEFAULT_STARTUP_TRIALS, PrunerName
from training.settings import arguments


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command's flags."""
    parser = argparse.ArgumentParser(
        prog="python -m training search",
        usage="%(prog)s {simcnn,resnet50,keras:NAME} [flags]",
        description="Search the settings of a recipe with Optuna: many short trainings, of which "
        "poor ones are ended early, judged by their accuracy on the validation images. The best "
        "settings are then trained with all epochs. The same command goes on with a search that "
        "was interrupted or killed.",
        epilog="A flag of a setting, such as --batch-size 64, takes it out of the search. "
        "docs/search.md explains the search, docs/retraining.md the settings.",
    )
    arguments.add_model(parser)
    _search(parser.add_argument_group("search"))
    _result(parser.add_argument_group("result"))
    arguments.add_pictures(parser.add_argument_group("data"))
    arguments.add_settings(parser)
    return parser


def _search(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--minutes",
        type=_minutes,
        default=DEFAULT_MINUTES,
        metavar="X",
        help="time of the search with the final training, over all calls together (default "
        "%(default)g)",
    )
    group.add_argument(
        "--trials",
        type=arguments.positive,
        metavar="N",
        help="most trials; by default as many as the time allows",
    )
    group.add_argument(
        "--trial-epochs",
        type=arguments.positive,
        metavar="N",
        help="epochs of a trial; default: a quarter of --epochs, at least 3",
    )
    group.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="NAME=LOW..HIGH|A,B,C",
        help="search a setting in this range or among these values; repeatable",
    )
    group.add_argument(
        "--show-space", action="store_true", help="print what would be searched, and end"
    )
    group.add_argument(
        "--pruner",
        choices=get_args(PrunerName),
        default="median",
        help="rule that ends a trial early: its accuracy is below the median of the others at the "
        "same epoch (median, default); Hyperband; or no rule",
    )
    group.add_argument(
        "--startup-trials",
        type=arguments.positive,
        default=DEFAULT_STARTUP_TRIALS,
        metavar="N",
        help="trials before any is ended early and before the sampler learns from them (default "
        "%(default)s)",
    )


def _result(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--output-dir",
        type=Path,
        metavar="DIR",
        help="folder for all files of the search; default: runs/search-MODEL-RECIPE",
    )
    group.add_argument(
        "--no-refit",
        dest="refit",
        action="store_false",
        help="end after the trials, without the final training",
    )
    group.add_argument(
        "--models-dir",
        type=Path,
        metavar="DIR",
        help="also publish the final training there, as `python -m export` does; needs the extra "
        "export",
    )
    group.add_argument(
        "--name", metavar="NAME", help="name of the published model; default: its architecture"
    )


def _minutes(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if 0 < value < math.inf:
        return value
    msg = f"{text!r} received, expected a number of minutes above 0"
    raise argparse.ArgumentTypeError(msg)

"""Fixtures: plans of searches, made from command lines as the command makes them."""

from pathlib import Path

import pytest
from picture_sets import write_pictures

from training.search import arguments, plan

FLAGS = (
    *("--image-size=32", "--epochs=4", "--trial-epochs=3", "--batch-size=16", "--warmup-epochs=0"),
    *("--startup-trials=1", "--trials=4", "--data-licence=CC0"),
)


@pytest.fixture(scope="session")
def picture_dir(tmp_path_factory) -> Path:
    """300 pictures of five classes."""
    return write_pictures(tmp_path_factory.mktemp("pictures") / "data", 60)


@pytest.fixture(scope="session")
def small_flags(picture_dir):
    """Flags of a search of four short trials."""
    return ("simcnn", f"--data-dir={picture_dir}", *FLAGS)


@pytest.fixture(scope="session")
def make_plan():
    """Make a plan from a command line."""

    def make(*flags: object) -> plan.SearchPlan:
        return plan.make(vars(arguments.parser().parse_args([str(flag) for flag in flags])))

    return make

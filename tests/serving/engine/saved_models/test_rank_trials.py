"""Trials of requests with undeclared ranks: when one runs, and what its exit code means."""

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from serving.engine.runtime import RuntimeConfig
from serving.engine.saved_models import rank_trials
from serving.engine.saved_models.rank_trials import RankTrials
from serving.errors import InvalidInput, Unavailable

CONFIG = RuntimeConfig(device="cpu")


@pytest.fixture
def trials(monkeypatch):
    """Return trials whose processes end as `ends` says; `asked` records their commands."""
    made = RankTrials(Path("folder"), CONFIG)
    made.ends = [0]
    made.asked = []

    def run(command, **settings):
        made.asked.append((command, settings))
        end = made.ends.pop(0)
        if isinstance(end, Exception):
            raise end
        return SimpleNamespace(returncode=end)

    monkeypatch.setattr(subprocess, "run", run)
    return made


def of_rank(rank: int) -> dict[str, np.ndarray]:
    return {"x:0": np.zeros([1] * rank)}


def test_ranks_are_tried_once(trials):
    """Each combination of ranks is tried once, whatever the values and sizes."""
    trials.ends = [0, 0]

    trials.require(["y:0"], of_rank(2))
    trials.require(["y:0"], {"x:0": np.ones((3, 5))})
    trials.require(["y:0"], of_rank(3))

    assert len(trials.asked) == 2
    command, settings = trials.asked[0]
    assert command[1:] == ["-m", "serving.engine.saved_models.rank_trials", "folder"]
    config, outputs, feeds = pickle.loads(settings["input"])  # noqa: S301 - made above
    assert (config, outputs) == (CONFIG, ["y:0"])
    assert feeds["x:0"].shape == (1, 1)
    assert settings["timeout"] == 120
    path = os.pathsep.join(filter(None, sys.path))
    assert settings["env"].items() >= (os.environ | {"PYTHONPATH": path}).items()


def test_ranks_that_end_a_process_are_refused_for_ever(trials):
    """Ranks that ended a process by a signal are refused again without another trial."""
    trials.ends = [-signal.SIGSEGV]

    for _ in range(2):
        with pytest.raises(InvalidInput, match="end TensorFlow's process: x:0 of rank 2; send"):
            trials.require(["y:0"], of_rank(2))

    assert len(trials.asked) == 1


def test_a_long_run_does_not_end_the_process(trials):
    """A trial that reaches its time limit counts as passed."""
    trials.ends = [subprocess.TimeoutExpired("python", 120)]

    trials.require(["y:0"], of_rank(2))
    trials.require(["y:0"], of_rank(2))

    assert len(trials.asked) == 1


def test_a_trial_that_fails_for_another_reason_is_repeated(trials):
    """If a trial's process ends with code 1, the request is UNAVAILABLE and a retry tries again."""
    trials.ends = [1, 0]

    with pytest.raises(Unavailable, match="its process ended with 1, expected 0; retry"):
        trials.require(["y:0"], of_rank(2))
    trials.require(["y:0"], of_rank(2))

    assert len(trials.asked) == 2


def test_so_many_ranks_are_tried_and_no_more(trials, monkeypatch):
    """After the largest number of trials, new ranks are refused; ranks tried before are not."""
    monkeypatch.setattr(rank_trials, "_MOST_TRIALS", 2)
    trials.ends = [0, 0]
    trials.require(["y:0"], of_rank(1))
    trials.require(["y:0"], of_rank(2))

    with pytest.raises(InvalidInput, match="2 combinations of ranks were tried already, and x:0"):
        trials.require(["y:0"], of_rank(3))
    trials.require(["y:0"], of_rank(1))

    assert len(trials.asked) == 2

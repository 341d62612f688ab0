import dataclasses
import json

import pytest

from training.search.budget import Pace, SearchBudget
from training.settings.recipes import ConfigError

SLOW = Pace(start_seconds=10.0, epoch_seconds=30.0)


@pytest.fixture
def plan(make_plan):
    """Ten minutes; trials of 3 epochs, a final training of 4."""
    flags = ("--epochs=4", "--trial-epochs=3", "--minutes=10", "--data-dir=")
    return make_plan("simcnn", *flags)


def test_the_time_of_the_final_training_is_kept(plan):
    """A search is over when only the final training fits, at the slowest pace that may be chosen.

    A trial of 100 s is begun if it and the final training of 1.1 x (130 + 10) s fit.
    """
    quick = Pace(start_seconds=1.0, epoch_seconds=1.0)

    assert SearchBudget(plan, used_seconds=0).final_seconds([quick, SLOW]) == pytest.approx(154)
    assert SearchBudget(plan, used_seconds=340).has_room(SLOW)
    assert not SearchBudget(plan, used_seconds=347).has_room(SLOW)
    assert not SearchBudget(plan, used_seconds=440).is_over([quick, SLOW])
    assert SearchBudget(plan, used_seconds=447).is_over([quick, SLOW])


def test_without_a_final_training_all_time_is_for_trials(plan):
    """--no-refit keeps no time."""
    trials_only = dataclasses.replace(plan, refit=False)

    assert SearchBudget(trials_only, used_seconds=495).has_room(SLOW)
    assert not SearchBudget(trials_only, used_seconds=590).is_over([SLOW])
    assert SearchBudget(trials_only, used_seconds=600).is_over([SLOW])


def test_minutes_that_are_not_enough_are_told_early(plan):
    """The first trial's pace tells how many minutes one trial and the final training need."""
    SearchBudget(plan, used_seconds=70).check_first(SLOW, done=2)

    with pytest.raises(ConfigError, match=r"a trial takes about 1.7 and the final training about"):
        SearchBudget(dataclasses.replace(plan, minutes=4), used_seconds=70).check_first(SLOW, 2)
    with pytest.raises(ConfigError, match=r"pass --minutes 4.3 or more, fewer --trial-epochs"):
        SearchBudget(dataclasses.replace(plan, minutes=4), used_seconds=70).check_first(SLOW, 2)


def test_minutes_that_are_used_up_are_told(plan):
    """If the time is over before the pace is known, the message asks for more."""
    SearchBudget(plan, used_seconds=590).check_first(None, done=0)

    with pytest.raises(ConfigError, match=r"10 minutes are used, and no trial is complete; pass"):
        SearchBudget(plan, used_seconds=600).check_first(None, done=0)


def test_the_pace_of_a_trial_is_read(tmp_path):
    """It is what the trial measured, if that comes from enough epochs."""
    file = tmp_path / "speed.json"
    assert Pace.read(file) is None

    file.write_text(json.dumps({"epochs": 1, "start_seconds": 10.0, "epoch_seconds": 30.0}))

    assert Pace.read(file) == SLOW
    assert Pace.read(file, least_epochs=2) is None


def test_a_recipe_with_a_time_budget_needs_no_more_than_it(make_plan):
    """The final training of gpu-5min takes at most five minutes; a trial has no budget itself."""
    plan = make_plan("resnet50", "--recipe=gpu-5min", "--data-dir=")

    assert SearchBudget(plan, used_seconds=0).final_seconds([SLOW]) == 300
    assert plan.trial_settings({}).time_budget == 0
    assert plan.final_settings({"learning_rate": 0.1}).time_budget == 300

import dataclasses

import optuna
import pytest
from optuna.trial import TrialState

from training.search import results, study
from training.search.plan import data_identity
from training.settings.recipes import ConfigError


@pytest.fixture
def plan(make_plan, small_flags, tmp_path):
    """A search in an empty folder, without a limit of trials."""
    made = make_plan(*small_flags, f"--output-dir={tmp_path}")
    return dataclasses.replace(made, trials=None)


def run(opened, plan, value=0.5, outcome="complete"):
    """Run a trial of two epochs without training, and return its number and values."""
    trial = study.next_trial(opened, plan)
    if 1 not in opened.trials[trial.number].intermediate_values:
        trial.report(value / 2, 1)
    trial.report(value, 2)
    trial.set_user_attr("outcome", outcome)
    complete = outcome == "complete"
    state = TrialState.COMPLETE if complete else TrialState.PRUNED
    opened.tell(trial, value if complete else None, state=state)
    return trial.number, trial.params


def test_the_first_trial_is_the_recipe(plan):
    """A search never ends with settings that are worse than the recipe's in the trials."""
    opened = study.open_study(plan, {})

    assert run(opened, plan)[1] == {
        "learning_rate": 0.003,
        "weight_decay": 0.01,
        "label_smoothing": 0.05,
        "ema_span": 0.05,
        "crop_padding": 4,
        "flip": True,
    }


def test_a_search_that_was_closed_chooses_like_one_that_was_not(plan, tmp_path):
    """Values depend on the seed and the trials before, and not on how often the study was opened.

    A trial that was interrupted is run again with its values, before others, and keeps its epochs.
    """
    other = dataclasses.replace(plan, output_dir=tmp_path / "other")
    other.output_dir.mkdir()
    whole = study.open_study(other, {})
    expected = [run(whole, other, value)[1] for value in (0.3, 0.6, 0.5, 0.7)]

    found = []
    for value in (0.3, 0.6, 0.5, 0.7):
        begun = study.next_trial(study.open_study(plan, {}), plan)
        begun.report(0.1, 1)
        again = study.open_study(plan, {})
        (waiting,) = again.get_trials(states=(TrialState.WAITING,))
        assert waiting.intermediate_values == {1: 0.1}
        assert waiting.user_attrs["continues"] == begun.number
        found.append(run(again, plan, value)[1])

    assert found == expected
    ended = study.counted(study.open_study(plan, {}))
    assert [trial.number for trial in ended] == [1, 3, 5, 7]
    assert len({trial.user_attrs["folder"] for trial in ended}) == 4


def test_a_kill_at_the_end_of_a_trial_counts_it_once(plan):
    """A trial whose outcome was stored, but not its state, is continued, and counts as one."""
    opened = study.open_study(plan, {})
    trial = study.next_trial(opened, plan)
    trial.set_user_attr("outcome", "complete")

    again = study.open_study(plan, {})
    assert study.counted(again) == []
    run(again, plan)

    assert [trial.number for trial in study.counted(again)] == [1]


def test_a_journal_that_was_cut_is_repaired(plan, tmp_path):
    """A line that a kill or a full disk cut is dropped; the trials before it are all there."""
    opened = study.open_study(plan, {})
    run(opened, plan)
    with (tmp_path / study.FILE).open("ab") as file:
        file.write(b'{"op_code":4,"wor')

    again = study.open_study(plan, {})
    run(again, plan, 0.7)

    assert [trial.value for trial in study.counted(study.open_study(plan, {}))] == [0.5, 0.7]


def test_another_file_is_one_line(plan, tmp_path):
    """A file that is no journal is refused with the way out."""
    (tmp_path / study.FILE).write_text("no journal\nat all\n")

    with pytest.raises(ConfigError, match=r"study.journal is damaged .* pass another --output-dir"):
        study.open_study(plan, {})


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--seed=1"], r"other settings \(seed was 0, is 1\); repeat its settings to go on"),
        (["--trial-epochs=2"], r"trial_epochs was 3, is 2"),
        (["--param=flip=true"], r"param flip was false, true, is true"),
        (["--crop-padding=2"], r"crop_padding was None, is 2, param crop_padding was 0 to 8, is N"),
    ],
)
def test_a_study_of_other_settings_is_refused(flags, message, make_plan, small_flags, tmp_path):
    """The message names each difference; minutes and the number of trials may change."""
    common = (*small_flags, f"--output-dir={tmp_path}")
    study.open_study(make_plan(*common), {})
    study.open_study(make_plan(*common, "--minutes=3", "--trials=9", "--no-refit"), {})

    with pytest.raises(ConfigError, match=message):
        study.open_study(make_plan(*common, *flags), {})


def test_a_study_of_other_data_is_refused(plan, picture_dir, image_dir):
    """Pictures that were added, and CIFAR-10 in the place of pictures, are other data."""
    study.open_study(plan, data_identity(picture_dir))

    with pytest.raises(ConfigError, match=r"holds a search with other data \(variant was picture"):
        study.open_study(plan, data_identity(image_dir))


def test_the_table_has_the_best_first(plan):
    """Complete trials come first, the most accurate at the top, and the file has every value."""
    opened = study.open_study(plan, {})
    for value, outcome in (
        (0.4, "complete"),
        (0.9, "pruned"),
        (0.7, "complete"),
        (0.7, "complete"),
    ):
        run(opened, plan, value, outcome)

    lines = results.table(plan, opened).splitlines()
    assert [line.split()[0] for line in lines] == ["trial", "2*", "3", "0", "1"]
    rows = results.write(plan, opened).read_text().splitlines()
    assert rows[0].startswith("trial,outcome,epochs,val_accuracy,learning_rate,")
    assert [row.split(",")[:4] for row in rows[1:]] == [
        ["0", "complete", "2", "0.4"],
        ["1", "pruned", "2", "0.9"],
        ["2", "complete", "2", "0.7"],
        ["3", "complete", "2", "0.7"],
    ]
    found = results.record(plan, opened, study.best(opened))
    assert (found.trial, found.validation_accuracy) == (2, 0.7)
    assert found.trials["complete"] == 3
    assert found.optuna == optuna.__version__


def test_hyperband_and_no_pruner(make_plan, small_flags, tmp_path):
    """--pruner chooses Optuna's pruner."""
    kinds = {}
    for name in ("median", "hyperband", "none"):
        (tmp_path / name).mkdir()
        plan = make_plan(*small_flags, f"--output-dir={tmp_path / name}", f"--pruner={name}")
        kinds[name] = type(study.open_study(plan, {}).pruner)

    assert kinds == {
        "median": optuna.pruners.MedianPruner,
        "hyperband": optuna.pruners.HyperbandPruner,
        "none": optuna.pruners.NopPruner,
    }

"""The study of a search on disk: Optuna's journal, which survives a kill at any moment.

The study's attributes hold what the search itself has to remember: `identity` and `data` (what may
not change when it goes on), `used_seconds`, and `ended` (the limits at which it came to its end).
A trial's attributes: `folder` (its run folder, relative to the search's), `outcome` (one of
search_record.ORDER), `reason`, `pace`, and `continues` (the trial that a kill ended, and that this
one goes on with).
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from training import storage
from training.search.plan import SearchPlan
from training.search.space import Parameter
from training.settings.recipes import ConfigError

FILE = "study.journal"
_NAME = "search"
# A trial has these when it ends; a kill may come before its state says so.
_OF_THE_END = ("outcome", "reason", "pace")


def open_study(plan: SearchPlan, data: Mapping[str, str]) -> optuna.Study:
    """Open the study of a search, or begin one; interrupted trials wait to be continued.

    The caller holds the lock of the search's folder.

    Args:
        plan: The search.
        data: What plan.data_identity returned.

    Raises:
        ConfigError: The study was begun with other settings or data, or its file is damaged.
        StorageError: The file cannot be written.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = plan.output_dir / FILE
    with storage.writing(path):
        _cut_unfinished_line(path)
        try:
            study = optuna.create_study(
                storage=JournalStorage(JournalFileBackend(str(path))),
                study_name=_NAME,
                direction="maximize",
                pruner=_pruner(plan),
                load_if_exists=True,
            )
        except (ValueError, LookupError, TypeError) as error:
            msg = (
                f"{path} is damaged ({error}); pass another --output-dir, or remove the file to "
                "begin again"
            )
            raise ConfigError(msg) from error
        _check(study, "identity", plan.identity(), plan, "settings")
        _check(study, "data", dict(data), plan, "data")
        if not study.get_trials(deepcopy=False):
            study.enqueue_trial(plan.defaults())
        _continue_interrupted(study)
    return study


def next_trial(study: optuna.Study, plan: SearchPlan) -> optuna.Trial:
    """Return the next trial: one that was interrupted, or a new one.

    The values of a new one depend only on the seed and on the trials before it, so that a search
    that was interrupted chooses like one that was not.
    """
    number = len(counted(study))
    study.sampler = optuna.samplers.TPESampler(
        seed=plan.base.seed + number, n_startup_trials=plan.startup_trials
    )
    trial = study.ask({name: _distribution(each) for name, each in plan.space.items()})
    if "folder" not in trial.user_attrs:
        trial.set_user_attr("folder", f"trials/{trial.number:04d}")
    return trial


def counted(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that have ended, without those that were interrupted."""
    trials = study.get_trials(deepcopy=False)
    continued = _continued(trials)
    return [
        trial
        for trial in trials
        if trial.state.is_finished()
        and "outcome" in trial.user_attrs
        and trial.number not in continued
    ]


def best(study: optuna.Study) -> FrozenTrial | None:
    """Return the complete trial with the highest validation accuracy, the first one of equals."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return max(complete, key=lambda trial: (trial.value, -trial.number), default=None)


def _check(
    study: optuna.Study, name: str, given: dict[str, Any], plan: SearchPlan, what: str
) -> None:
    """Store a description with a new study, and compare it with that of an existing one."""
    saved = study.user_attrs.get(name)
    if saved is None:
        study.set_user_attr(name, given)
        return
    names = [key for key in {**given, **saved} if saved.get(key) != given.get(key)]
    if names:
        differences = ", ".join(f"{key} was {saved.get(key)}, is {given.get(key)}" for key in names)
        msg = (
            f"{plan.output_dir} holds a search with other {what} ({differences}); repeat its "
            f"{what} to go on with it, or pass another --output-dir"
        )
        raise ConfigError(msg)


def _pruner(plan: SearchPlan) -> optuna.pruners.BasePruner:
    if plan.pruner == "none":
        return optuna.pruners.NopPruner()
    if plan.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=1, max_resource=plan.trial_epochs)
    # While the rate rises and the body is frozen, the accuracy says little about the end.
    trial = plan.trial_settings({})
    early = max(trial.warmup_epochs, trial.freeze_epochs)
    return optuna.pruners.MedianPruner(
        n_startup_trials=plan.startup_trials, n_warmup_steps=early + 1
    )


def _distribution(parameter: Parameter) -> BaseDistribution:
    if parameter.low is None or parameter.high is None:
        return CategoricalDistribution(parameter.choices)
    if isinstance(parameter.low, int) and isinstance(parameter.high, int):
        return IntDistribution(parameter.low, parameter.high)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log)


def _continue_interrupted(study: optuna.Study) -> None:
    """Replace each trial that a kill or Ctrl+C ended by a waiting one with its values and epochs.

    The new trial is added before the old one is closed, so that a kill in between loses nothing.
    """
    continued = _continued(study.get_trials(deepcopy=False))
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        if trial.number not in continued and trial.params:
            study.add_trial(
                optuna.trial.create_trial(
                    state=TrialState.WAITING,
                    params=trial.params,
                    distributions=trial.distributions,
                    intermediate_values=trial.intermediate_values,
                    user_attrs={
                        name: value
                        for name, value in trial.user_attrs.items()
                        if name not in _OF_THE_END
                    }
                    | {"continues": trial.number},
                    system_attrs=trial.system_attrs,
                )
            )
        study.tell(trial.number, state=TrialState.FAIL)


def _continued(trials: Iterable[FrozenTrial]) -> set[int]:
    """Return the numbers of the trials that were interrupted and are continued by others."""
    return {trial.user_attrs["continues"] for trial in trials if "continues" in trial.user_attrs}


def _cut_unfinished_line(path: Path) -> None:
    """Remove the last line of a journal if a kill or a full disk cut it; Optuna refuses it."""
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)

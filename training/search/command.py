"""The command `python -m training search MODEL`: trials, the final training, its publication."""

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from training import native_log
from training.run import folder_lock
from training.search import results
from training.search import study as studies
from training.search.budget import Pace, SearchBudget
from training.search.plan import EXPORT_PYTHON, SearchPlan, data_identity
from training.search.progress import SearchProgress
from training.search.trials import TrialRun
from training.settings.recipes import ConfigError

# So many failures in a row have a cause that no other values will remove.
_MOST_FAILURES = 5


class SearchError(RuntimeError):
    """No trial was complete, or the final training diverged."""


def search(plan: SearchPlan, progress: SearchProgress) -> int:
    """Search, or go on with a search, and train the best settings with all epochs.

    Args:
        plan: The search.
        progress: Where to show it.

    Returns:
        Exit code: 0, or that of the publication.

    Raises:
        ConfigError: The folder holds another search, or is in use, or no trial can be run with
            these settings, or the time is not enough.
        DataError: The data cannot be trained on, or have changed.
        SearchError: No trial was complete, or the final training diverged.
        StorageError: A file cannot be written. The next call goes on.
    """
    data = data_identity(plan.data_dir)
    with folder_lock.lock(plan.output_dir, flag="--output-dir"):
        study = studies.open_study(plan, data)
        reason = _run_trials(plan, study, progress)
        progress.say(f"search ended: {reason}")
        best = studies.best(study)
        if best is None:
            raise SearchError(_nothing(plan, study))
        table = results.write(plan, study)
        progress.say(f"{results.table(plan, study)}\n* the best one; {table} has whole values")
        run_dir = plan.output_dir / f"refit-{best.number:04d}"
        command = results.command(plan, study, best, run_dir)
        progress.say(f"accuracies are of validation pictures; the best settings:\n{command}")
        if not plan.refit:
            return 0
        _train_best(plan, study, best, run_dir, progress)
        return _publish(plan, run_dir, progress)


def _run_trials(plan: SearchPlan, study: optuna.Study, progress: SearchProgress) -> str:
    """Run trials until a limit is reached; return which."""
    limits: dict[str, Any] = {"minutes": plan.minutes, "trials": plan.trials}
    if study.user_attrs.get("ended", {}).get("limits") == limits:
        return str(study.user_attrs["ended"]["reason"])
    budget = SearchBudget(plan, used_seconds=study.user_attrs.get("used_seconds", 0.0))
    try:
        while (reason := _limit(plan, study, budget)) is None:
            trial = studies.next_trial(study, plan)
            TrialRun(plan, study, trial, budget, progress).run()
    finally:
        progress.close()
        study.set_user_attr("used_seconds", round(budget.used_seconds, 1))
    study.set_user_attr("ended", {"limits": limits, "reason": reason})
    return reason


def _limit(plan: SearchPlan, study: optuna.Study, budget: SearchBudget) -> str | None:
    """Return why no further trial is run; None if one is."""
    ended = studies.counted(study)
    if plan.trials is not None and len(ended) >= plan.trials:
        return f"{len(ended)} of {plan.trials} trials are done"
    last = [trial.user_attrs["outcome"] for trial in ended[-_MOST_FAILURES:]]
    if len(last) == _MOST_FAILURES and set(last) == {"failed"}:
        return f"the last {_MOST_FAILURES} trials failed: {ended[-1].user_attrs['reason']}"
    best = studies.best(study)
    used = f"{budget.used_seconds / 60:.1f} of {plan.minutes:g} minutes are used"
    # A trial that was interrupted after its last epoch has no pace.
    pace = None if best is None else best.user_attrs.get("pace")
    if pace is not None and not budget.has_room(Pace(*pace)):
        final = " and the final training" if plan.refit else ""
        return f"{used}, and another trial{final} would not fit"
    return used if budget.is_over([]) else None


def _nothing(plan: SearchPlan, study: optuna.Study) -> str:
    return (
        f"no trial was complete ({len(studies.counted(study))} trials ended early or failed); the "
        f"files {plan.output_dir}/trials/*/log.txt say why. To go on, repeat the command with more "
        "--minutes or --trials, or narrow the search with --param in another --output-dir"
    )


def _train_best(
    plan: SearchPlan,
    study: optuna.Study,
    best: FrozenTrial,
    run_dir: Path,
    progress: SearchProgress,
) -> None:
    with native_log.quiet():
        from training import devices  # noqa: PLC0415  imports Keras, which takes seconds
        from training.run import callbacks, train  # noqa: PLC0415

        devices.look_for_gpus()
    try:
        result = train.train(
            plan.final_settings(best.params),
            run_dir=run_dir,
            data_dir=plan.data_dir,
            device_count=plan.devices,
            checkpoint_every=plan.checkpoint_every,
            refuse_broken=plan.refuse_broken,
            licence=plan.licence,
            search=results.record(plan, study, best).as_dict(),
        )
    except callbacks.DivergedError as error:
        raise SearchError(str(error)) from error
    metrics = result.metrics
    low, high = metrics["top1_wilson_95"]
    progress.say(
        f"{run_dir} {'was finished before' if result.was_finished else 'finished'}: "
        f"{metrics['top1']:.2%} of {metrics['n']:,} test images correct (95 % interval {low:.2%} "
        f"to {high:.2%})"
    )


def _publish(plan: SearchPlan, run_dir: Path, progress: SearchProgress) -> int:
    """Publish the final training by `python -m export`, or say how; return the exit code."""
    arguments = results.publishing(plan, run_dir)
    if plan.models_dir is None:
        progress.say(f"to publish it:\n{shlex.join(arguments)}")
        return 0
    # A program of its own: training imports nothing of export.
    python = os.environ.get(EXPORT_PYTHON, sys.executable)
    try:
        return subprocess.run([python, *arguments[1:]], check=False).returncode
    except OSError as error:
        msg = (
            f"{EXPORT_PYTHON} is {python!r}, which cannot be started ({error.strerror}), expected "
            f"a Python with the extra export; to publish it:\n{shlex.join(arguments)}"
        )
        raise ConfigError(msg) from error

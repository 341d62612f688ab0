"""Runs one trial: starts its process, reports every epoch to the study, and ends it early.

A trial's accuracy is that of its last epoch on the validation images, with early stopping that of
its best epoch: the weights that a training would save.
"""

import contextlib
import csv
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from training import storage
from training.data.cifar10 import DataError
from training.search import study as studies
from training.search.budget import Pace, SearchBudget
from training.search.plan import SearchPlan
from training.search.progress import SearchProgress
from training.search.trial_process import DIVERGED, SPEED_FILE, Job
from training.settings.recipes import ConfigError

_POLL_SECONDS = 0.2
# A step of a large model on a slow machine may take this long; Ctrl+C ends it after the step.
_INTERRUPT_SECONDS = 60.0
_LOG_FILE = "log.txt"
# The first epoch is slower than the others, and a single step cannot be told from its compilation.
_EPOCHS_OF_A_PACE = 2
_STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "diverged": TrialState.PRUNED,  # poor values, which the sampler shall avoid
    "stopped": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


class TrialRun:
    """One trial of a search."""

    def __init__(
        self,
        plan: SearchPlan,
        study: optuna.Study,
        trial: optuna.Trial,
        budget: SearchBudget,
        progress: SearchProgress,
    ) -> None:
        self._plan, self._study, self._trial = plan, study, trial
        self._budget, self._progress = budget, progress
        self._folder = plan.output_dir / trial.user_attrs["folder"]
        self._values: list[float] = []
        self._speed_file = self._folder / SPEED_FILE

    def run(self) -> str:
        """Train until the trial is complete or is ended early, and tell the study.

        Returns:
            The outcome, one of search_record.ORDER.

        Raises:
            ConfigError, DataError: No trial can be run with these settings or data, or the time is
                not enough for one. The trial is interrupted: the next call goes on with it.
            StorageError: A file cannot be written.
        """
        try:
            config = self._plan.trial_settings(self._trial.params)
        except ConfigError as error:
            return self._tell("failed", str(error))
        job = Job(
            config=config,
            run_dir=self._folder,
            data_dir=self._plan.data_dir,
            devices=self._plan.devices,
            checkpoint_every=self._plan.checkpoint_every,
            refuse_broken=self._plan.refuse_broken,
        )
        storage.make_folder(self._folder)
        with storage.writing(self._folder / _LOG_FILE):
            self._speed_file.unlink(missing_ok=True)  # of a session that was interrupted
            log = (self._folder / _LOG_FILE).open("ab")
        with log, _started(job, log) as process:
            outcome = self._follow(process)
        if outcome is None:
            outcome, reason = self._ended(process.returncode)
            return self._tell(outcome, reason)
        return self._tell(outcome)

    def _follow(self, process: "subprocess.Popen[bytes]") -> str | None:
        """Report epochs until the process ends (None) or the trial is to be ended: its outcome."""
        known = self._study.trials[self._trial.number].intermediate_values
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_POLL_SECONDS)
            has_ended = process.returncode is not None
            for epoch, value in enumerate(self._read()[len(self._values) :], len(self._values) + 1):
                if not self._values:
                    self._check_data()
                self._values.append(value)
                if epoch in known:
                    continue
                self._trial.report(value, epoch)
                self._remember_time()
                if epoch < self._plan.trial_epochs and self._trial.should_prune():
                    return "pruned"
            if has_ended:
                return None
            if self._is_out_of_time():
                return "stopped"
            self._progress.show(self._trial, self._values, self._budget.used_seconds)

    def _is_out_of_time(self) -> bool:
        best = studies.best(self._study)
        pace = Pace.read(self._speed_file, least_epochs=_EPOCHS_OF_A_PACE)
        if best is None:
            # Not stopped: with more minutes, the same command goes on with this trial.
            self._budget.check_first(pace, len(self._values))
            return False
        paces = [Pace(*best.user_attrs["pace"])] if "pace" in best.user_attrs else []
        return self._budget.is_over([*paces, *([pace] if pace else [])])

    def _ended(self, code: int) -> tuple[str, str]:
        """Return the outcome and the reason after the process has ended by itself."""
        if code == 0 and self._values:
            return "complete", ""
        reason = _last_words(self._folder / _LOG_FILE)
        if code == DIVERGED:
            return "diverged", reason
        if code == 2:  # the settings, the data or the disk: every other trial would fail as well
            raise ConfigError(reason.removeprefix("error: "))
        if code < 0:
            with contextlib.suppress(ValueError):
                name = signal.Signals(-code).name
                memory = ", perhaps because the memory was full" if name == "SIGKILL" else ""
                return "failed", f"the process was ended by {name}{memory}"
        return "failed", reason or f"the process ended with exit code {code}"

    def _tell(self, outcome: str, reason: str = "") -> str:
        trial, pace = self._trial, Pace.read(self._speed_file)
        if reason:
            trial.set_user_attr("reason", reason)
        if pace is not None:
            trial.set_user_attr("pace", [pace.start_seconds, pace.epoch_seconds])
        trial.set_user_attr("outcome", outcome)
        self._remember_time()
        value = None
        if outcome == "complete":
            stops = self._plan.base.early_stopping
            value = max(self._values) if stops else self._values[-1]
        self._study.tell(trial, value, state=_STATES[outcome])
        shutil.rmtree(self._folder / "checkpoints", ignore_errors=True)
        self._progress.end(self._study.trials[trial.number])
        return outcome

    def _read(self) -> list[float]:
        """Return the validation accuracy of each epoch so far."""
        try:
            with (self._folder / "history.csv").open(newline="", encoding="utf-8") as file:
                return [float(row["val_accuracy"]) for row in csv.DictReader(file)]
        except FileNotFoundError:
            return []

    def _check_data(self) -> None:
        """Compare the digests of the pixels with those of the trials before.

        Raises:
            DataError: The pixels have changed since the search began.
        """
        document = json.loads((self._folder / "config.json").read_text(encoding="utf-8"))
        found: dict[str, Any] = document["data"]
        known = self._study.user_attrs.get("pixels")
        if known is None:
            self._study.set_user_attr("pixels", found)
        elif known != found:
            msg = (
                f"the pictures have changed since the search in {self._plan.output_dir} began; "
                "restore them, or pass another --output-dir"
            )
            raise DataError(msg)

    def _remember_time(self) -> None:
        self._study.set_user_attr("used_seconds", round(self._budget.used_seconds, 1))


@contextlib.contextmanager
def _started(job: Job, log: Any) -> Iterator["subprocess.Popen[bytes]"]:  # noqa: ANN401  a file
    """Start a trial's process; it does not outlive the block.

    It has a process group of its own, so that Ctrl+C reaches it once: from here.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "training.search.trial_process"],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=subprocess.STDOUT,
        process_group=0,
    )
    if process.stdin is None:
        raise AssertionError(process.args)
    try:
        with contextlib.suppress(BrokenPipeError):  # it has failed; its log says why
            process.stdin.write(f"{job.to_json()}\n".encode())
            process.stdin.flush()
        yield process
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_INTERRUPT_SECONDS)
        raise
    finally:
        process.kill()  # its files are written as a whole or not at all
        process.wait()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()


def _last_words(log: Path) -> str:
    """Return the last line of a log that begins with "error: ", else its last line."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    lines = [line.strip() for line in lines if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    return (errors or lines or [""])[-1][:300]

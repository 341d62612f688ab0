"""The time budget of a run: the number of epochs that fit into it, and its end if it is over early.

The first epochs, those of the warm-up, are the same for every number of epochs, because the
learning rate rises linearly. After them the number of epochs is decided once, from the measured
speed, and written to time_budget.json. From then on the run is one of that many epochs: the cosine
begins, and ends with the last epoch. A resumed run reads the decision.
"""

import json
import logging
import math
import time
from pathlib import Path
from typing import Any

import keras

from training import schemas
from training.run import checkpoint
from training.run.callbacks import CheckpointSaver
from training.run.epoch_speed import EpochSpeed
from training.schemas import SchemaError
from training.settings.recipes import ConfigError, TrainConfig

_FILE = "time_budget.json"
# Share of the time left that the plan uses for epochs; epochs vary by a few per cent.
_PLANNED_SHARE = 0.95
_WITHOUT_WARMUP = 2  # epochs that are measured if the rate is constant
_log = logging.getLogger(__name__)


class TimeBudget(keras.callbacks.Callback):  # type: ignore[misc]  # Keras is untyped
    """Keeps the time of one run over all its sessions, and decides the number of epochs.

    As a callback it measures the epochs, and ends the training after an epoch if another one would
    no longer fit. It must come before EpochRecorder and CheckpointSaver.
    """

    def __init__(self, run_dir: Path, config: TrainConfig, *, began: float) -> None:
        """Read the state that an earlier session left.

        Args:
            run_dir: The run folder.
            config: The settings; `time_budget` is not 0.
            began: `time.monotonic()` at the start of this session.

        Raises:
            ConfigError: The file of an earlier session is damaged, or of a newer program.
        """
        super().__init__()
        self._path, self._config, self._began = run_dir / _FILE, config, began
        self._state = _read(self._path)
        self._used_before = float(self._state["used_seconds"])
        self._speed = EpochSpeed()
        self._start_seconds = self._save_seconds = self._evaluation_share = 0.0

    @property
    def epochs(self) -> int | None:
        """The number of epochs that was decided; None before the decision."""
        decided: int | None = self._state["epochs"]
        return decided

    @property
    def measured_epochs(self) -> int:
        """The number of epochs after which the number of all epochs is decided."""
        return min(self._config.warmup_epochs or _WITHOUT_WARMUP, self._config.epochs)

    @property
    def used_seconds(self) -> float:
        """Time that all sessions took until now."""
        return self._used_before + time.monotonic() - self._began

    def is_over(self, done: int) -> bool:
        """Return whether the time was over after `done` epochs or earlier."""
        ended: int | None = self._state["ended_after_epoch"]
        return ended is not None and done >= ended

    def start(self, checkpoints: CheckpointSaver, *, evaluation_share: float) -> None:
        """Prepare for the epochs of a model; call this when the model is built.

        Args:
            checkpoints: Measures its own time.
            evaluation_share: Number of test images as a multiple of that of validation images.
        """
        self._checkpoints, self._evaluation_share = checkpoints, evaluation_share
        self._speed = EpochSpeed()  # another model is compiled anew
        if not self._start_seconds:
            self._start_seconds = time.monotonic() - self._began

    def decide(self, history: checkpoint.History) -> int:
        """Decide the number of epochs, write it down and return it; call this after `start`.

        The model is built and compiled once more afterwards, because learning rate and averages
        depend on the number of epochs. The plan includes the time for that.
        """
        done = len(history)
        restart = self._start_seconds + self._speed.compile_seconds
        left = self._config.time_budget - self.used_seconds - self._end_seconds() - restart
        # A session that resumed after the measured epochs has no measurement of its own.
        each = self._epoch_seconds() or history[-1]["seconds"]
        more = math.floor(max(0.0, left * _PLANNED_SHARE) / max(each, 1e-6))
        epochs = min(done + more, self._config.epochs)
        self._state["epochs"] = epochs
        self._state["decision"] = {
            "after_epochs": done,
            "used_seconds": round(self.used_seconds, 3),
            "epoch_seconds": round(each, 3),
            "restart_seconds": round(restart, 3),
            "end_seconds": round(self._end_seconds(), 3),
        }
        self._write()
        _log.info(
            "time budget of %d s: %d epochs of at most %d, as an epoch takes %.1f s; %.0f s are "
            "kept for the evaluation and the last files",
            *(self._config.time_budget, epochs, self._config.epochs, each, self._end_seconds()),
        )
        return epochs

    def summary(self) -> dict[str, Any]:
        """Return the entry of metrics.json; call this at the end of the run."""
        return {
            "seconds": self._config.time_budget,
            "used_seconds": round(self.used_seconds, 1),
            "planned_epochs": self.epochs or self._config.epochs,
            "ended_early": self._state["ended_after_epoch"] is not None,
            "decision": self._state["decision"],
        }

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Measure the epoch."""
        self._speed.on_epoch_begin(epoch, logs)

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Measure the step."""
        self._speed.on_train_batch_end(batch, logs)

    def on_test_begin(self, logs: dict[str, float] | None = None) -> None:
        """Measure the validation."""
        self._speed.on_test_begin(logs)

    def on_test_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        """Measure the step of validation."""
        self._speed.on_test_batch_end(batch, logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Write down the time used, and end the training if another epoch does not fit."""
        self._speed.on_epoch_end(epoch, logs)
        done, last = epoch + 1, self.epochs or self._config.epochs
        needed = self.used_seconds + self._epoch_seconds() + self._end_seconds()
        if done < last and needed > self._config.time_budget:
            self._state["ended_after_epoch"] = done
            self.model.stop_training = True
            _log.warning(
                "the time budget of %d s is over after epoch %d of %d: %.0f s are used, and one "
                "more epoch with the evaluation would end at %.0f s",
                *(self._config.time_budget, done, last, self.used_seconds, needed),
            )
        self._write()

    def _epoch_seconds(self) -> float:
        return self._speed.epoch_seconds + self._checkpoints.seconds_of_an_epoch

    def _end_seconds(self) -> float:
        """Return the time after the last epoch.

        The model is built again and saved, the prediction is compiled, and the test images are
        evaluated. Saving the model and drawing take less time than the start, which reads the data.
        """
        return (
            self._start_seconds
            + self._speed.compile_seconds
            + self._speed.validation_seconds * self._evaluation_share
        )

    def _write(self) -> None:
        self._state["used_seconds"] = round(self.used_seconds, 3)
        checkpoint.write_json(self._path, schemas.RUN.stamped(self._state))


def _read(path: Path) -> dict[str, Any]:
    new = {"used_seconds": 0.0, "epochs": None, "decision": None, "ended_after_epoch": None}
    try:
        state: dict[str, Any] = schemas.RUN.body(json.loads(path.read_text(encoding="utf-8")), path)
    except FileNotFoundError:
        return new
    except SchemaError as error:
        raise ConfigError(str(error)) from error
    except ValueError as error:
        msg = f"{path} is damaged ({error}); pass another --run-dir to start again"
        raise ConfigError(msg) from error
    if not isinstance(state, dict) or state.keys() != new.keys():
        msg = f"{path} has not the entries {', '.join(new)}; pass another --run-dir to start again"
        raise ConfigError(msg)
    return state

"""The process of one trial: `python -m training.search.trial_process`, started by `trials`.

It reads one line of JSON from stdin, a Job, and trains. Its records are those of any run folder,
and speed.json; the search reads history.csv and speed.json. If stdin is closed, because the search
was killed, it ends at once.
"""

import json
import logging
import os
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

from training import native_log, storage
from training.data.cifar10 import DataError
from training.settings.recipes import ConfigError, TrainConfig

DIVERGED = 3  # exit code; the others are those of python -m training
SPEED_FILE = "speed.json"


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a trial's process is to do; the fields are those of training.run.train.rehearse."""

    config: TrainConfig
    run_dir: Path
    data_dir: Path | None
    devices: int | Literal["all"]
    checkpoint_every: int
    refuse_broken: bool

    def to_json(self) -> str:
        """Return the job as one line of JSON."""
        return json.dumps(asdict(self) | _paths(self.run_dir, self.data_dir))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return what `to_json` made a line of."""
        fields: dict[str, Any] = json.loads(text)
        fields["config"] = TrainConfig(**fields["config"])
        fields["run_dir"] = Path(fields["run_dir"])
        if fields["data_dir"] is not None:
            fields["data_dir"] = Path(fields["data_dir"])
        return cls(**fields)


def main() -> int:
    """Train, or resume.

    Returns:
        Exit code: as of python -m training, and DIVERGED.
    """
    began = time.monotonic()
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("training").setLevel(logging.INFO)
    job = Job.from_json(sys.stdin.readline())
    threading.Thread(target=_end_with_the_search, name="end", daemon=True).start()
    with native_log.quiet():
        from training import devices  # noqa: PLC0415  imports Keras, which takes seconds
        from training.run import callbacks, epoch_speed, train  # noqa: PLC0415

        devices.look_for_gpus()
    try:
        train.rehearse(
            job.config,
            run_dir=job.run_dir,
            data_dir=job.data_dir,
            device_count=job.devices,
            checkpoint_every=job.checkpoint_every,
            refuse_broken=job.refuse_broken,
            speed=epoch_speed.SpeedRecord(job.run_dir / SPEED_FILE, began=began),
        )
    except callbacks.DivergedError as error:
        return _fail(error, DIVERGED)
    except (ConfigError, DataError) as error:
        return _fail(error, 2)
    except (storage.StorageError, OSError) as error:
        told = storage.told(error)
        if told is None:
            raise
        return _fail(told, 2)
    except KeyboardInterrupt:
        return 130
    return 0


def _paths(run_dir: Path, data_dir: Path | None) -> dict[str, str | None]:
    return {"run_dir": str(run_dir), "data_dir": None if data_dir is None else str(data_dir)}


def _end_with_the_search() -> None:
    # A thread that waits in sys.stdin.read holds a lock, with which Python crashes at its end.
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


def _fail(message: object, code: int) -> int:
    sys.stderr.write(f"error: {message}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())

"""The steps, their time limits, and the process that runs each of them.

A step runs in a process of its own under `timeout`, which ends it with everything that it started.
A step that fails or is ended does not stop the next one; its results so far stay.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gpu.machine import ROOT
from gpu.work import Work

# The limits below are for a machine that is rented for 15 minutes; they grow and shrink with its
# time. Together they leave 2 of the 15 minutes for the start, the uploads and the way back.
MINUTES = 15.0
_KILL_AFTER_SECONDS = 5


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step.

    Attributes:
        name: Name of the step.
        seconds: Time limit for 15 minutes, in seconds.
        upload: The upload after which it runs, from 1; a kit with fewer uploads runs it earlier.
        needs: What must have been uploaded: beginnings of names in the work folder.
    """

    name: str
    seconds: float
    upload: int
    needs: tuple[str, ...] = ()


_RUNTIME = ("plan.json", "runtime", "wheels", "large")
_DATA = (*_RUNTIME, "mosaics")
STEPS = {
    step.name: step
    for step in (
        Step(name="check", seconds=60, upload=1, needs=_RUNTIME),
        Step(name="raw", seconds=130, upload=1, needs=_RUNTIME),
        Step(name="server", seconds=150, upload=2, needs=_RUNTIME),
        Step(name="simcnn", seconds=70, upload=3, needs=_DATA),
        Step(name="resnet50", seconds=250, upload=3, needs=_DATA),
        Step(name="deliver", seconds=15, upload=3, needs=_DATA),
    )
}
# Unpacks an upload and installs what it has; runs once for each upload, here for three of them.
UNPACK = Step(name="unpack", seconds=30, upload=1)
_UPLOADS = 3
TOTAL_SECONDS = sum(step.seconds for step in STEPS.values()) + _UPLOADS * UNPACK.seconds


def limit(name: str, minutes: float) -> float:
    """Return a step's time limit in seconds on a machine that is there for some minutes."""
    step = UNPACK if name == UNPACK.name else STEPS[name]
    return step.seconds * minutes / MINUTES


def run(
    names: Sequence[str], arguments: Sequence[str], work: Work, output: Path, *, minutes: float
) -> dict[str, str]:
    """Run steps one after another, each within its time limit.

    Args:
        names: Names of the steps.
        arguments: Arguments that each step gets.
        work: The work folder.
        output: Folder for results and the log; created if it is missing.
        minutes: Time of the machine, which scales the limits.

    Returns:
        For each step "ok", "failed" or "cut off".
    """
    output.mkdir(parents=True, exist_ok=True)
    number = len(list(output.glob("log-*.txt"))) + 1
    outcomes = {}
    with (output / f"log-{number}.txt").open("w", encoding="utf-8") as log:
        for name in names:
            seconds = limit(name, minutes)
            began = time.monotonic()
            outcomes[name] = _run_one(name, arguments, work, seconds, log.fileno())
            text = (
                f"{name}: {outcomes[name]} after {time.monotonic() - began:.1f} of {seconds:.0f} s"
            )
            print(text, flush=True)
            log.write(text + "\n")
            log.flush()
    return outcomes


def _run_one(name: str, arguments: Sequence[str], work: Work, seconds: float, log: int) -> str:
    environment = {
        **os.environ,
        "PYTHONPATH": work.python_path(),
        "PYTHONUNBUFFERED": "1",
        "KERAS_BACKEND": "jax",
    }
    command = ["timeout", f"--kill-after={_KILL_AFTER_SECONDS}", f"{seconds:.1f}"]
    command += [sys.executable, "tests/gpu", "step", name, "--seconds", f"{seconds:.1f}"]
    done = subprocess.run(
        [*command, *arguments], cwd=ROOT, env=environment, stdout=log, stderr=log, check=False
    )
    return {0: "ok", 124: "cut off", 137: "cut off"}.get(done.returncode, "failed")


def summary(outcomes: dict[str, str], output: Path) -> str:
    """Return one line of JSON about the steps and their checks."""
    checks = output / "check.json"
    found = json.loads(checks.read_text(encoding="utf-8")) if checks.exists() else {}
    return json.dumps(
        {
            "ok": all(outcome == "ok" for outcome in outcomes.values()),
            "gpu": found.get("machine", {}).get("gpu"),
            "steps": outcomes,
            "models": found.get("rows", []),
        }
    )

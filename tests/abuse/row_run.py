"""Runs one row: starts a server and the polite callers, attacks, and checks the criteria."""

import contextlib
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from abuse import polite, served_models
from abuse.processes import (
    ATTACKER_CORE,
    DRAIN_SECONDS,
    LAME_DUCK_SECONDS,
    MemoryWatch,
    PoliteCallers,
    helper_environment,
    is_running,
    memory_mb,
    pinned,
    processes_of,
    started_server,
)
from abuse.rows import Row
from running import servers

# The criteria.
NEW_CALLER_SECONDS = 15.0  # time limit for a new caller during the attack
AT_ONCE_SECONDS = 1.5  # time limit for a new caller after the attack, reached ...
RECOVERY_SECONDS = 10.0  # ... at most so long after its end
MAX_GROWTH_MB = 200.0
MAX_LASTING_MB = 50.0  # limit on the remaining growth, reached ...
LASTING_SECONDS = 30.0  # ... at most so long after the attack
TARGET_RATIO = 5.0  # reported, never asserted
STOP_SLACK_SECONDS = 6.0  # one second for the server, and five for a busy machine
ORPHAN_SECONDS = 10.0

# The suite's own limits.
ATTACKER_SLACK_SECONDS = 30.0
_BURN_SECONDS = 1.0
_LOG_LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3} [A-Z]+( \[worker \d+\])? [\w.]+: ")
_FORGED_LINE = re.compile(r"^\S+ INFO serving: forged")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f\x80-\x9f\u2028\u2029]")


@dataclass
class Result:
    """The measurements of a row; times in seconds unless the name has another unit.

    Attributes:
        id: The row's id.
        what: The row's description.
        rounds: Number of rounds of the attack.
        asked: Number of calls of the caller that was connected before the attack.
        answered: Number of these calls with the right answer.
        new_asked: Number of callers that connected during the attack.
        slowest_new: Time of the slowest of these callers.
        recovery: Time from the end of the attack until a new caller was answered at once.
        growth_mb: Largest memory during the attack, minus the memory before.
        lasting_mb: Memory some time after the attack, minus the memory before.
        p99_ms: 99th percentile of the connected caller's calls, the median over the rounds.
        slowest_ms: The slowest of these calls during the attack.
        ratio: p99 during the attack divided by p99 beside a process that burns the attacker's CPU,
            the median over the rounds.
        stop: Time from the signal to the end of the process.
        counts: The attack's counts, summed over the rounds.
        faults: The criteria that were missed.
    """

    id: str
    what: str
    rounds: int = 0
    asked: int = 0
    answered: int = 0
    new_asked: int = 0
    slowest_new: float = 0.0
    recovery: float | None = None
    growth_mb: float = 0.0
    lasting_mb: float = 0.0
    p99_ms: float | None = None
    slowest_ms: float = 0.0
    ratio: float | None = None
    stop: float | None = None
    counts: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        """Return the fields as a dictionary for JSON."""
        return asdict(self)


def burn() -> tuple[float, float]:
    """Burn the attacker's CPU for a second; return when that began and ended."""
    process = subprocess.Popen(
        pinned(ATTACKER_CORE, sys.executable, "-c", "while True: pass", nice=5)
    )
    began = time.monotonic()
    time.sleep(_BURN_SECONDS)
    process.kill()
    process.wait()
    return began, time.monotonic()


def attack(row: Row, target: str, models_dir: Path) -> tuple[float, float, dict[str, int]]:
    """Run one round of the attack; return when it began and ended, and its counts."""
    command = [sys.executable, "-m", "abuse.attacks.attacker", row.attack_name, target]
    started = time.monotonic()
    try:
        process = subprocess.run(
            pinned(ATTACKER_CORE, *command, str(row.seconds), str(models_dir), nice=5),
            stdout=subprocess.PIPE,
            text=True,
            env=helper_environment(),
            timeout=row.seconds + ATTACKER_SLACK_SECONDS,
            check=True,
        )
    except subprocess.TimeoutExpired:  # a slow server can delay the attacker too
        return started, time.monotonic(), {"attackers ended by the suite": 1}
    began, ended = map(json.loads, process.stdout.splitlines())
    return began["began"], ended["ended"], ended["counts"]


def p99_ms(records: Sequence[dict], span: tuple[float, float]) -> float | None:
    """Return the 99th percentile of the connected caller's calls that began within a time span."""
    calls = sorted(
        record["seconds"]
        for record in records
        if record["kind"] == polite.BEFORE and span[0] <= record["at"] <= span[1]
    )
    return 1000 * calls[min(len(calls) - 1, int(len(calls) * 0.99))] if calls else None


def wait_until(condition: Callable[[], bool], seconds: float) -> float | None:
    """Return the seconds until a condition held; None if it did not within `seconds`.

    The condition is checked once more after the time is over.
    """
    began = time.monotonic()
    while True:
        elapsed = time.monotonic() - began
        if condition():
            return elapsed
        if elapsed > seconds:
            return None
        time.sleep(0.2)


def run(row: Row, folder: Path) -> Result:
    """Run a row; the result names the criteria that were missed."""
    result = Result(row.id, row.what, rounds=row.rounds)
    models_dir = served_models.write(folder / "models", row.models)
    with started_server(row, models_dir) as server:
        port = server.wait_for(r"listening on \S+:(\d+)").group(1)
        server.wait_for("ready: ")
        greeted = len(server.log)  # until here, the web server prints lines in its own format
        watch = MemoryWatch(server.process.pid)
        callers = PoliteCallers(f"127.0.0.1:{port}", folder / "calls.jsonl")
        try:
            _attack_in_rounds(row, result, (server, watch, callers), port, models_dir)
            callers.stop()
            _end(row, result, server)
        finally:
            callers.stop()
            watch.stop()
        if watch.kill_reason:
            result.faults.append(f"the suite killed the server: {watch.kill_reason}")
    events = server.log[greeted:]
    if row.one_line_log:
        result.faults += _log_faults(events)
    return result


def _attack_in_rounds(
    row: Row,
    result: Result,
    parts: tuple[servers.ServerProcess, MemoryWatch, PoliteCallers],
    port: str,
    models_dir: Path,
) -> None:
    """Run the rounds of an attack; check answers, recovery, memory and the attack's counts."""
    server, watch, callers = parts
    pid, target = server.process.pid, f"127.0.0.1:{port}"
    callers.wait_for_both()
    time.sleep(0.3)
    before_mb = memory_mb(pid)
    watch.most_mb = before_mb
    burns, attacks = [], []
    for _ in range(row.rounds):
        if row.burns:
            burns.append(burn())
        began, ended, counts = attack(row, target, models_dir)
        attacks.append((began, ended))
        for name, count in counts.items():
            earlier = 0 if name.endswith("of each") else result.counts.get(name, 0)
            result.counts[name] = earlier + count
    _check_recovery(result, port)
    most_left = before_mb + MAX_LASTING_MB + row.run_mb
    lasting = wait_until(lambda: memory_mb(pid) <= most_left, LASTING_SECONDS)
    result.growth_mb = watch.most_mb - before_mb
    result.lasting_mb = memory_mb(pid) - before_mb
    if result.growth_mb > MAX_GROWTH_MB + row.run_mb:
        result.faults.append(f"memory grew by {result.growth_mb:.0f} MB")
    if lasting is None:
        result.faults.append(f"{result.lasting_mb:.0f} MB of memory were not given back")
    callers.stop()
    _check_callers(result, callers.records(), attacks)
    _compare(result, callers.records(), burns, attacks)
    for name, count in row.expected.items():
        if result.counts.get(name) != count:
            result.faults.append(f"{name}: {result.counts.get(name)}, expected {count}")
    if server.process.poll() is not None:
        result.faults.append(f"the server ended with {server.process.returncode}")


def _check_recovery(result: Result, port: str) -> None:
    address = ("127.0.0.1", int(port))
    numbers = iter(range(300_000, 400_000))
    result.recovery = wait_until(
        lambda: not polite.ask_anew(address, next(numbers), AT_ONCE_SECONDS), RECOVERY_SECONDS
    )
    if result.recovery is None:
        problem = polite.ask_anew(address, next(numbers), AT_ONCE_SECONDS)
        result.faults.append(
            f"a new caller {RECOVERY_SECONDS:.0f} s after the attack got no answer within "
            f"{AT_ONCE_SECONDS} s: {problem}"
        )


def _check_callers(
    result: Result, records: Sequence[dict], attacks: Sequence[tuple[float, float]]
) -> None:
    connected = [record for record in records if record["kind"] == polite.BEFORE]
    problems = [record["problem"] for record in connected if "problem" in record]
    result.asked = len(connected)
    result.answered = len(connected) - len(problems)
    if problems:
        result.faults.append(
            f"{len(problems)} of {len(connected)} calls of the connected caller failed: "
            f"{problems[0]}"
        )
    new = [
        record
        for record in records
        if record["kind"] == polite.NEW
        and any(began <= record["at"] <= ended for began, ended in attacks)
    ]
    result.new_asked = len(new)
    result.slowest_new = max((record["seconds"] for record in new), default=0.0)
    if refused := [record["problem"] for record in new if "problem" in record]:
        result.faults.append(f"{len(refused)} of {len(new)} new callers failed: {refused[0]}")
    if not new or not connected:
        result.faults.append("no caller called during the attack: the row measured nothing")


def _compare(
    result: Result,
    records: Sequence[dict],
    burns: Sequence[tuple[float, float]],
    attacks: Sequence[tuple[float, float]],
) -> None:
    """Compute the latency during the attack, and its ratio to the latency beside a busy process."""
    during = [p99_ms(records, span) for span in attacks]
    beside = [p99_ms(records, span) for span in burns]
    result.slowest_ms = max(
        (
            1000 * record["seconds"]
            for record in records
            if record["kind"] == polite.BEFORE
            and any(began <= record["at"] <= ended for began, ended in attacks)
        ),
        default=0.0,
    )
    known = [value for value in during if value is not None]
    result.p99_ms = statistics.median(known) if known else None
    ratios = [
        attacked / burned
        for attacked, burned in zip(during, beside, strict=False)
        if attacked is not None and burned
    ]
    result.ratio = statistics.median(ratios) if ratios else None


def _end(row: Row, result: Result, server: servers.ServerProcess) -> None:
    """End the server by a signal, and check that none of its processes is left."""
    family = processes_of(server.process.pid)
    began = time.monotonic()
    if row.kills_supervisor:
        server.process.kill()
        seconds = ORPHAN_SECONDS
    else:
        server.process.send_signal(signal.SIGTERM)
        seconds = LAME_DUCK_SECONDS + DRAIN_SECONDS + STOP_SLACK_SECONDS
    name = "SIGKILL" if row.kills_supervisor else "SIGTERM"
    try:
        server.process.wait(seconds)
        result.stop = time.monotonic() - began
        if not row.kills_supervisor and not _has_ended_well(row, server):
            result.faults.append(f"exit code {server.process.returncode} after {name}")
    except subprocess.TimeoutExpired:
        result.faults.append(f"the server still runs {seconds:.0f} s after {name}")
    left = seconds if row.kills_supervisor else 1.0
    wait_until(lambda: not any(map(is_running, family[1:])), left)
    if orphans := [pid for pid in family[1:] if is_running(pid)]:
        result.faults.append(f"{len(orphans)} processes of the server were left after {name}")
        for pid in orphans:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _has_ended_well(row: Row, server: servers.ServerProcess) -> bool:
    """Return whether the exit code is 0, or 1 with a log line about a run that did not end."""
    if row.stuck_run and server.process.returncode == 1:
        server.read_to_end()
        named = f"ending the process; runs still active: {row.stuck_run}/"
        return any(named in line for line in server.log)
    return server.process.returncode == 0


def _log_faults(log: Sequence[str]) -> list[str]:
    """Return faults for log lines that are malformed, forged, or have control characters."""
    faults = []
    lines = "".join(log).split("\n")[:-1]
    if odd := [line for line in lines if not _LOG_LINE.match(line)]:
        faults.append(f"{len(odd)} log lines have another format: {odd[0][:100]!r}")
    if forged := [line for line in lines if _FORGED_LINE.match(line)]:
        faults.append(f"{len(forged)} forged log lines: {forged[0][:100]!r}")
    if control := [line for line in lines if _CONTROL.search(line)]:
        faults.append(f"{len(control)} log lines with control characters: {control[0][:100]!r}")
    return faults

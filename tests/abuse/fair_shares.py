"""Measures what polite clients get beside a greedy one, and beside a neighbour that is polite too.

Ten polite clients have four requests of one row in flight each, and a connection each. Beside them
calls one client with requests of 64 rows: 256 in flight if it is greedy, one otherwise.
"""

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from abuse.processes import ATTACKER_CORE, ROOT, helper_environment, pinned, started_server
from abuse.rows import Row

POLITE = ("10", "4", "1")  # clients, requests in flight each, rows of a request
GREEDY = ("1", "256", "64")
NEIGHBOUR = ("1", "1", "64")
LEAST_RATIO = 0.8
_SERVER = Row(id="fair_shares", what="", models=())


@dataclass
class Shares:
    """The measurements.

    Attributes:
        beside_greedy: Answers of the polite clients a second beside the greedy one, by round.
        beside_neighbour: The same beside the polite neighbour.
        greedy: Answers of the greedy client a second, of 64 rows each, by round.
        failures: Failed calls of polite clients, by status code.
    """

    beside_greedy: list[float] = field(default_factory=list)
    beside_neighbour: list[float] = field(default_factory=list)
    greedy: list[float] = field(default_factory=list)
    failures: dict[str, int] = field(default_factory=dict)

    @property
    def ratios(self) -> list[float]:
        """The rate beside the greedy client divided by that beside the neighbour, by round."""
        pairs = zip(self.beside_greedy, self.beside_neighbour, strict=True)
        return [greedy / neighbour for greedy, neighbour in pairs]

    def as_dict(self) -> dict[str, object]:
        """Return the measurements for JSON."""
        return asdict(self) | {"median_ratio": statistics.median(self.ratios)}

    def sentence(self) -> str:
        """Return the result in a sentence, for the terminal and docs/abuse.md."""
        ratios, rate = self.ratios, statistics.median
        return (
            f"Ten polite clients beside a greedy one: {rate(self.beside_greedy):.0f} answers a "
            f"second, beside a polite neighbour {rate(self.beside_neighbour):.0f}; ratio "
            f"{rate(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}, n={len(ratios)}), "
            f"{sum(self.failures.values())} failed calls. The greedy client got "
            f"{rate(self.greedy):.1f} answers of 64 rows a second."
        )


def measure(folder: Path, *, rounds: int, seconds: float) -> Shares:
    """Measure in turns, with one server for all rounds.

    Args:
        folder: An empty folder for the served model, simcnn.
        rounds: Number of rounds; each measures beside both neighbours, in alternating order.
        seconds: Duration of each measurement.
    """
    shutil.copytree(ROOT / "models" / "simcnn", folder / "models" / "simcnn")
    shares = Shares()
    with started_server(_SERVER, folder / "models") as server:
        port = server.wait_for(r"listening on \S+:(\d+)").group(1)
        target = f"127.0.0.1:{port}"
        server.wait_for("ready: ")
        for number in range(rounds):
            for other in (GREEDY, NEIGHBOUR) if number % 2 else (NEIGHBOUR, GREEDY):
                polite, beside = _one_round(target, other, seconds)
                rate = polite["counts"].pop("answered", 0) / polite["seconds"]
                for status, count in polite["counts"].items():
                    shares.failures[status] = shares.failures.get(status, 0) + count
                if other is GREEDY:
                    shares.beside_greedy.append(rate)
                    shares.greedy.append(beside["counts"].get("answered", 0) / beside["seconds"])
                else:
                    shares.beside_neighbour.append(rate)
    return shares


def _one_round(target: str, other: tuple[str, ...], seconds: float) -> tuple[dict, dict]:
    """Let both call at the same time; return the measurements of the polite ones and the other."""
    with _callers(target, other, seconds) as beside, _callers(target, POLITE, seconds) as polite:
        for process in (beside, polite):
            _tell(process)
        measured = json.loads(_answer(polite)), json.loads(_answer(beside))
        for process in (polite, beside):
            _tell(process)
    return measured


@contextlib.contextmanager
def _callers(
    target: str, numbers: tuple[str, ...], seconds: float
) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "abuse.attacks.callers", target, *numbers, str(seconds)]
    process = subprocess.Popen(
        pinned(ATTACKER_CORE, *command),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=helper_environment() | {"OMP_NUM_THREADS": "1"},
    )
    try:
        assert _answer(process) == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def _tell(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write(os.linesep)
    process.stdin.flush()


def _answer(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()

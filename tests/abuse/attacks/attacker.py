"""Runs one attack as a process: `python -m abuse.attacks.attacker ATTACK HOST:PORT SECONDS FOLDER`.

It prints a JSON line when the attack begins, and one with the attack's counts when it has ended.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from abuse.attacks import wire

Counts = dict[str, int]


@dataclass(frozen=True)
class Target:
    """The server to attack, and the time when the attack ends.

    Attributes:
        address: Host and port.
        until: `time.monotonic()` at which the attack ends.
        models_dir: The server's folder of models.
    """

    address: wire.Address
    until: float
    models_dir: Path

    def left(self) -> float:
        """Seconds until the end, at least 0."""
        return max(0.0, self.until - time.monotonic())


def attacks() -> dict[str, Callable[[Target], Counts]]:
    """Return all attacks by name."""
    from abuse.attacks import (  # noqa: PLC0415 - they import this module
        attack_bodies,
        attack_connections,
        attack_console,
        attack_http1,
        attack_http2,
        attack_models,
        attack_tensors,
    )

    modules = (
        *(attack_bodies, attack_connections, attack_console, attack_http1),
        *(attack_http2, attack_models, attack_tensors),
    )
    return {name: attack for module in modules for name, attack in module.ATTACKS.items()}


def main() -> None:
    name, target, seconds, models_dir = sys.argv[1:]
    host, _, port = target.rpartition(":")
    attack = attacks()[name]
    prepared = Target((host, int(port)), time.monotonic() + float(seconds), Path(models_dir))
    print(json.dumps({"began": time.monotonic()}), flush=True)  # noqa: T201 - read by the row
    try:
        counts = attack(prepared)
    except OSError:  # the server refused or closed the connection, as it may
        counts = {"cut short by the server": 1}
    time.sleep(prepared.left())  # the polite callers call for the same time in every row
    print(json.dumps({"ended": time.monotonic(), "counts": counts}), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()

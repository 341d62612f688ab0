"""Start Locust's web UI on this project's locustfile."""

import sys
from collections.abc import Sequence
from pathlib import Path

import locust.main

LOCUSTFILE = Path(__file__).with_name("locustfile.py")


def main(arguments: Sequence[str]) -> int:
    """Hand over to Locust's own command line.

    Args:
        arguments: `--target HOST:PORT` (Locust's `--host`), the locustfile's options (`--model`,
            `--batch`, ...) and any of Locust's own (`--web-port`, `--autostart`, ...).

    Returns:
        Never in practice: Locust ends the process itself.
    """
    hosts = {"--target": "--host"}
    translated = []
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        translated.append(f"{hosts.get(flag, flag)}{equals}{value}")
    sys.argv = ["locust", "-f", str(LOCUSTFILE), *translated]
    locust.main.main()  # type: ignore[no-untyped-call]  # Locust has no types here
    return 0

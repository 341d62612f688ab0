"""The command `web`: start Locust's web UI with this project's locustfile."""

import sys
from collections.abc import Sequence
from pathlib import Path

import locust.main

LOCUSTFILE = Path(__file__).with_name("locustfile.py")


def main(arguments: Sequence[str]) -> int:
    """Translate the arguments and run Locust's own command line.

    Args:
        arguments: `--target HOST:PORT` (passed to Locust as `--host`), the locustfile's options
            (`--model`, `--batch`, ...) and Locust's own (`--web-port`, `--autostart`, ...).

    Returns:
        Exit code 0; in practice Locust ends the process itself before that.
    """
    hosts = {"--target": "--host"}
    translated = []
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        translated.append(f"{hosts.get(flag, flag)}{equals}{value}")
    sys.argv = ["locust", "-f", str(LOCUSTFILE), *translated]
    locust.main.main()  # type: ignore[no-untyped-call]  # Locust has no types here
    return 0

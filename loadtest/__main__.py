"""Measure a model server's latency and accuracy in one test.

python -m loadtest run --target localhost:8500 --model simcnn --users 32 --models-dir models
python -m loadtest run --target localhost:8500 --model simcnn --scenario server --rate 500
python -m loadtest find-capacity --target localhost:8500 --model simcnn --slo-ms 15
python -m loadtest matrix --models-dir models
python -m loadtest compare results/before results/after
python -m loadtest web --target localhost:8500 --model simcnn

Flags without a command name are flags of `run`. Every command has its own --help.
"""

import logging
import sys
from collections.abc import Callable, Sequence

from loadtest.settings.config import LoadTestError


def run(arguments: Sequence[str]) -> int:
    """Measure one load."""
    # Imported when called: `web` must patch the standard library before anything uses asyncio.
    from loadtest.commands.measure import run as command  # noqa: PLC0415

    return command(arguments)


def find_capacity(arguments: Sequence[str]) -> int:
    """Find the highest rate within a latency bound."""
    from loadtest.commands.measure import find_capacity as command  # noqa: PLC0415

    return command(arguments)


def matrix(arguments: Sequence[str]) -> int:
    """Measure the runs of a matrix file one by one, and write one report on all of them."""
    from loadtest.matrix.command import main as command  # noqa: PLC0415

    return command(arguments)


def report(arguments: Sequence[str]) -> int:
    """Write one report on several results."""
    from loadtest.commands.report import main as command  # noqa: PLC0415

    return command(arguments)


def compare(arguments: Sequence[str]) -> int:
    """Compare results: ratios of paired repeats, with their range."""
    from loadtest.commands.compare import main as command  # noqa: PLC0415

    return command(arguments)


def readme(arguments: Sequence[str]) -> int:
    """Write the README's performance table from a report, or check it."""
    from loadtest.reports.readme.table import main as command  # noqa: PLC0415

    return command(arguments)


def web(arguments: Sequence[str]) -> int:
    """Open Locust's web UI, with accuracy beside latency."""
    # Locust patches the standard library for gevent when it is imported; only `web` imports it.
    from loadtest.web.command import main as command  # noqa: PLC0415

    return command(arguments)


def null_server(arguments: Sequence[str]) -> int:
    """Answer every request at once with the same bytes, to measure the load generator alone."""
    from loadtest.servers.null import main as command  # noqa: PLC0415 - needs no load generator

    return command(arguments)


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "run": run,
    "find-capacity": find_capacity,
    "matrix": matrix,
    "report": report,
    "compare": compare,
    "readme": readme,
    "web": web,
    "null-server": null_server,
}


def main(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code.

    A LoadTestError is printed as one line, without a traceback, and returns 2.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    if not arguments or arguments[0] in {"-h", "--help"}:
        print(_help())
        return 0 if arguments else 2
    name = arguments[0]
    if name.startswith("-"):
        name, arguments = "run", ["run", *arguments]
    command = COMMANDS.get(name)
    if command is None:
        print(f"error: {name!r} received, expected one of {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    try:
        return command(arguments[1:])
    except LoadTestError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted before anything was measured", file=sys.stderr)
        return 130


def _help() -> str:
    lines = "\n".join(
        f"  {name:<14}{(command.__doc__ or '').rstrip('.')}" for name, command in COMMANDS.items()
    )
    return f"{__doc__ or ''}\ncommands:\n{lines}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

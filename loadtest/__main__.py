"""Measure a model server's latency and accuracy in one test.

python -m loadtest run --target localhost:8500 --model simcnn --users 32 --models-dir models
python -m loadtest run --target localhost:8500 --model simcnn --scenario server --rate 500
python -m loadtest run --model simcnn --synthetic
python -m loadtest find-capacity --target localhost:8500 --model simcnn --slo-ms 15
python -m loadtest matrix --models-dir models
python -m loadtest tune --slo-ms 20
python -m loadtest mix mix.toml --models-dir models
python -m loadtest compare results/before results/after
python -m loadtest web --target localhost:8500 --model simcnn

Flags without a command name are flags of `run`. Every command has its own --help.
--version alone prints the version of the program; with a number it is a flag of `run`.
"""

import logging
import os
import sys
from collections.abc import Callable, Sequence

from loadtest.settings.config import LoadTestError, UsageError
from training import standard_streams, storage
from training.evaluation import provenance


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


def mix(arguments: Sequence[str]) -> int:
    """Measure several models and batch sizes at the same time on one server."""
    from loadtest.mix.command import main as command  # noqa: PLC0415

    return command(arguments)


def tune(arguments: Sequence[str]) -> int:
    """Find the server's fastest flags on this machine, and measure their gain."""
    from loadtest.tune.command import main as command  # noqa: PLC0415

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
    "mix": mix,
    "tune": tune,
    "report": report,
    "compare": compare,
    "readme": readme,
    "web": web,
    "null-server": null_server,
}


def main(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code.

    A LoadTestError, and a report that cannot be written, are printed as one line, without a
    traceback, and return 2.
    """
    standard_streams.open_closed()
    # gRPC's library would log a failed handshake beside the one line that explains it.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    if not arguments or arguments[0] in {"-h", "--help"}:
        print(_help())
        return 0 if arguments else 2
    if list(arguments) == ["--version"]:
        print(provenance.program_version())
        return 0
    name = arguments[0]
    if name.startswith("-"):
        name, arguments = "run", ["run", *arguments]
    try:
        return _command(name)(arguments[1:])
    except LoadTestError as error:
        failure = str(error)
    except (storage.StorageError, OSError) as error:
        told = storage.told(error)
        if told is None:
            raise
        failure = f"{told}, or name another --output-dir"
    except KeyboardInterrupt:
        print("interrupted before anything was measured", file=sys.stderr)
        return 130
    print(f"error: {failure}", file=sys.stderr)
    return 2


def _command(name: str) -> Callable[[Sequence[str]], int]:
    """Return a command by its name.

    Raises:
        UsageError: There is no such command.
    """
    command = COMMANDS.get(name)
    if command is None:
        msg = f"{name!r} received, expected one of {', '.join(COMMANDS)}"
        raise UsageError(msg)
    return command


def _help() -> str:
    lines = "\n".join(
        f"  {name:<14}{(command.__doc__ or '').rstrip('.')}" for name, command in COMMANDS.items()
    )
    return f"{__doc__ or ''}\ncommands:\n{lines}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

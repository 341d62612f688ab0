"""`python -m loadtest matrix`: the runs of a matrix file one by one, and one report on all."""

import argparse
import contextlib
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from loadtest.matrix import file
from loadtest.matrix.execution import Endpoint, Execution, MatrixRun, say, slug
from loadtest.matrix.file import AUTO, Matrix, Target
from loadtest.reports.pages import files
from loadtest.rows.images import load_test_images
from loadtest.servers import description, local
from loadtest.settings.arguments import output_folder, positive_int, positive_number, target_address
from loadtest.settings.config import PLAIN, ConnectionConfig, UsageError
from loadtest.settings.connection_flags import add_flags, as_flags, connection
from loadtest.settings.data_flags import names_rows
from loadtest.settings.parser import Parser
from loadtest.transports import port_check

DEFAULT_FILE = Path(__file__).with_name("matrix.toml")


def main(arguments: Sequence[str]) -> int:
    """Run the command line.

    Returns:
        Exit code: 0 if every run of the matrix was measured and passed its gates, else 1.

    Raises:
        UsageError: The matrix cannot start, or no run could be measured.
    """
    values = _parser().parse_args(arguments)
    plan = file.read(values.file)
    changes = {
        "repeats": values.repeats,
        "max_seconds": values.max_seconds,
        "targets": values.target and (Target(values.target, values.target, (), (AUTO,)),),
    }
    known = {name: value for name, value in changes.items() if value is not None}
    plan = dataclasses.replace(plan, **known)
    if not all(names_rows(scenario.flags) for scenario in plan.scenarios):
        load_test_images(values.data_dir)  # to report missing images now, not in every run
    there = connection(values)
    folder = values.output_dir or output_folder(plan.name)
    with _endpoints(plan, values.models_dir, folder, there) as endpoints:
        runs = _runs(plan, endpoints)
        made = Execution(
            plan,
            folder,
            models_dir=None if values.no_record else values.models_dir,
            data_dir=values.data_dir,
            connection_flags=as_flags(values),
        )
        made.not_measured += _absent(plan, endpoints)
        made.run_all(runs)
    if not made.results:
        raise UsageError("; ".join(made.not_measured) or "nothing was measured")
    document = made.collection()
    files.write(document, folder)
    sys.stdout.write(f"{len(made.results)} runs; report: {folder / 'report.html'}\n")
    if values.json:
        sys.stdout.write(msgspec.json.encode(document).decode() + "\n")
    failures = made.failures
    if failures:
        sys.stdout.flush()
        say(f"failed: {'; '.join(failures)}")
    return 1 if failures else 0


@contextlib.contextmanager
def _endpoints(
    plan: Matrix, models_dir: Path, folder: Path, there: ConnectionConfig
) -> Iterator[list[Endpoint]]:
    """Start the targets that have `serve` flags, and yield all endpoints.

    Args:
        plan: The matrix.
        models_dir: Models of the servers that are started.
        folder: Folder of their logs.
        there: The connection to servers that were running before.
    """
    with contextlib.ExitStack() as servers:
        endpoints = []
        for target in plan.targets:
            for precision in target.precisions:
                server, address = None, target.address
                if address is None:
                    flags = [*target.serve, *_precision_flags(precision)]
                    log = folder / "servers" / f"{slug(target.name)}-{precision}.log"
                    say(f"starting a server: {target.name}, precision {precision}")
                    server = servers.enter_context(local.started(models_dir, flags, log))
                    address = server.address
                says = description.ask(address, there if server is None else PLAIN)
                if server is None and not says.models:
                    _check_connection(address, there)
                endpoints.append(Endpoint(target, address, says, server))
        yield endpoints


def _check_connection(address: str, there: ConnectionConfig) -> None:
    """Find out whether TLS is why a server does not say which models it serves.

    Raises:
        UsageError: The server cannot be reached with these settings.
    """
    problem = port_check.check(address, there, "HTTP/1.1")
    if problem is not None and problem.certain and not problem.wrong_protocol:
        raise UsageError(problem.text)


def _runs(plan: Matrix, endpoints: Sequence[Endpoint]) -> list[MatrixRun]:
    """Return all runs in order: every configuration once (A B), then the next repeat (A B)."""
    runs = [
        MatrixRun(endpoint, model, scenario, repeat)
        for repeat in range(plan.repeats)
        for scenario in plan.scenarios
        for endpoint in endpoints
        for model in _models(plan, endpoint)
        if scenario.models is None or model in scenario.models
        if scenario.repeats is None or repeat < scenario.repeats
    ]
    if not runs:
        msg = "no scenario names a model that the targets serve"
        raise UsageError(msg)
    return runs


def _models(plan: Matrix, endpoint: Endpoint) -> list[str]:
    if plan.models is not None:
        return [
            name for name in plan.models if name in endpoint.says.models or not endpoint.says.models
        ]
    if not endpoint.says.models and endpoint.server is not None:
        msg = f"the server {endpoint.target.name} serves no model: {endpoint.server.last_words()}"
        raise UsageError(msg)
    if not endpoint.says.models:
        msg = f"{endpoint.address} does not say which models it serves; name them in the matrix"
        raise UsageError(msg)
    return list(endpoint.says.models)


def _absent(plan: Matrix, endpoints: Sequence[Endpoint]) -> list[str]:
    """Return one line for each model that the matrix names and no target serves."""
    silent = any(not endpoint.says.models for endpoint in endpoints)
    return [
        f"{name}: served by none of the targets"
        for name in plan.models or ()
        if not silent and not any(name in endpoint.says.models for endpoint in endpoints)
    ]


def _precision_flags(precision: str) -> list[str]:
    return [] if precision == AUTO else [f"--precision={precision}"]


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m loadtest matrix",
        description=file.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "file",
        nargs="?",
        type=Path,
        default=DEFAULT_FILE,
        help="matrix in TOML (default: the package's own matrix.toml)",
    )
    add(
        "--models-dir",
        type=Path,
        default=Path("models"),
        help="models to serve, with the recorded predictions to compare answers with (default: "
        "%(default)s)",
    )
    add(
        "--no-record",
        action="store_true",
        help="do not compare answers with recorded predictions: the models have none",
    )
    add("--data-dir", type=Path, help="CIFAR-10 folder or archive (default: $CIFAR10_DIR)")
    add("--target", type=target_address, help="running server, instead of the file's targets")
    add("--repeats", type=positive_int, metavar="N", help="overrides the file's value")
    add("--max-seconds", type=positive_number, metavar="SECONDS", help="overrides the file's value")
    add("--output-dir", type=Path, help="folder for the report (default: results/TIME-NAME)")
    add_flags(parser.add_argument_group("connection to running servers").add_argument)
    add("--json", action="store_true", help="end with the report as one line of JSON")
    return parser

"""`python -m loadtest matrix`: the runs of a matrix file one by one, and one report on all."""

import argparse
import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from loadtest.matrix import file
from loadtest.matrix.execution import Execution, MatrixRun
from loadtest.matrix.file import Matrix
from loadtest.plans import arguments as shared
from loadtest.plans.child_runs import slug
from loadtest.plans.endpoints import Endpoint, opened
from loadtest.plans.plan_outcome import finish
from loadtest.plans.targets import AUTO, running_target
from loadtest.settings.arguments import positive_number
from loadtest.settings.config import ConnectionConfig, UsageError
from loadtest.settings.connection_flags import connection
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
    plan = _changed(file.read(values.file), values)
    shared.check_images(values.data_dir, [scenario.flags for scenario in plan.scenarios])
    there = connection(values)
    settings = shared.common_settings(values, plan.name)
    with _endpoints(plan, values.models_dir, settings.folder, there) as endpoints:
        runs = _runs(plan, endpoints)
        made = Execution(plan, settings)
        made.outcome.not_measured += _absent(plan, endpoints)
        made.run_all(runs)
    return finish(made.outcome, plan.name, settings.folder, runs="runs", print_json=values.json)


def _changed(plan: Matrix, values: argparse.Namespace) -> Matrix:
    """Return the matrix with what the command line gives instead of the file."""
    changes = {
        "repeats": values.repeats,
        "max_seconds": values.max_seconds,
        "targets": values.target and (running_target(values.target),),
    }
    given = {name: value for name, value in changes.items() if value is not None}
    return dataclasses.replace(plan, **given)


@contextlib.contextmanager
def _endpoints(
    plan: Matrix, models_dir: Path, folder: Path, there: ConnectionConfig
) -> Iterator[list[Endpoint]]:
    """Start the targets that have `serve` flags, and yield all endpoints.

    Args:
        plan: The matrix.
        models_dir: Models of the servers that are started.
        folder: Folder of the report; the servers' logs are in a subfolder.
        there: The connection to servers that were running before.
    """
    with contextlib.ExitStack() as servers:
        endpoints = []
        for target in plan.targets:
            for precision in target.precisions:
                endpoint = servers.enter_context(
                    opened(
                        target,
                        connection=there,
                        models_dir=models_dir,
                        log=folder / "servers" / f"{slug(target.name)}-{precision}.log",
                        further_flags=_precision_flags(precision),
                        note=f", precision {precision}",
                    )
                )
                if endpoint.server is None and not endpoint.says.models:
                    _check_connection(endpoint.address, there)
                endpoints.append(endpoint)
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
    parser = shared.new_parser("matrix", file.__doc__)
    add = parser.add_argument
    add(
        "file",
        nargs="?",
        type=Path,
        default=DEFAULT_FILE,
        help="matrix in TOML (default: the package's own matrix.toml)",
    )
    shared.add_model_flags(add)
    shared.add_target_flag(add, "targets")
    shared.add_repeats_flag(add)
    add("--max-seconds", type=positive_number, metavar="SECONDS", help=shared.OVERRIDES)
    shared.add_report_flags(parser, "running servers")
    return parser

"""The command lines of `run` and `find-capacity`.

On a wrong argument the parser prints one line and ends the program with exit code 2.
"""

import argparse
import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

from loadtest.report_schema import ScenarioKind, Transport
from loadtest.settings import data_flags, generator_flags, traffic_flags
from loadtest.settings.config import (
    DEFAULT_ABORT_AFTER_ERRORS,
    DEFAULT_REST_TARGET,
    DEFAULT_TARGET,
    DEFAULT_TIMEOUT_SECONDS,
    DEFAULT_WARMUP_REQUESTS,
    SAMPLE_SUFFIXES,
    CapacityConfig,
    GateConfig,
    LoadTestConfig,
    UsageError,
)
from loadtest.settings.connection_flags import add_flags, connection
from loadtest.settings.parser import Parser

_RUN_DESCRIPTION = """\
Send test images, or inputs of yours, to a model server and measure latency and accuracy on the
same answers.

The scenarios are MLPerf's: single-stream (one image in each request), multi-stream (eight images),
server (an open loop: Poisson arrivals at --rate), offline (all images in large batches). The
scenario users is a closed loop of N callers; each waits for its answer. Without --requests and
--duration every image is sent once.
"""
_CAPACITY_DESCRIPTION = """\
Find the highest rate of Poisson arrivals whose latency stays within a bound: double the rate until
a step fails, bisect, and confirm the result with a longer run. The report lists every step.
"""


def parse_run(arguments: Sequence[str]) -> LoadTestConfig:
    """Parse the command line of `run`; a wrong one exits with code 2."""
    parser = _parser("run", _RUN_DESCRIPTION)
    add = parser.add_argument_group("load").add_argument
    add("--scenario", choices=get_args(ScenarioKind), help="default: server with a rate, or users")
    add("--users", type=positive_int, help="number of callers in scenario users (default: 1)")
    add("--rate", type=positive_number, metavar="N", help="requests a second in scenario server")
    add("--requests", type=positive_int, help="number of timed requests to send")
    add("--duration", type=positive_number, metavar="SECONDS", help="time to keep sending")
    add("--slo-ms", type=positive_number, metavar="MS", help="latency bound")
    traffic_flags.add_flags(parser.add_argument_group("traffic of scenario server").add_argument)
    _add_common(parser)
    values = parser.parse_args(arguments)
    if values.requests is not None and values.duration is not None:
        parser.error("argument --duration: not allowed with argument --requests")
    return _config(values, values.name or _run_name(values))


def parse_capacity(arguments: Sequence[str]) -> CapacityConfig:
    """Parse the command line of `find-capacity`; a wrong one exits with code 2."""
    parser = _parser("find-capacity", _CAPACITY_DESCRIPTION)
    defaults = CapacityConfig.__dataclass_fields__
    add = parser.add_argument_group("search").add_argument
    add("--slo-ms", type=positive_number, required=True, metavar="MS", help="latency bound")
    for flag, name, kind, unit, text in (
        ("--start-rate", "start_rate_per_second", positive_number, "N", "rate of the first step"),
        ("--searches", "searches", positive_int, "N", "searches; the median is confirmed"),
        ("--step-seconds", "step_seconds", positive_number, "SECONDS", "shortest time of a step"),
        (
            *("--confirm-seconds", "confirm_seconds", positive_number, "SECONDS"),
            "shortest time of the confirmation; 60 is quick, 600 full (MLPerf)",
        ),
        (
            *("--resolution", "resolution_percent", positive_number, "PERCENT"),
            "end when the failed rate is at most this much above the passed one",
        ),
        ("--max-steps", "max_steps", positive_int, "N", "most steps of a search"),
        ("--max-seconds", "max_seconds", positive_number, "SECONDS", "start no step after this"),
    ):
        default = defaults[name].default
        shown = "half of a single caller's rate" if default is None else f"{default:g}"
        add(
            flag,
            dest=name,
            type=kind,
            default=default,
            metavar=unit,
            help=f"{text} (default: {shown})",
        )
    traffic_flags.refuse_flags(add)
    _add_common(parser)
    values = parser.parse_args(arguments)
    values.scenario = "server"
    name = values.name or f"{values.model}-capacity-{values.slo_ms:g}-ms"
    search = {name: getattr(values, name) for name in defaults if name != "run"}
    return CapacityConfig(run=_config(values, name), **search)


def positive_int(text: str) -> int:
    """Parse a whole number of 1 or more, for argparse."""
    return _int_from(text, 1)


def non_negative_int(text: str) -> int:
    """Parse a whole number of 0 or more, for argparse."""
    return _int_from(text, 0)


def positive_number(text: str) -> float:
    """Parse a number above 0, for argparse."""
    return _number(text, "a number above 0", low=0.0, including_low=False)


def share(text: str) -> float:
    """Parse a number from 0 to 1, for argparse."""
    return _number(text, "a share of 0 to 1", low=0.0, high=1.0)


def non_negative_number(text: str) -> float:
    """Parse a number of 0 or more, for argparse."""
    return _number(text, "a number of 0 or more", low=0.0)


def percent(text: str) -> float:
    """Parse a percentile above 0 and below 100, for argparse."""
    value = _number(text, "a percentile above 0 and below 100", low=0.0, including_low=False)
    if value >= 100:
        msg = f"{text!r} received, expected a percentile above 0 and below 100"
        raise argparse.ArgumentTypeError(msg)
    return value


def target_address(text: str) -> str:
    """Check an address `host:port`, for argparse."""
    host, _, port = text.rpartition(":")
    if "://" in text or not host or not port.isdigit() or not 0 < int(port) < 65536:
        msg = f"{text!r} received, expected HOST:PORT of the server, such as {DEFAULT_TARGET}"
        raise argparse.ArgumentTypeError(msg)
    return text


def samples_file(text: str) -> Path:
    """Check the name of a file of samples, for argparse."""
    path = Path(text)
    if path.suffix not in SAMPLE_SUFFIXES:
        msg = f"{text!r} received, expected a file that ends with {' or '.join(SAMPLE_SUFFIXES)}"
        raise argparse.ArgumentTypeError(msg)
    return path


def output_folder(name: str) -> Path:
    """Return the default folder of a report: results/TIME-NAME, with the time in UTC."""
    started = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    # The name becomes part of a path; a slash in it must not lead to another folder.
    return Path("results") / f"{started}-{re.sub(r'[^A-Za-z0-9._-]+', '-', name)}"


def _parser(command: str, description: str) -> argparse.ArgumentParser:
    return Parser(
        prog=f"python -m loadtest {command}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def _add_common(parser: argparse.ArgumentParser) -> None:
    """Add the flags that `run` and `find-capacity` share."""
    add = parser.add_argument_group("target").add_argument
    add(
        "--target",
        type=target_address,
        metavar="HOST:PORT",
        help=f"address of the server (default: {DEFAULT_TARGET}, REST {DEFAULT_REST_TARGET})",
    )
    add("--model", required=True, help="model name")
    add("--version", type=non_negative_int, help="model version (default: the latest)")
    add("--version-label", metavar="LABEL", help="version label, such as canary (tfs transports)")
    add(
        "--transport",
        choices=get_args(Transport),
        default="tfs-grpc",
        help="API to speak (default: %(default)s)",
    )
    add("--precision", help="the server's precision, such as int8 (default: ask the server)")
    add("--provider", help="execution provider of the server (default: ask the server)")
    add("--models-dir", type=Path, help="model folder, to compare with the recorded predictions")

    data_flags.add_flags(parser)
    add_flags(parser.add_argument_group("connection").add_argument)

    add = parser.add_argument_group("requests").add_argument
    add("--batch", type=positive_int, help="images per request (default: by scenario)")
    add("--in-flight", type=positive_int, metavar="N", help="requests under way (server, offline)")
    add("--connections", type=positive_int, metavar="N", help="connections of all processes")
    generator_flags.add_flags(add, positive_int)
    add(
        "--percentile",
        type=percent,
        metavar="P",
        help="latency percentile of the bound and the rules of validity (default: by scenario)",
    )
    add(
        "--warmup-requests",
        type=non_negative_int,
        default=DEFAULT_WARMUP_REQUESTS,
        metavar="N",
        help="untimed requests first, at least one per connection (default: %(default)s)",
    )
    add("--seed", type=non_negative_int, default=0, help="seed of the image order (default: 0)")
    add(
        "--schedule-seed",
        type=non_negative_int,
        default=0,
        help="seed of the arrival times (default: 0)",
    )
    add(
        "--timeout",
        type=positive_number,
        default=DEFAULT_TIMEOUT_SECONDS,
        metavar="SECONDS",
        help="deadline of a request (default: %(default)s)",
    )
    add(
        "--abort-after-errors",
        type=non_negative_int,
        default=DEFAULT_ABORT_AFTER_ERRORS,
        metavar="N",
        help="end the run after N requests in a row without connection, or three deadlines without "
        "an answer; 0 measures outages of any length (default: %(default)s)",
    )
    add("--server-timing", action="store_true", help="ask the server for its own timings")
    add("--floor", action="store_true", help="also measure a server that answers at once")

    add = parser.add_argument_group("gates (exit code 1 if one is missed)").add_argument
    add("--gate", action="store_true", help="the run must be VALID and within --slo-ms")
    add("--min-accuracy", type=share, metavar="SHARE", help="lowest top-1 (0 to 1)")
    add(
        "--max-error-rate",
        type=share,
        default=0.0,
        metavar="SHARE",
        help="highest share of requests that fail or are missed (0 to 1, default: 0)",
    )
    add(
        "--max-wrong-answers",
        type=non_negative_int,
        default=0,
        metavar="N",
        help="highest number of answers that differ from the record (default: 0)",
    )
    add("--baseline", type=Path, metavar="FILE", help="earlier report.json to compare with")
    add(
        "--tolerance",
        type=non_negative_number,
        default=GateConfig.tolerance_percent,
        metavar="PERCENT",
        help="how much worse than the baseline latency and rate may be (default: %(default)g)",
    )
    add(
        "--accuracy-tolerance",
        type=non_negative_number,
        default=GateConfig.accuracy_tolerance_points,
        metavar="POINTS",
        help="how far top-1 may be below the baseline's (default: %(default)g)",
    )

    add = parser.add_argument_group("report").add_argument
    add("--output-dir", type=Path, help="folder for the report (default: results/TIME-NAME)")
    add(
        "--save-samples",
        type=samples_file,
        metavar="FILE",
        help="also save times, code, labels and answers of every request, as .npz or .parquet",
    )
    add("--name", help="name of the run in the report")
    add("--json", action="store_true", help="end with the report as one line of JSON")
    add(
        *("--plain", "--no-live"),
        dest="plain",
        action="store_true",
        help="show progress as a line instead of a full screen, as NO_COLOR and TERM=dumb do",
    )


def version_label(values: argparse.Namespace) -> str | None:
    """Return --version-label.

    Raises:
        UsageError: The label is empty, --version is given too, or the transport has no labels.
    """
    label: str | None = values.version_label
    if label is None:
        return None
    if not label:
        msg = "--version-label is empty, expected a label of the server, such as canary"
    elif values.version is not None:
        msg = f"--version {values.version} and --version-label {label} given, expected one of them"
    elif not values.transport.startswith("tfs"):
        msg = (
            f"--version-label {label} given with --transport {values.transport}: KServe v2 has no "
            "labels; expected tfs-grpc or tfs-rest, or --version N"
        )
    else:
        return label
    raise UsageError(msg)


def _config(values: argparse.Namespace, name: str) -> LoadTestConfig:
    only_run: dict[str, Any] = {
        "users": getattr(values, "users", None),
        "rate_per_second": getattr(values, "rate", None),
        "requests": getattr(values, "requests", None),
        "duration_seconds": getattr(values, "duration", None),
        **traffic_flags.settings(values),
    }
    default_target = DEFAULT_REST_TARGET if "rest" in values.transport else DEFAULT_TARGET
    return LoadTestConfig(
        target=values.target or default_target,
        connection=connection(values),
        model=values.model,
        version=values.version,
        version_label=version_label(values),
        precision=values.precision,
        provider=values.provider,
        transport=values.transport,
        scenario=values.scenario,
        batch=values.batch,
        in_flight=values.in_flight,
        connections=values.connections,
        warmup_requests=values.warmup_requests,
        slo_ms=values.slo_ms,
        percentile=values.percentile,
        timeout_seconds=values.timeout,
        abort_after_errors=values.abort_after_errors,
        seed=values.seed,
        schedule_seed=values.schedule_seed,
        **generator_flags.settings(values),
        server_timing=values.server_timing,
        floor=values.floor,
        data=data_flags.data(values),
        models_dir=values.models_dir,
        output_dir=values.output_dir or output_folder(name),
        save_samples=values.save_samples,
        name=name,
        print_json=values.json,
        plain=values.plain,
        gates=GateConfig(
            strict=values.gate,
            min_accuracy=values.min_accuracy,
            max_error_rate=values.max_error_rate,
            max_wrong_answers=values.max_wrong_answers,
            baseline=values.baseline,
            tolerance_percent=values.tolerance,
            accuracy_tolerance_points=values.accuracy_tolerance,
        ),
        **only_run,
    )


def _run_name(values: argparse.Namespace) -> str:
    """Return a default name for a run: `simcnn-server-500`, `simcnn-users-32-batch-8`."""
    course = traffic_flags.name_parts(values)
    is_open = values.rate is not None or course
    parts = [values.model, values.scenario or ("server" if is_open else "users"), *course]
    parts += [f"{number:g}" for number in (values.rate, values.users) if number is not None]
    if values.batch is not None:
        parts.append(f"batch-{values.batch}")
    return "-".join(parts)


def _int_from(text: str, low: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = low - 1
    if number < low:
        msg = f"{text!r} received, expected a whole number of {low} or more"
        raise argparse.ArgumentTypeError(msg)
    return number


def _number(
    text: str, expected: str, *, low: float, high: float = math.inf, including_low: bool = True
) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (low <= number <= high) or math.isinf(number) or (number == low and not including_low):
        msg = f"{text!r} received, expected {expected}"
        raise argparse.ArgumentTypeError(msg)
    return number

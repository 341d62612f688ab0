"""Settings of a load test and the command line that sets them."""

import argparse
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

DEFAULT_TARGET = "localhost:8500"
DEFAULT_TIMEOUT_SECONDS = 10.0
DEFAULT_WARMUP_REQUESTS = 100

_DESCRIPTION = """\
Send real test images to a model server and measure latency and accuracy of the same answers.

closed loop: each of N users sends its next request when its last one is answered. Without
--requests or --duration every test image is sent exactly once. `python -m loadtest web ...` opens
Locust's web UI instead, with accuracy beside latency.
"""


class UsageError(Exception):
    """The run cannot start: a setting, the data or the target is at fault. Exit code 2."""


@dataclass(frozen=True, kw_only=True)
class LoadTestConfig:
    """Settings of one headless run.

    Attributes:
        target: `host:port` of the server's gRPC port.
        model: Model name.
        version: Version number; None for the latest.
        users: Users of the closed loop.
        batch: Images a request.
        requests: Timed requests to send; None for no such limit.
        duration_seconds: How long to keep sending; None for no such limit. With neither limit
            every test image is sent exactly once.
        warmup_requests: Untimed requests before, over all users; each user sends at least one.
        seed: Decides the order of the images.
        timeout_seconds: Deadline of a request.
        data_dir: Where the test images are; None for $CIFAR10_DIR.
        models_dir: The server's model folder, to compare with the recorded accuracy.
        output_dir: Where the report is written.
        name: Label of the run.
        print_json: End standard output with the report as one line of JSON.
    """

    target: str
    model: str
    version: int | None = None
    users: int = 1
    batch: int = 1
    requests: int | None = None
    duration_seconds: float | None = None
    warmup_requests: int = DEFAULT_WARMUP_REQUESTS
    seed: int = 0
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    data_dir: Path | None = None
    models_dir: Path | None = None
    output_dir: Path
    name: str
    print_json: bool = False


def parse_config(arguments: Sequence[str]) -> LoadTestConfig:
    """Read the command line; what it says wrongly ends the program with exit code 2."""
    parser = _parser()
    values = parser.parse_args(arguments)
    name = values.name or f"{values.model}-{values.users}-users-batch-{values.batch}"
    started = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    # The label becomes part of a path; a slash in it must not lead elsewhere.
    folder = re.sub(r"[^A-Za-z0-9._-]+", "-", name)
    return LoadTestConfig(
        target=values.target,
        model=values.model,
        version=values.version,
        users=values.users,
        batch=values.batch,
        requests=values.requests,
        duration_seconds=values.duration,
        warmup_requests=values.warmup_requests,
        seed=values.seed,
        timeout_seconds=values.timeout,
        data_dir=values.data_dir,
        models_dir=values.models_dir,
        output_dir=values.output_dir or Path("results") / f"{started}-{folder}",
        name=name,
        print_json=values.json,
    )


def positive_int(text: str) -> int:
    """A whole number of 1 or more, for argparse."""
    return _int_from(text, 1)


def non_negative_int(text: str) -> int:
    """A whole number of 0 or more, for argparse."""
    return _int_from(text, 0)


def positive_seconds(text: str) -> float:
    """A number of seconds above 0, for argparse."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        msg = f"{text!r} received, expected a number of seconds above 0"
        raise argparse.ArgumentTypeError(msg)
    return seconds


def target_address(text: str) -> str:
    """`host:port`, for argparse."""
    host, _, port = text.rpartition(":")
    if "://" in text or not host or not port.isdigit() or not 0 < int(port) < 65536:
        msg = f"{text!r} received, expected HOST:PORT of the gRPC port, such as {DEFAULT_TARGET}"
        raise argparse.ArgumentTypeError(msg)
    return text


def _int_from(text: str, low: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = low - 1
    if number < low:
        msg = f"{text!r} received, expected a whole number of {low} or more"
        raise argparse.ArgumentTypeError(msg)
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--target", type=target_address, required=True, help="gRPC address of the server")
    add("--model", required=True, help="model name")
    add("--version", type=non_negative_int, help="model version (default: the latest)")
    add("--users", type=positive_int, default=1, help="users of the closed loop (default: 1)")
    add("--batch", type=positive_int, default=1, help="images a request (default: 1)")
    end = parser.add_mutually_exclusive_group()
    end.add_argument("--requests", type=positive_int, help="send so many timed requests")
    end.add_argument(
        "--duration", type=positive_seconds, metavar="SECONDS", help="keep sending for so long"
    )
    add(
        "--warmup-requests",
        type=non_negative_int,
        default=DEFAULT_WARMUP_REQUESTS,
        metavar="N",
        help="untimed requests before, at least one a user (default: %(default)s)",
    )
    add("--seed", type=non_negative_int, default=0, help="order of the images (default: 0)")
    add(
        "--timeout",
        type=positive_seconds,
        default=DEFAULT_TIMEOUT_SECONDS,
        metavar="SECONDS",
        help="deadline of a request (default: %(default)s)",
    )
    add("--data-dir", type=Path, help="CIFAR-10 folder or archive (default: $CIFAR10_DIR)")
    add("--models-dir", type=Path, help="model folder, to compare with the recorded accuracy")
    add("--output-dir", type=Path, help="where the report goes (default: results/TIME-NAME)")
    add("--name", help="label of the run")
    add("--json", action="store_true", help="end with the report as one line of JSON")
    return parser

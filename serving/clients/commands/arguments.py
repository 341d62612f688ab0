"""The command line of `python -m serving.client`: one line of error for a wrong one."""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import grpc

from serving.clients.batches import DEFAULT_BATCH, DEFAULT_IN_FLIGHT
from serving.clients.messages import CLASSIFY_SIGNATURE
from serving.connection.call_settings import DEFAULT_TIMEOUT_SECONDS
from serving.connection.retries import MAX_RETRIES
from serving.tensors.signature import DEFAULT_SIGNATURE_NAME

DEFAULT_TARGET = "localhost:8500"
STDIN = "-"
_CODES = [code.name for code in grpc.StatusCode if code is not grpc.StatusCode.OK]
_FILES = (
    "pictures (PNG, JPEG, WebP or BMP), or one .npz file with an array for each input, or one "
    ".json file in TensorFlow Serving's row or column format; - reads such JSON from standard input"
)


class _ClientParser(argparse.ArgumentParser):
    """An `argparse.ArgumentParser` that leaves out the usage, which may be 20 lines long."""

    def error(self, message: str) -> NoReturn:
        """Print the message as one line, and exit with code 2."""
        self.exit(2, f"error: {message}; `{self.prog} --help` explains the flags\n")


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse a command line; a wrong one, or --help, ends the process."""
    parser = _ClientParser(
        prog="python -m serving.client",
        description="Call a model server over TensorFlow Serving's gRPC API. Exit code 1: the "
        "server refused the call or could not be reached; 2: wrong usage or input.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary, add_flags in (
        ("predict", "run a model on pictures, arrays or JSON", _add_predict),
        ("classify", "name the classes of pictures", _add_classify),
        ("status", "list the versions of a model and their states", _add_no_flags),
        (
            "metadata",
            "list the signatures of a model, with their inputs and outputs",
            _add_no_flags,
        ),
    ):
        command = commands.add_parser(
            name, help=summary, description=f"{summary[0].upper()}{summary[1:]}."
        )
        command.add_argument("model", metavar="MODEL", help="model name")
        add_flags(command)
        _add_model(command)
        _add_call(command)
        _add_connection(command)
    return parser.parse_args(arguments)


def _add_no_flags(_parser: argparse.ArgumentParser) -> None:
    """Add nothing: the command has only the flags that all commands have."""


def _add_predict(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("files", nargs="+", metavar="FILE", help=_FILES)
    _add_signature(parser, DEFAULT_SIGNATURE_NAME, default="")
    add(
        "--input",
        metavar="NAME",
        help="input that takes the pictures (default: the only one of (batch, height, width, 3))",
    )
    add(
        "--output-filter",
        action="append",
        default=[],
        metavar="NAME",
        help="return only this output; may be repeated",
    )
    _add_batch(parser)
    add(
        "--in-flight",
        type=_positive_int,
        default=DEFAULT_IN_FLIGHT,
        metavar="N",
        help="most requests at a time (default: %(default)s)",
    )
    _add_resize(parser)
    add("--output", type=_npz, metavar="FILE.npz", help="write the outputs into a file as arrays")


def _add_classify(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("files", nargs="+", metavar="FILE", help="pictures (PNG, JPEG, WebP or BMP)")
    _add_signature(parser, CLASSIFY_SIGNATURE, default=CLASSIFY_SIGNATURE)
    add(
        "--top",
        type=_non_negative_int,
        metavar="N",
        help="classes to show of each picture, 0 for all (default: 3, and all with --json)",
    )
    _add_batch(parser)
    _add_resize(parser)


def _add_signature(parser: argparse.ArgumentParser, shown: str, *, default: str) -> None:
    parser.add_argument(
        "--signature", default=default, metavar="NAME", help=f"signature name (default: {shown})"
    )


def _add_batch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--batch",
        type=_positive_int,
        default=DEFAULT_BATCH,
        metavar="N",
        help="most rows of a request (default: %(default)s)",
    )


def _add_resize(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--resize",
        action="store_true",
        help="scale pictures of another size than the model's, without keeping their aspect ratio; "
        "otherwise they are refused",
    )


def _add_model(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--version", type=_non_negative_int, metavar="N", help="version (default: the latest)")
    add("--version-label", metavar="LABEL", help="version label, instead of --version")
    add("--json", action="store_true", help="print JSON, as TensorFlow Serving's REST API answers")


def _add_call(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("call").add_argument
    add(
        "--timeout",
        type=_seconds,
        default=DEFAULT_TIMEOUT_SECONDS,
        metavar="SECONDS",
        help="timeout of a call with its retries; inf for none (default: %(default)g)",
    )
    add(
        "--retries",
        type=_non_negative_int,
        default=0,
        metavar="N",
        help=f"times to send a call again that failed with UNAVAILABLE, 0 to {MAX_RETRIES} "
        "(default: %(default)s)",
    )
    add(
        "--retry-code",
        action="append",
        choices=_CODES,
        metavar="CODE",
        help="retry after this code instead, for example RESOURCE_EXHAUSTED; may be repeated",
    )
    add(
        "--wait-for-ready",
        action="store_true",
        help="wait, up to the timeout, for a server that cannot be reached",
    )
    add("--compression", choices=("gzip", "deflate"), help="compress the requests")


def _add_connection(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("connection").add_argument
    add(
        "--target",
        type=_target,
        default=DEFAULT_TARGET,
        metavar="HOST:PORT",
        help="address of the server, or unix:PATH (default: %(default)s)",
    )
    add("--tls", action="store_true", help="use TLS; --ca and --cert imply it")
    for flag, text in (
        ("--ca", "trust the authorities in this PEM file (default: gRPC's own list)"),
        ("--cert", "client certificate (PEM), for a server that demands one"),
        ("--key", "key of --cert (PEM)"),
        ("--api-key-file", "file with the API key"),
    ):
        add(flag, type=Path, metavar="FILE", help=text)
    add(
        "--header",
        type=_header,
        action="append",
        default=[],
        metavar="NAME:VALUE",
        help="send this metadata, too; other users of this machine can see it",
    )


def _target(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not text.startswith("unix:") and (not host or not port.isdigit()):
        msg = f"{text!r} received, expected HOST:PORT, such as {DEFAULT_TARGET}, or unix:PATH"
        raise argparse.ArgumentTypeError(msg)
    return text


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        msg = f"{name[:40]!r} received, expected NAME:VALUE"
        raise argparse.ArgumentTypeError(msg)
    return name.strip(), value.strip()


def _npz(text: str) -> Path:
    if not text.endswith(".npz"):
        msg = f"{text!r} received, expected a name that ends in .npz"
        raise argparse.ArgumentTypeError(msg)
    return Path(text)


def _positive_int(text: str) -> int:
    return _int_from(text, 1)


def _non_negative_int(text: str) -> int:
    return _int_from(text, 0)


def _int_from(text: str, low: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = low - 1
    if number < low:
        msg = f"{text!r} received, expected a whole number of {low} or more"
        raise argparse.ArgumentTypeError(msg)
    return number


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds > 0:
        msg = f"{text!r} received, expected a number of seconds above 0, or inf"
        raise argparse.ArgumentTypeError(msg)
    return seconds

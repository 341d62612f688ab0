"""`python -m loadtest mix`: the streams of a mix file at the same time, and one report on all."""

import argparse
import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from loadtest.matrix.execution import Endpoint, say
from loadtest.matrix.file import AUTO, Target
from loadtest.mix import file
from loadtest.mix.execution import MixExecution
from loadtest.mix.file import Mix
from loadtest.reports.pages import files
from loadtest.rows.images import load_test_images
from loadtest.servers import description, local
from loadtest.settings.arguments import output_folder, positive_int, positive_number, target_address
from loadtest.settings.config import PLAIN, ConnectionConfig, UsageError
from loadtest.settings.connection_flags import add_flags, as_flags, connection
from loadtest.settings.data_flags import names_rows
from loadtest.settings.parser import Parser
from loadtest.settings.traffic_flags import speed

_DESCRIPTION = f"""\
Send several streams of requests to one server at the same time: different models, batch sizes,
transports and rates. Each stream is an open loop with a report of its own; one report has them all,
with their totals. The exit code is 0 if every stream was measured and passed its gates, else 1.

{file.__doc__}"""


def main(arguments: Sequence[str]) -> int:
    """Run the command line.

    Returns:
        Exit code: 0 if every stream was measured and passed its gates, else 1.

    Raises:
        UsageError: The mix cannot start, or nothing could be measured.
    """
    values = _parser().parse_args(arguments)
    mix = _mix(values)
    file.check(mix)
    if not all(names_rows(stream.flags) for stream in mix.streams):
        load_test_images(values.data_dir)  # to report missing images now, not in every stream
    there = connection(values)
    folder = values.output_dir or output_folder(mix.name)
    with _endpoint(mix, values.models_dir, folder, there) as endpoint:
        made = MixExecution(
            mix,
            endpoint,
            folder,
            models_dir=None if values.no_record else values.models_dir,
            data_dir=values.data_dir,
            connection_flags=as_flags(values),
        )
        made.run_all()
    if not made.results:
        raise UsageError("; ".join(made.not_measured) or made.stop_reason or "nothing was measured")
    document = made.collection()
    files.write(document, folder)
    sys.stdout.write(f"{len(made.results)} streams; report: {folder / 'report.html'}\n")
    if values.json:
        sys.stdout.write(msgspec.json.encode(document).decode() + "\n")
    failures = made.failures
    if failures:
        sys.stdout.flush()
        say(f"failed: {'; '.join(failures)}")
    return 1 if failures else 0


def _mix(values: argparse.Namespace) -> Mix:
    """Return the mix of the command line.

    Raises:
        UsageError: The command line names no mix, two, or no server.
    """
    if (values.file is None) == (values.replay is None):
        msg = "expected a mix file or --replay FILE, and not both"
        raise UsageError(msg)
    if values.file is not None:
        if values.speed is not None or values.model is not None:
            msg = "--speed and --model go with --replay; write them into the mix file"
            raise UsageError(msg)
        mix = file.read(values.file)
    else:
        streams = file.of_replay(values.replay, values.speed, values.model)
        mix = Mix(values.replay.stem, 1, None, None, None, streams)
    if values.rate is not None and all(stream.share is None for stream in mix.streams):
        msg = "--rate is the rate of all streams with a share, but no stream has one"
        raise UsageError(msg)
    named = values.target and Target(values.target, values.target, (), (AUTO,))
    mix = file.changed(
        mix, target=named, repeats=values.repeats, duration=values.duration, rate=values.rate
    )
    if mix.target is None:
        msg = "no server: expected [target] in the mix file, or --target HOST:PORT"
        raise UsageError(msg)
    return mix


@contextlib.contextmanager
def _endpoint(
    mix: Mix, models_dir: Path, folder: Path, there: ConnectionConfig
) -> Iterator[Endpoint]:
    """Yield the server of a mix, which is started if it has `serve` flags."""
    target = mix.target
    if target is None:
        msg = "the mix has no target"
        raise ValueError(msg)
    with contextlib.ExitStack() as servers:
        server, address = None, target.address
        if address is None:
            say(f"starting a server: {target.name}")
            log = folder / "servers" / "server.log"
            server = servers.enter_context(local.started(models_dir, target.serve, log))
            address = server.address
        says = description.ask(address, there if server is None else PLAIN)
        yield Endpoint(target, address, says, server)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m loadtest mix",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("file", nargs="?", type=Path, help="mix in TOML")
    add("--replay", type=Path, metavar="FILE", help="recorded traffic, instead of a mix file")
    add("--speed", type=speed, metavar="X", help="speed of --replay, 0.5 to 4 (default: 1)")
    add("--model", help="model of --replay, if its file names none")
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
    add("--target", type=target_address, help="running server, instead of the file's target")
    add("--rate", type=positive_number, metavar="N", help="overrides the file's value")
    add("--duration", type=positive_number, metavar="SECONDS", help="overrides the file's value")
    add("--repeats", type=positive_int, metavar="N", help="overrides the file's value")
    add("--output-dir", type=Path, help="folder for the report (default: results/TIME-NAME)")
    add_flags(parser.add_argument_group("connection to a running server").add_argument)
    add("--json", action="store_true", help="end with the report as one line of JSON")
    return parser

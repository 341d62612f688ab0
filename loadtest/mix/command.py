"""`python -m loadtest mix`: the streams of a mix file at the same time, and one report on all."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from loadtest.mix import file
from loadtest.mix.execution import MixExecution
from loadtest.mix.file import Mix
from loadtest.plans import arguments as shared
from loadtest.plans.endpoints import opened
from loadtest.plans.plan_outcome import finish
from loadtest.plans.targets import Target, running_target
from loadtest.settings.arguments import positive_number
from loadtest.settings.config import UsageError
from loadtest.settings.connection_flags import connection
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
    mix, target = _mix(values)
    file.check(mix)
    shared.check_images(values.data_dir, [stream.flags for stream in mix.streams])
    there = connection(values)
    settings = shared.common_settings(values, mix.name)
    log = settings.folder / "servers" / "server.log"
    with opened(target, connection=there, models_dir=values.models_dir, log=log) as endpoint:
        made = MixExecution(mix, endpoint, settings)
        made.run_all()
    return finish(made.outcome, mix.name, settings.folder, runs="streams", print_json=values.json)


def _mix(values: argparse.Namespace) -> tuple[Mix, Target]:
    """Return the mix of the command line, and its server.

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
    named = values.target and running_target(values.target)
    mix = file.changed(
        mix, target=named, repeats=values.repeats, duration=values.duration, rate=values.rate
    )
    if mix.target is None:
        msg = "no server: expected [target] in the mix file, or --target HOST:PORT"
        raise UsageError(msg)
    return mix, mix.target


def _parser() -> argparse.ArgumentParser:
    parser = shared.new_parser("mix", _DESCRIPTION)
    add = parser.add_argument
    add("file", nargs="?", type=Path, help="mix in TOML")
    add("--replay", type=Path, metavar="FILE", help="recorded traffic, instead of a mix file")
    add("--speed", type=speed, metavar="X", help="speed of --replay, 0.5 to 4 (default: 1)")
    add("--model", help="model of --replay, if its file names none")
    shared.add_model_flags(add)
    shared.add_target_flag(add, "target")
    add("--rate", type=positive_number, metavar="N", help=shared.OVERRIDES)
    add("--duration", type=positive_number, metavar="SECONDS", help=shared.OVERRIDES)
    shared.add_repeats_flag(add)
    shared.add_report_flags(parser, "a running server")
    return parser

"""A mix file: the streams of requests that one server gets at the same time.

schema_version = 1           # may be left out
name = "both models"
duration = 60                # seconds
repeats = 1                  # how often all streams are run together
rate = 200                   # requests/s of all streams that have a share

[target]
serve = ["--device=cpu"]     # start a server with these flags of `python -m serving`; or
# address = "host:8500"      # use a running server

[defaults]                   # flags of `run` for every stream, without the leading --
slo-ms = 50

[[streams]]
name = "small"
model = "simcnn"
share = 0.9                  # of `rate`; or
# rate = 180                 # its own rate; or
# shape = "ramp:50..200"     # a rate that changes

[[streams]]
name = "large"
model = "resnet50"
share = 0.1
batch = 8                    # all other keys are flags of `run`
transport = "kserve-grpc"

Instead of streams a file may have `replay = "traffic.csv"` and `speed = 2`: one stream for each
model and batch size of the recorded traffic.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from loadtest.load import recorded_traffic
from loadtest.load.scenarios import settle
from loadtest.plans import tables
from loadtest.plans.run_flags import (
    OWN_FLAGS,
    command_flags,
    parse_flags,
    refuse_own_flags,
    refuse_sample_files,
)
from loadtest.plans.tables import Table, check_names
from loadtest.plans.targets import AUTO, Target, read_target
from loadtest.settings.arguments import parse_run
from loadtest.settings.config import UsageError
from training import schemas

# Flags that a mix passes itself, or that have another meaning at its top.
_OWN_FLAGS = OWN_FLAGS | {"duration", "requests", "replay", "speed", "stream", "mix"}
_COURSES = ("rate", "share", "shape")
# The check of a stream needs some number of test images; the run itself knows how many there are.
_ANY_IMAGES = 2**31
# Shares are decimal fractions and may not add up to exactly 1.
_SHARE_ERROR = 1e-6


@dataclass(frozen=True)
class Stream:
    """Requests of one model and one batch size.

    Attributes:
        name: Name of the stream.
        model: Name of the model.
        share: Share of the mix' rate; None if its flags have a rate, a shape or a replay.
        flags: Flags of `run`, without those that the mix passes itself.
    """

    name: str
    model: str
    share: float | None
    flags: tuple[str, ...]

    def command(self, mix: "Mix") -> list[str]:
        """Return its flags of `run`, with the rate and the duration of the mix."""
        flags = list(self.flags)
        if self.share is not None and mix.rate is not None:
            flags.append(f"--rate={self.share * mix.rate:.10g}")
        if mix.duration is not None:
            flags.append(f"--duration={mix.duration:g}")
        return flags


@dataclass(frozen=True)
class Mix:
    """The content of a mix file.

    Attributes:
        name: Name of the mix.
        repeats: How often all streams are run together.
        duration: Seconds; None for a replay until its last request.
        rate: Requests a second of all streams with a share; None without.
        target: The server; None if only the command line names it.
        streams: The streams.
    """

    name: str
    repeats: int
    duration: float | None
    rate: float | None
    target: Target | None
    streams: tuple[Stream, ...]

    def words(self) -> str:
        """Return all streams in words, for the report of each."""
        return "; ".join(
            f"{stream.name}: {stream.model} {' '.join(stream.command(self))}"
            for stream in self.streams
        )


def read(path: Path) -> Mix:
    """Read a mix file.

    Raises:
        UsageError: The file cannot be read, or a key or value is wrong.
    """
    return tables.read_file(path, "a mix", schemas.MIX, _mix)


def of_replay(
    path: Path, speed: float | None, model: str | None, defaults: Sequence[str] = ()
) -> tuple[Stream, ...]:
    """Return a stream for each model and batch size of recorded traffic.

    Args:
        path: The file, see `recorded_traffic.read`.
        speed: How many times faster than recorded; None for 1.
        model: Model of all requests if the file names none.
        defaults: Flags of `run` for every stream.

    Raises:
        UsageError: The file cannot be read, or neither it nor `model` names a model.
    """
    streams = []
    for named, batch in recorded_traffic.read(path).parts():
        served = named or model
        if served is None:
            msg = f"{path} names no model, expected a column model, or --model"
            raise UsageError(msg)
        flags = [*defaults, f"--replay={path}"]
        flags += [] if speed is None else [f"--speed={speed:g}"]
        flags += [f"--batch={batch}"] if batch else []
        name = f"{served} batch {batch}" if batch else served
        streams.append(Stream(name, served, None, tuple(flags)))
    return tuple(streams)


def check(mix: Mix) -> None:
    """Check the command line of every stream, and that the streams differ.

    Raises:
        UsageError: A stream is wrong, or two are the same load.
    """
    seen: dict[tuple[object, ...], str] = {}
    for stream in mix.streams:
        line = ["run", *stream.command(mix)]
        config = parse_flags(parse_run, line, model=stream.model, where=f"stream {stream.name}")
        if not any((config.rate_per_second, config.shape, config.replay)):
            msg = (
                f"stream {stream.name} has none of {', '.join(_COURSES)}: a mix has open loops "
                "only, because waiting callers have no share of a rate"
            )
            raise UsageError(msg)
        if config.duration_seconds is None and config.replay is None:
            msg = f"stream {stream.name} has no end: expected a duration, in seconds"
            raise UsageError(msg)
        try:
            settle(config, _ANY_IMAGES)
        except UsageError as error:
            msg = f"stream {stream.name}: {error}"
            raise UsageError(msg) from error
        key = stream.model, *sorted(stream.command(mix))
        if key in seen:
            msg = (
                f"streams {seen[key]} and {stream.name} are the same load; expected one stream "
                "with the sum of their rates"
            )
            raise UsageError(msg)
        seen[key] = stream.name
    check_names([stream.name for stream in mix.streams], "streams")


def _mix(table: Table, name: str) -> Mix:
    repeats = table.take("repeats", int, 1) or 0
    duration, rate = table.number("duration"), table.number("rate")
    if repeats < 1:
        msg = f"repeats {repeats} received, expected 1 or more"
        raise UsageError(msg)
    target_values = table.take("target", dict)
    target = None if target_values is None else read_target(Table(target_values, "target"))
    if target is not None and target.precisions != (AUTO,):
        msg = "precisions of target: a mix has one server; expected --precision=... in serve"
        raise UsageError(msg)
    defaults = table.take("defaults", dict) or {}
    replay, speed = table.take("replay", str), table.number("speed")
    model = table.take("model", str)
    if replay is not None:
        _refuse(defaults, "defaults")
        streams = of_replay(Path(replay), speed, model, command_flags([*defaults.items()]))
    else:
        if speed is not None or model is not None:
            given = "speed" if speed is not None else "model"
            msg = f"{given} given without replay, expected it in a stream"
            raise UsageError(msg)
        streams = tuple(_stream(entry, defaults, rate) for entry in table.tables("streams"))
        _check_shares(streams)
    mix = Mix(
        name=table.take("name", str) or name,
        repeats=repeats,
        duration=duration,
        rate=rate,
        target=target,
        streams=streams,
    )
    table.end()
    return mix


def _stream(table: Table, defaults: Mapping[str, Any], total: float | None) -> Stream:
    model = table.take("model", str)
    if model is None:
        msg = f"{table.where} has no model, expected its name"
        raise UsageError(msg)
    name = table.take("name", str) or model
    share = table.number("share")
    values = {**defaults, **table.rest()}
    _refuse(values, table.where)
    if share is not None and total is None:
        msg = f"{table.where} has a share, but the file has no rate; expected the rate of all"
        raise UsageError(msg)
    if share is not None and ("rate" in values or "shape" in values):
        msg = f"{table.where} has a share and a rate or shape, expected one of them"
        raise UsageError(msg)
    return Stream(name, model, share, command_flags([*values.items()]))


def _refuse(values: Mapping[str, Any], where: str) -> None:
    """Raise UsageError for keys that are no flags of a stream."""
    refuse_own_flags(values, where, "mix", _OWN_FLAGS)
    refuse_sample_files(values, where, "stream")
    if "floor" in values:
        msg = (
            f"floor of {where}: the null server would share the processor with the other streams; "
            "measure it with `run`"
        )
        raise UsageError(msg)


def _check_shares(streams: Sequence[Stream]) -> None:
    shares = [stream.share for stream in streams if stream.share is not None]
    if shares and abs(sum(shares) - 1) > _SHARE_ERROR:
        msg = f"the shares add up to {sum(shares):g}, expected 1"
        raise UsageError(msg)


def changed(mix: Mix, **changes: Any) -> Mix:  # noqa: ANN401 - each field has its own type
    """Return a mix with the fields that are not None replaced."""
    return replace(mix, **{name: value for name, value in changes.items() if value is not None})

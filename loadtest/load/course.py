"""The course of an open loop other than Poisson arrivals at one rate: a shape, or a replay."""

from loadtest.load import replay, shapes
from loadtest.load.replay import Replay
from loadtest.load.shapes import Shape
from loadtest.report_schema import ScenarioKind
from loadtest.settings.config import LoadTestConfig, UsageError

Course = Shape | Replay


def read(config: LoadTestConfig) -> Course | None:
    """Return the course of a run; None for Poisson arrivals at one rate, or a closed loop.

    Raises:
        UsageError: The settings contradict each other, or the file of a replay cannot be read.
    """
    if config.shape is not None:
        if config.duration_seconds is None:
            msg = (
                f"--shape {config.shape.text} needs --duration, the time that it is stretched over"
            )
            raise UsageError(msg)
        try:
            return shapes.build(config.shape, config.duration_seconds)
        except ValueError as error:
            msg = f"--shape {config.shape.text}: {error}"
            raise UsageError(msg) from error
    if config.replay is not None:
        return replay.read(
            config.replay,
            speed=config.speed or 1.0,
            model=config.model,
            batch=config.batch,
            requests=config.requests,
            duration_seconds=config.duration_seconds,
        )
    return None


def check(config: LoadTestConfig, kind: ScenarioKind) -> None:
    """Check that a course is the only one, and of an open loop.

    Raises:
        UsageError: It is not.
    """
    given = {
        "--rate": config.rate_per_second,
        "--shape": config.shape,
        "--replay": config.replay,
    }
    flags = [flag for flag, value in given.items() if value is not None]
    if kind == "server" and not flags:
        msg = (
            "scenario server needs --rate, the mean number of requests a second, or --shape or "
            "--replay"
        )
        raise UsageError(msg)
    if kind != "server" and flags:
        msg = (
            f"{flags[0]} given, but scenario {kind} is a closed loop and offers no rate; use server"
        )
        raise UsageError(msg)
    if len(flags) > 1:
        msg = f"{' and '.join(flags)} given, expected one of them: each has its own rate"
        raise UsageError(msg)
    if config.speed is not None and config.replay is None:
        msg = "--speed given without --replay, whose speed it is"
        raise UsageError(msg)

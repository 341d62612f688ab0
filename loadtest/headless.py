"""A run without the web UI: Locust as a library, so that when it ends is decided here."""

import signal
import time
from collections.abc import Callable
from typing import Any

import gevent
from locust.env import Environment

from loadtest.client import BAD_RESPONSE, PredictionClient
from loadtest.config import LoadTestConfig, UsageError
from loadtest.images import Query
from loadtest.scenarios import ClosedLoop
from loadtest.user import PredictUser

# A server that hangs is given up when nothing came back for so many deadlines.
_SILENT_TIMEOUTS = 3
_POLL_SECONDS = 0.1
_PROGRESS_SECONDS = 1.0


class LoadUser(PredictUser):
    """The user of a headless run."""


def probe(config: LoadTestConfig, query: Query) -> None:
    """Send one request to learn early that a run could not work.

    Raises:
        UsageError: With the server's own words, if it cannot be reached, does not serve the model
            or answers in a form that cannot be scored.
    """
    client = PredictionClient(config.target, timeout_seconds=config.timeout_seconds)
    try:
        outcome = client.send(query)
    finally:
        client.close()
    if outcome.error is None:
        return
    model = repr(config.model)
    if config.version is not None:
        model += f" version {config.version}"
    if outcome.error == BAD_RESPONSE:
        msg = f"{config.target} answers for model {model} what cannot be scored: "
    elif outcome.error in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
        msg = f"cannot reach a server at {config.target}: {outcome.error}: "
    else:
        msg = f"{config.target} refused a request for model {model}: {outcome.error}: "
    raise UsageError(msg + outcome.message)


def run(config: LoadTestConfig, scenario: ClosedLoop, progress: Callable[[], None]) -> None:
    """Run a scenario to its end, to Ctrl-C or SIGTERM, or until the server is given up.

    Args:
        config: Settings of the run.
        scenario: What to send; afterwards it and its recorder hold the results.
        progress: Called every second.
    """
    LoadUser.scenario = scenario
    LoadUser.timeout_seconds = config.timeout_seconds
    environment = Environment(
        user_classes=[LoadUser],
        host=config.target,
        # Requests in flight may finish: every request that was started ends as answer or error.
        stop_timeout=config.timeout_seconds + 1,
    )
    environment.events.user_error.add_listener(_stop_on_error(scenario))  # type: ignore[no-untyped-call]  # Locust has no types here
    runner = environment.create_local_runner()

    def interrupt(received: signal.Signals) -> None:
        if scenario.finished.is_set():  # the second time: don't wait for requests in flight
            runner.user_greenlets.kill(block=False)
        scenario.stop(f"interrupted by {received.name}")

    handlers = [
        gevent.signal_handler(number, interrupt, number)
        for number in (signal.SIGINT, signal.SIGTERM)
    ]
    try:
        # All users at once: none of them sends a timed request before the last one is ready.
        runner.start(config.users, spawn_rate=config.users)
        next_progress = time.monotonic() + _PROGRESS_SECONDS
        while not scenario.finished.wait(timeout=_POLL_SECONDS):
            if time.monotonic() >= next_progress:
                progress()
                next_progress += _PROGRESS_SECONDS
            if scenario.silent_seconds > _SILENT_TIMEOUTS * config.timeout_seconds:
                scenario.stop(f"no answer for {scenario.silent_seconds:.0f} seconds")
        runner.user_greenlets.join(timeout=config.timeout_seconds + 1)
    finally:
        runner.quit()
        for handler in handlers:
            handler.cancel()


def _stop_on_error(scenario: ClosedLoop) -> Any:  # noqa: ANN401 - Locust's listener type
    def on_user_error(*, exception: BaseException, **_others: object) -> None:
        # Locust logs the error with its traceback and would let the user go on for ever.
        scenario.stop(f"the load generator failed: {exception!r}")

    return on_user_error

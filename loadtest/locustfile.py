"""The same load in Locust's web UI: `python -m loadtest web --target HOST:PORT --model NAME`.

Or with Locust's own command line, all of whose options work:

    locust -f loadtest/locustfile.py --host localhost:8500 --model simcnn

Users start and stop as the UI says, so no user waits for another, and images are sent again and
again in the same shuffled order. Only each user's first request, which opens its connection, is
left out of the figures.
"""

import argparse
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
from locust import events
from locust.env import Environment
from locust.runners import MasterRunner

from loadtest import web_tables
from loadtest.config import (
    DEFAULT_TIMEOUT_SECONDS,
    UsageError,
    non_negative_int,
    positive_int,
    positive_seconds,
)
from loadtest.images import load_test_images, make_queries
from loadtest.recorder import Recorder
from loadtest.scenarios import ClosedLoop
from loadtest.user import PredictUser
from training.cifar10 import Split

logger = logging.getLogger(__name__)

_EMPTY = np.zeros(0, np.int64)


class ImageUser(PredictUser):
    """Sends test images; scored and timed by its scenario, and shown to Locust as well."""

    scenario = ClosedLoop([], Recorder(_EMPTY), users=None)


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]  # Locust's own
def add_options(parser: Any, **_others: object) -> None:  # noqa: ANN401 - Locust's own subclass
    """Add what a run needs to Locust's options and to the form in the web UI."""
    add = parser.add_argument
    add("--model", required=True, help="Model name")
    # Empty text for the latest: the web UI's form has no other way to say "none".
    add("--model-version", default="", help="Model version (empty: the latest)")
    add("--batch", type=positive_int, default=1, help="Images a request")
    add("--timeout", type=positive_seconds, default=DEFAULT_TIMEOUT_SECONDS, help="Deadline (s)")
    add("--seed", type=non_negative_int, default=0, help="Order of the images")
    add(
        "--data-dir",
        default="",
        help="CIFAR-10 folder or archive (default: $CIFAR10_DIR)",
        include_in_web_ui=False,  # a path of this machine, not of the browser's
    )


@events.init.add_listener  # type: ignore[untyped-decorator]  # likewise
def on_init(environment: Environment, **_others: object) -> None:
    """Read the images once, and put accuracy beside latency in the web UI."""
    if isinstance(environment.runner, MasterRunner):
        return  # a master sends nothing and so has nothing to show
    options = environment.parsed_options
    if options is None:
        return  # Locust is used as a library: `headless` is the module for that
    try:
        split = load_test_images(Path(options.data_dir) if options.data_dir else None)
    except UsageError as error:
        # Locust logs what a listener raises and goes on; this way it ends.
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - part of a command-line program
        sys.exit(2)

    def on_test_start(**_others: object) -> None:
        ImageUser.scenario = _scenario(options, split)
        ImageUser.timeout_seconds = options.timeout
        ImageUser.request_name = options.model

    def on_reset(**_others: object) -> None:
        ImageUser.scenario.reset(Recorder(split.labels))

    def on_spawning_complete(**_others: object) -> None:
        if environment.reset_stats:
            on_reset()

    for hook, listener in (
        (environment.events.test_start, on_test_start),
        (environment.events.reset_stats, on_reset),
        (environment.events.spawning_complete, on_spawning_complete),
    ):
        hook.add_listener(listener)  # type: ignore[no-untyped-call]  # likewise
    if environment.web_ui is not None:
        web_tables.extend(environment.web_ui, lambda: ImageUser.scenario)


def _scenario(options: argparse.Namespace, split: Split) -> ClosedLoop:
    """Requests and empty counts for a run that starts now, by what the form says at this moment.

    What the form says wrongly is logged (the UI shows the log), and the users find nothing to do.
    """
    try:
        version = str(options.model_version or "").strip()
        queries = make_queries(
            split,
            model=options.model,
            version=non_negative_int(version) if version else None,
            batch=positive_int(str(options.batch)),
            seed=non_negative_int(str(options.seed)),
        )
        positive_seconds(str(options.timeout))
    except argparse.ArgumentTypeError as error:
        logger.error("model version, batch, timeout or seed: %s", error)  # noqa: TRY400 - no bug of ours
        scenario = ClosedLoop([], Recorder(split.labels), users=None)
        scenario.stop(str(error))
        return scenario
    logger.info("sending %d images as %d different requests", len(split), len(queries))
    return ClosedLoop(queries, Recorder(split.labels), users=None)

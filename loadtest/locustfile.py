"""The same load in Locust's web UI: `python -m loadtest web --target HOST:PORT --model NAME`.

Or with Locust's own command line, all of whose options work:

    locust -f loadtest/locustfile.py --host localhost:8500 --model simcnn

Users start and stop as the UI says, so no user waits for another, and images are sent again and
again in the same shuffled order. Only each user's first request, which opens its connection, is
left out of the figures.
"""

import argparse
import logging
from pathlib import Path
from typing import Any

import numpy as np
from locust import events
from locust.env import Environment
from locust.runners import MasterRunner

from loadtest import web_tables
from loadtest.config import DEFAULT_TIMEOUT_SECONDS, UsageError, positive_int, positive_seconds
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
    group = parser.add_argument_group("Model")
    group.add_argument("--model", required=True, help="Model name", env_var="LOADTEST_MODEL")
    # Empty text for the latest: the web UI's form has no other way to say "none".
    group.add_argument("--model-version", default="", help="Model version (empty: the latest)")
    group.add_argument("--batch", type=positive_int, default=1, help="Images a request")
    group.add_argument(
        "--timeout", type=positive_seconds, default=DEFAULT_TIMEOUT_SECONDS, help="Deadline (s)"
    )
    group.add_argument("--seed", type=int, default=0, help="Order of the images")
    group.add_argument(
        "--data-dir",
        default="",
        help="CIFAR-10 folder or archive (default: $CIFAR10_DIR)",
        include_in_web_ui=False,  # a path of this machine, not of the browser's
    )


@events.init.add_listener  # type: ignore[untyped-decorator]  # likewise
def on_init(environment: Environment, **_others: object) -> None:
    """Read the images once, and put accuracy beside latency in the web UI."""
    if isinstance(environment.runner, MasterRunner):
        return  # a master sends nothing and so has nothing to show yet
    split = _load_images(environment)

    def on_test_start(environment: Environment, **_others: object) -> None:
        _new_scenario(environment, split)

    def on_reset(**_others: object) -> None:
        # Answers still under way belong to the recorder that was there when they were asked.
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


def _load_images(environment: Environment) -> Split:
    options = environment.parsed_options
    data_dir = options.data_dir if options is not None else ""
    return load_test_images(Path(data_dir) if data_dir else None)


def _new_scenario(environment: Environment, split: Split) -> None:
    """Requests and counts for a run that starts now, by what the form says at this moment."""
    options = environment.parsed_options
    if options is None:
        msg = "no options received, expected Locust's command line; run `python -m loadtest web`"
        raise UsageError(msg)
    queries = make_queries(
        split,
        model=options.model,
        version=_version(options),
        batch=options.batch,
        seed=options.seed,
    )
    ImageUser.scenario = ClosedLoop(queries, Recorder(split.labels), users=None)
    ImageUser.timeout_seconds = options.timeout
    ImageUser.request_name = options.model
    logger.info("sending %d images as %d requests", len(split), len(queries))


def _version(options: argparse.Namespace) -> int | None:
    text = str(options.model_version or "").strip()
    if text and not text.isdigit():
        msg = f"--model-version {text!r} received, expected a number or nothing for the latest"
        raise UsageError(msg)
    return int(text) if text else None

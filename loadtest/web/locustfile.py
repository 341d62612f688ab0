"""The same load in Locust's web UI: `python -m loadtest web --target HOST:PORT --model NAME`.

Or with Locust's own command line, all of whose options work:

    locust -f loadtest/web/locustfile.py --host localhost:8500 --model simcnn

Only each user's first request, which opens its connection, is left out of the figures. With several
processes (`--processes`, `--master`, `--worker`) the master shows those of all workers together.
"""

import argparse
import base64
import logging
import sys
from pathlib import Path
from typing import Any

from locust import events
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from loadtest.generator.recording import Recording
from loadtest.load.images import load_test_images, shuffled
from loadtest.settings.arguments import non_negative_int, positive_int, positive_number
from loadtest.settings.config import DEFAULT_TIMEOUT_SECONDS, UsageError
from loadtest.transports.api import DEFAULT_MODEL_INPUT, ModelInput
from loadtest.transports.tfs_grpc import TfsGrpc, model_input
from loadtest.web import tables
from loadtest.web.locust_run import LocustRun
from loadtest.web.user import ImageUser
from serving.client import PredictClient, PredictError
from training.data.cifar10 import Split

logger = logging.getLogger(__name__)

# What a worker's report to its master carries, beside Locust's own statistics.
_REPORT_KEY = "loadtest"


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]  # Locust's own
def add_options(parser: Any, **_others: object) -> None:  # noqa: ANN401 - Locust's own subclass
    """Add what a run needs to Locust's options and to the form in the web UI."""
    add = parser.add_argument
    add("--model", required=True, help="Model name")
    # Empty text for the latest: the web UI's form has no other way to say "none".
    add("--model-version", default="", help="Model version (empty: the latest)")
    add("--batch", type=positive_int, default=1, help="Images a request")
    add("--timeout", type=positive_number, default=DEFAULT_TIMEOUT_SECONDS, help="Deadline (s)")
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
    options = environment.parsed_options
    if options is None:
        return  # Locust is used as a library
    try:
        split = load_test_images(Path(options.data_dir) if options.data_dir else None)
    except UsageError as error:
        # Locust logs what a listener raises and goes on; this way it ends.
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - part of a command-line program
        sys.exit(2)
    _follow(environment, options, split)
    _merge_workers(environment)
    if environment.web_ui is not None:
        tables.extend(environment.web_ui, lambda: ImageUser.run_of_images)


def _follow(environment: Environment, options: argparse.Namespace, split: Split) -> None:
    """Make a run whenever Locust starts one, reset it with Locust's own figures."""

    def on_test_start(**_others: object) -> None:
        # A master sends nothing and so needs no requests; its run holds what workers report.
        sends = not isinstance(environment.runner, MasterRunner)
        ImageUser.run_of_images = _run(options, split, environment.host or "", sends=sends)
        ImageUser.timeout_seconds = options.timeout
        ImageUser.request_name = options.model

    def on_reset(**_others: object) -> None:
        if ImageUser.run_of_images is not None:
            ImageUser.run_of_images.reset()

    def on_spawning_complete(**_others: object) -> None:
        if environment.reset_stats:
            on_reset()

    for hook, listener in (
        (environment.events.test_start, on_test_start),
        (environment.events.reset_stats, on_reset),
        (environment.events.spawning_complete, on_spawning_complete),
    ):
        hook.add_listener(listener)  # type: ignore[no-untyped-call]  # likewise


def _merge_workers(environment: Environment) -> None:
    """Hand recordings from the workers of a distributed run to its master."""

    def on_report_to_master(data: dict[str, Any], **_others: object) -> None:
        if ImageUser.run_of_images is not None:
            recording = ImageUser.run_of_images.hand_over()
            data[_REPORT_KEY] = base64.b64encode(recording.to_bytes()).decode()

    def on_worker_report(data: dict[str, Any], **_others: object) -> None:
        if ImageUser.run_of_images is not None and _REPORT_KEY in data:
            recording = Recording.from_bytes(base64.b64decode(data[_REPORT_KEY]))
            ImageUser.run_of_images.take_over(recording)

    events_here = environment.events
    if isinstance(environment.runner, WorkerRunner):
        events_here.report_to_master.add_listener(on_report_to_master)  # type: ignore[no-untyped-call]  # likewise
    if isinstance(environment.runner, MasterRunner):
        events_here.worker_report.add_listener(on_worker_report)  # type: ignore[no-untyped-call]  # likewise


def _run(options: argparse.Namespace, split: Split, target: str, *, sends: bool) -> LocustRun:
    """A run that starts now, by what the form says at this moment.

    What the form says wrongly is logged (the UI shows the log), and the users find nothing to do.
    """
    queries = shuffled(len(split), batch=1, seed=0)
    api = TfsGrpc(options.model, None)
    try:
        version = str(options.model_version or "").strip()
        batch = positive_int(str(options.batch))
        queries = shuffled(len(split), batch=batch, seed=non_negative_int(str(options.seed)))
        positive_number(str(options.timeout))
        number = non_negative_int(version) if version else None
        if not sends:
            return LocustRun(TfsGrpc(options.model, number), queries, split.labels, [])
        api = TfsGrpc(options.model, number, _model_input(target, options.model, number, batch))
    except (argparse.ArgumentTypeError, UsageError) as error:
        logger.error("nothing is sent: %s", error)  # noqa: TRY400 - no bug of ours
        return LocustRun(api, queries, split.labels, [])
    payloads = [
        api.payload(split.images[queries.image_ids(query)]) for query in range(len(queries))
    ]
    logger.info("sending %d images as %d different requests", len(split), len(queries))
    return LocustRun(api, queries, split.labels, payloads)


def _model_input(target: str, model: str, version: int | None, batch: int) -> ModelInput:
    """What the model takes; a server that does not say so will say so to every request."""
    with PredictClient(target, timeout=DEFAULT_TIMEOUT_SECONDS) as client:
        try:
            signatures = client.signatures(model, version=version)
        except PredictError as error:
            logger.warning("the model's input is not known: %s", error)
            return DEFAULT_MODEL_INPUT
    return model_input(signatures, model=model, batch=batch)

"""The locustfile of `python -m loadtest web --target HOST:PORT --model NAME`.

Locust's own command line, with all its options, works as well:

    locust -f loadtest/web/locustfile.py --host localhost:8500 --model simcnn

The figures leave out each user's first request, because it opens the connection. With several
processes (`--processes`, `--master`, `--worker`) the master shows the figures of all workers.
"""

import argparse
import base64
import logging
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from locust import events
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from loadtest.generator.recording import Recording
from loadtest.rows import class_check, own_pictures
from loadtest.rows.dataset import Source
from loadtest.rows.images import shuffled
from loadtest.rows.sources import open_test_images
from loadtest.servers import class_names
from loadtest.settings.arguments import non_negative_int, positive_int, positive_number
from loadtest.settings.config import DEFAULT_TIMEOUT_SECONDS, UsageError
from loadtest.settings.connection_flags import add_flags, connection
from loadtest.transports.api import DEFAULT_MODEL_INPUT, ModelInput
from loadtest.transports.grpc_sender import channel_credentials
from loadtest.transports.tfs_grpc import TfsGrpc, model_inputs, score_count
from loadtest.web import tables
from loadtest.web.locust_run import LocustRun
from loadtest.web.user import ImageUser
from serving.client import PredictClient, PredictError

logger = logging.getLogger(__name__)

# Key of the recording in a worker's report to its master, beside Locust's own statistics.
_REPORT_KEY = "loadtest"


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]  # Locust's own
def add_options(parser: Any, **_others: object) -> None:  # noqa: ANN401 - Locust's own subclass
    """Add this load test's options to Locust's command line and to the form in the web UI."""
    add = parser.add_argument
    add("--model", required=True, help="Model name")
    # The latest version is an empty text, because the web UI's form cannot send None.
    add("--model-version", default="", help="Model version (empty: the latest)")
    add("--batch", type=positive_int, default=1, help="Images per request")
    add("--timeout", type=positive_number, default=DEFAULT_TIMEOUT_SECONDS, help="Deadline (s)")
    add("--seed", type=non_negative_int, default=0, help="Seed of the order of the images")
    add(
        "--data-dir",
        default="",
        help="CIFAR-10 folder or archive, or the pictures of any classes that a model was trained "
        "on (default: $CIFAR10_DIR)",
        include_in_web_ui=False,  # a path on this machine means nothing in the browser
    )
    add(
        "--split-seed",
        type=non_negative_int,
        default=0,
        help="Seed of the training's drawn test pictures",
        include_in_web_ui=False,
    )
    add_flags(add, include_in_web_ui=False)


@events.init.add_listener  # type: ignore[untyped-decorator]  # Locust's own
def on_init(environment: Environment, **_others: object) -> None:
    """Find the images, register the listeners, and add accuracy to the web UI."""
    options = environment.parsed_options
    if options is None:
        return  # Locust is used as a library
    try:
        folder = Path(options.data_dir) if options.data_dir else None
        own_pictures.check_seed(folder, options.split_seed)
        source = open_test_images(folder, options.split_seed)
        ImageUser.connection = connection(options)
    except UsageError as error:
        # Locust would only log an exception of a listener and continue; sys.exit ends it.
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - part of a command-line program
        sys.exit(2)
    _follow(environment, options, source)
    _merge_workers(environment)
    if environment.web_ui is not None:
        tables.extend(environment.web_ui, lambda: ImageUser.run_of_images)


def _follow(environment: Environment, options: argparse.Namespace, source: Source) -> None:
    """Create a run when Locust starts a test; reset it when Locust resets its statistics."""

    def on_test_start(**_others: object) -> None:
        # A master sends no requests; its run only merges the recordings that workers report.
        sends = not isinstance(environment.runner, MasterRunner)
        ImageUser.run_of_images = _run(options, source, environment.host or "", sends=sends)
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
        hook.add_listener(listener)  # type: ignore[no-untyped-call]  # Locust has no types here


def _merge_workers(environment: Environment) -> None:
    """Register the listeners that pass recordings from workers to the master."""

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
        events_here.report_to_master.add_listener(on_report_to_master)  # type: ignore[no-untyped-call]  # Locust has no types here
    if isinstance(environment.runner, MasterRunner):
        events_here.worker_report.add_listener(on_worker_report)  # type: ignore[no-untyped-call]  # Locust has no types here


def _run(options: argparse.Namespace, source: Source, target: str, *, sends: bool) -> LocustRun:
    """Return a run with the current values of the web UI's form.

    If a value is wrong, the error is logged (the UI shows the log) and no requests are sent.
    """
    try:
        version = str(options.model_version or "").strip()
        batch = positive_int(str(options.batch))
        seed = non_negative_int(str(options.seed))
        positive_number(str(options.timeout))
        number = non_negative_int(version) if version else None
        served = _served(target, options.model, number) if sends else _UNKNOWN
        dataset = source.fit(served.inputs, model=options.model, batch=batch)
        class_check.check(dataset, options.model, names=served.classes, scores=served.scores)
    except (argparse.ArgumentTypeError, UsageError) as error:
        logger.error("nothing is sent: %s", error)  # noqa: TRY400 - a wrong setting, not a bug
        api = TfsGrpc(options.model, None)
        return LocustRun(api, shuffled(1, batch=1, seed=0), np.zeros(1, np.int64), [])
    api = TfsGrpc(options.model, number, dataset.inputs)
    queries = shuffled(len(dataset), batch=batch, seed=seed)
    payloads = []
    if sends:
        every = map(queries.image_ids, range(len(queries)))
        payloads = [api.payload(dataset.batch(image_ids)) for image_ids in every]
        logger.info("sending %d images as %d different requests", len(dataset), len(queries))
    labels = dataset.labels
    assert labels is not None  # noqa: S101 - for mypy: test images have labels
    return LocustRun(api, queries, labels, payloads, dataset.class_names)


class _Served(NamedTuple):
    """What a server tells of a model.

    Attributes:
        inputs: Its inputs.
        classes: Names of its classes; empty if unknown.
        scores: Number of its scores; None if unknown.
    """

    inputs: tuple[ModelInput, ...]
    classes: tuple[str, ...] = ()
    scores: int | None = None


# The pictures of a model that is not known are as small as CIFAR-10's.
_UNKNOWN = _Served((DEFAULT_MODEL_INPUT,))


def _served(target: str, model: str, version: int | None) -> _Served:
    """Ask for a model's input and classes; if the request for metadata fails, they are unknown.

    If the server cannot be reached, every later request reports the same error.
    """
    with PredictClient(
        target,
        timeout=DEFAULT_TIMEOUT_SECONDS,
        credentials=channel_credentials(ImageUser.connection),
        metadata=ImageUser.connection.headers,
    ) as client:
        try:
            signatures = client.signatures(model, version=version)
        except PredictError as error:
            logger.warning("the model's input is not known: %s", error)
            return _UNKNOWN
    names = class_names.of_server(target, model, version, ImageUser.connection)
    return _Served(model_inputs(signatures), names, score_count(signatures))

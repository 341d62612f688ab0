"""The Locust user: it takes the next request of the run, sends it and records the answer."""

import time
from typing import ClassVar

import locust
from grpc.experimental import gevent as grpc_gevent
from locust.exception import StopUser

from loadtest.settings.config import DEFAULT_TIMEOUT_SECONDS, PLAIN, ConnectionConfig
from loadtest.transports.api import CallError
from loadtest.web.connection import PredictionClient
from loadtest.web.locust_run import LocustRun

# gRPC waits in C code; without this call a waiting request would block every other greenlet. It
# must come after Locust's patching and before the first channel.
grpc_gevent.init_gevent()

_NS_PER_MS = 1_000_000


class AnswerError(Exception):
    """A failed request, for Locust's failure table."""


class ImageUser(locust.User):
    """A user that sends test images over its own connection; its run times and scores the answers.

    Attributes:
        run_of_images: The run that all users of a process share; None before the first test.
        timeout_seconds: Deadline of a request.
        request_name: Name in Locust's own table.
        connection: TLS and metadata of the connection.
    """

    run_of_images: ClassVar[LocustRun | None] = None
    timeout_seconds: ClassVar[float] = DEFAULT_TIMEOUT_SECONDS
    request_name: ClassVar[str] = ""
    connection: ClassVar[ConnectionConfig] = PLAIN

    def on_start(self) -> None:
        """Connect with an untimed request."""
        self._run = self.run_of_images  # the class attribute changes with the next test
        # Channels are created here, not earlier: Locust may fork, and gRPC's channels do not
        # survive a fork.
        self._client = PredictionClient(
            self.host or "", timeout_seconds=self.timeout_seconds, connection=self.connection
        )
        following = None if self._run is None else self._run.next_request()
        if following is not None:
            try:
                self._client.send(following[1])
            except CallError:
                return  # the timed requests will report the error

    def on_stop(self) -> None:
        """Close the connection."""
        self._client.close()

    @locust.task
    def predict(self) -> None:
        """Send one request; stop the user if there is none."""
        following = None if self._run is None else self._run.next_request()
        if self._run is None or following is None:
            raise StopUser
        number, body = following
        sent_ns = time.monotonic_ns()
        response, problem = b"", None
        try:
            response = self._client.send(body)
        except CallError as error:
            end_ns = time.monotonic_ns()
            self._run.error(number, sent_ns, end_ns, (error.kind, error.message))
            problem = str(error)
        else:
            end_ns = time.monotonic_ns()
            problem = self._run.answer(number, sent_ns, end_ns, response)
        self.environment.events.request.fire(
            request_type="Predict",
            name=self.request_name,
            response_time=(end_ns - sent_ns) / _NS_PER_MS,
            response_length=len(response),
            exception=None if problem is None else AnswerError(problem),
            context={},
        )

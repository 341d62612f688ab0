"""The Locust user: asks for its next request, sends it, says what became of it."""

import time
from typing import ClassVar

import locust
from grpc.experimental import gevent as grpc_gevent
from locust.exception import StopUser

from loadtest.settings.config import DEFAULT_TIMEOUT_SECONDS
from loadtest.transports.api import CallError
from loadtest.web.connection import PredictionClient
from loadtest.web.locust_run import LocustRun

# gRPC waits in C; without this no other greenlet runs meanwhile. After Locust's patching and before
# the first channel.
grpc_gevent.init_gevent()

_NS_PER_MS = 1_000_000


class AnswerError(Exception):
    """A failed request, as Locust's failure table shows it."""


class ImageUser(locust.User):
    """Sends test images over a connection of its own; timed and scored by its run.

    Attributes:
        run_of_images: What to send; one object for all users of a process.
        timeout_seconds: Deadline of a request.
        request_name: Name in Locust's own table.
    """

    run_of_images: ClassVar[LocustRun | None] = None
    timeout_seconds: ClassVar[float] = DEFAULT_TIMEOUT_SECONDS
    request_name: ClassVar[str] = ""

    def on_start(self) -> None:
        """Connect: the request that opens the connection is not timed."""
        self._run = self.run_of_images  # a later run gets another one
        # Channels are made here and not before: Locust may fork, and gRPC's channels do not survive
        # that.
        self._client = PredictionClient(self.host or "", timeout_seconds=self.timeout_seconds)
        following = None if self._run is None else self._run.next_request()
        if following is not None:
            try:
                self._client.send(following[1])
            except CallError:
                return  # the timed requests will say so

    def on_stop(self) -> None:
        """Close the connection."""
        self._client.close()

    @locust.task
    def predict(self) -> None:
        """Send one request; leave when there is none."""
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

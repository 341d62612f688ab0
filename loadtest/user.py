"""The Locust user: asks for its next request, sends it, hands the outcome on."""

from typing import ClassVar

import locust
from grpc.experimental import gevent as grpc_gevent
from locust.exception import StopUser

from loadtest.client import Outcome, PredictionClient
from loadtest.config import DEFAULT_TIMEOUT_SECONDS
from loadtest.images import Query
from loadtest.scenarios import ClosedLoop

# gRPC waits in C; without this no other greenlet runs meanwhile. After Locust's patching and before
# the first channel.
grpc_gevent.init_gevent()


class AnswerError(Exception):
    """A failed request, as Locust's failure table shows it."""


class PredictUser(locust.User):
    """Sends what its scenario hands out over a connection of its own.

    Attributes:
        scenario: What to send; one object for all users of a run.
        timeout_seconds: Deadline of a request.
        request_name: Name in Locust's own table; None keeps Locust's statistics out of the run,
            which saves the load generator's time where nobody looks at them.
    """

    abstract = True
    scenario: ClassVar[ClosedLoop]
    timeout_seconds: ClassVar[float] = DEFAULT_TIMEOUT_SECONDS
    request_name: ClassVar[str | None] = None

    def on_start(self) -> None:
        """Connect, warm up, and wait until every user has."""
        self._scenario = self.scenario  # a later run gets another one
        # Channels are made here and not before: Locust may fork, and gRPC's channels do not survive
        # that.
        self._client = PredictionClient(self.host or "", timeout_seconds=self.timeout_seconds)
        for query in self._scenario.warm_up():
            if self._scenario.finished.is_set():
                break
            self._scenario.warmed_up(self._client.send(query))
        self._scenario.wait_for_start()

    def on_stop(self) -> None:
        """Close the connection."""
        self._client.close()

    @locust.task
    def predict(self) -> None:
        """Send one request; leave when there is none."""
        query = self._scenario.next_query()
        if query is None:
            raise StopUser
        outcome = self._client.send(query)
        self._scenario.done(query, outcome)
        if self.request_name is not None:
            self._tell_locust(self.request_name, query, outcome)

    def _tell_locust(self, name: str, query: Query, outcome: Outcome) -> None:
        self.environment.events.request.fire(
            request_type="Predict",
            name=name,
            response_time=outcome.latency_ns / 1_000_000,
            response_length=outcome.response_bytes,
            exception=AnswerError(f"{outcome.error}: {outcome.message}") if outcome.error else None,
            context={"images": len(query.image_ids), "version": outcome.version},
        )

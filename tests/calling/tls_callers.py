"""Callers that call a server over TLS without a pause, over gRPC and REST, and count failures.

Some keep their connection; others open a new one for each call, as a browser or a script does.
"""

import contextlib
import http.client
import json
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import grpc
import numpy as np

from serving.client import PredictClient

ONES = np.ones((1, 3), np.float32)
_BODY = json.dumps({"instances": ONES.tolist()})
_TIMEOUT_SECONDS = 30
_SLOWNESS_SECONDS = 0.1
Call = Callable[[], None]


@dataclass
class Outcome:
    """Number of answered calls by kind of caller, and what the failed calls said."""

    answered: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Number of answered calls."""
        return sum(self.answered.values())


@dataclass
class TlsCallers:
    """The callers of one server, each in a thread of its own.

    Attributes:
        rpc: Address for gRPC.
        rest: Address for REST.
        authority: PEM of the authority that the callers trust.
    """

    rpc: str
    rest: str
    authority: str

    @contextlib.contextmanager
    def calling(self) -> Iterator[Outcome]:
        """Call while the context lasts, and until each caller has its last answer."""
        outcome = Outcome()
        stopping = threading.Event()
        kinds = {
            "gRPC": self._grpc_caller,
            "gRPC, second": self._grpc_caller,
            "gRPC, new connections": self._new_grpc_connections,
            "REST": self._rest_caller,
            "REST, second": self._rest_caller,
            "REST, new connections": self._new_rest_connections,
            "REST, slow connections": self._slow_rest_connections,
            "REST, slow connections, second": self._slow_rest_connections,
        }

        def run(name: str, open_caller: Callable[[], contextlib.AbstractContextManager[Call]]):
            with open_caller() as call:
                while not stopping.is_set():
                    try:
                        call()
                        outcome.answered[name] += 1
                    except Exception as error:  # noqa: BLE001 - every failure counts
                        outcome.failures.append(f"{name}: {error!r}")

        threads = [threading.Thread(target=run, args=item, daemon=True) for item in kinds.items()]
        for thread in threads:
            thread.start()
        try:
            yield outcome
        finally:
            stopping.set()
            for thread in threads:
                thread.join()

    def _credentials(self) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(self.authority.encode())

    @contextlib.contextmanager
    def _grpc_caller(self) -> Iterator[Call]:
        options = [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own
        with PredictClient(
            self.rpc, credentials=self._credentials(), timeout=_TIMEOUT_SECONDS, options=options
        ) as client:

            def call() -> None:
                assert client.predict("identity", {"x": ONES})["y"].tolist() == ONES.tolist()

            yield call

    @contextlib.contextmanager
    def _new_grpc_connections(self) -> Iterator[Call]:
        def call() -> None:
            with self._grpc_caller() as once:
                once()

        yield call

    @contextlib.contextmanager
    def _rest_caller(
        self, kind: type[http.client.HTTPSConnection] = http.client.HTTPSConnection
    ) -> Iterator[Call]:
        def call() -> None:
            # After an answer with `connection: close`, http.client opens a new connection.
            connection.request("POST", "/v1/models/identity:predict", _BODY)
            response = connection.getresponse()
            answer = json.loads(response.read())
            assert answer == {"predictions": ONES.tolist()}, answer

        with _connected(self.rest, self.authority, kind) as connection:
            yield call

    @contextlib.contextmanager
    def _slow_rest_connections(self) -> Iterator[Call]:
        def call() -> None:
            with self._rest_caller(_SlowConnection) as once:
                once()

        yield call

    @contextlib.contextmanager
    def _new_rest_connections(self) -> Iterator[Call]:
        def call() -> None:
            with self._rest_caller() as once:
                once()

        yield call


class _SlowConnection(http.client.HTTPSConnection):
    """A connection over a slow network: a while passes between the steps of its handshake."""

    def connect(self) -> None:
        """Connect, and wait before and after the TLS handshake."""
        http.client.HTTPConnection.connect(self)
        time.sleep(_SLOWNESS_SECONDS)
        self.sock = self._context.wrap_socket(self.sock, server_hostname=self.host)
        time.sleep(_SLOWNESS_SECONDS)


@contextlib.contextmanager
def _connected(
    address: str,
    authority: str,
    kind: type[http.client.HTTPSConnection] = http.client.HTTPSConnection,
) -> Iterator[http.client.HTTPSConnection]:
    host, _, port = address.rpartition(":")
    context = ssl.create_default_context(cadata=authority)
    connection = kind(host, int(port), timeout=_TIMEOUT_SECONDS, context=context)
    with contextlib.closing(connection):
        connection.connect()
        yield connection


def subject(address: str, authority: str) -> str:
    """Return the common name of the certificate that a new connection to `host:port` sees.

    Args:
        address: `host:port`.
        authority: PEM of the authority that signed it.
    """
    with _connected(address, authority) as connection:
        return dict(pair for (pair,) in connection.sock.getpeercert()["subject"])["commonName"]


def get(address: str, path: str, authority: str) -> str:
    """Return the answer to a GET over TLS; arguments as for `subject`."""
    with _connected(address, authority) as connection:
        connection.request("GET", path)
        return connection.getresponse().read().decode()

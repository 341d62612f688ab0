"""Two servers with models, labels, TLS and workers, and a load that uses most of their metrics."""

import contextlib
import http.client
import itertools
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import certificates
import numpy as np
from google.protobuf import text_format
from running import servers
from sample_models import tiny_models
from scale.balancers import free_ports

from serving.client import PredictClient, PredictError
from serving.protos.tfs_config_pb2 import SSLConfig

ROOT = Path(__file__).parents[2]
WARM_UP_SECONDS = 60


@dataclass(frozen=True)
class BusyServers:
    """The addresses of the two servers.

    Attributes:
        rest: The port of the first server, with two workers, for REST and scrapes. Its gRPC port
            has TLS.
        both: The port of the second server for gRPC, REST and scrapes.
    """

    rest: str
    both: str

    @property
    def pages(self) -> list[str]:
        """The addresses that have a metrics page."""
        return [self.rest, self.both]


def _models(folder: Path) -> None:
    """Make the models: `simcnn`, `identity`, `fragile`, and `broken`, which cannot be loaded."""
    tiny_models.identity(folder)
    tiny_models.fragile(folder)
    (folder / "simcnn").symlink_to(ROOT / "models" / "simcnn")
    broken = folder / "broken" / "2"
    broken.mkdir(parents=True)
    (broken / "model.onnx").write_bytes(b"no graph")


def _model_config(folder: Path) -> str:
    others = "".join(
        f'config {{ name: "{name}" base_path: "{folder / name}" }}\n'
        for name in ("fragile", "simcnn")
    )
    return f"""model_config_list {{
        {others}
        config {{
            name: "identity"
            base_path: "{folder / "identity"}"
            version_labels {{ key: "stable" value: 1 }}
        }}
    }}"""


@contextmanager
def two_servers(folder: Path) -> Iterator[BusyServers]:
    """Start the two servers; yield their addresses when both are ready."""
    models = folder / "models"
    models.mkdir()
    _models(models)
    config = folder / "models.config"
    config.write_text(_model_config(models))
    authority = certificates.Authority(folder / "authority")
    pair = authority.issue("server", days=30)
    tls = folder / "tls.config"
    tls.write_text(
        text_format.MessageToString(SSLConfig(server_key=pair.key, server_cert=pair.certificate))
    )
    grpc_port, rest_port, *health, both_port = free_ports(5)
    with ExitStack() as running:
        first = running.enter_context(
            servers.as_process(
                *(f"--model_config_file={config}", f"--ssl_config_file={tls}", "--workers=2"),
                *(f"--port={grpc_port}", f"--rest_api_port={rest_port}"),
                f"--health_port={health[0]}",
            )
        )
        second = running.enter_context(
            servers.as_process(
                *(f"--models_dir={models}", f"--port={both_port}", f"--health_port={health[1]}")
            )
        )
        for server in (first, second):
            server.wait_for(r"ready: \w", WARM_UP_SECONDS)
        yield BusyServers(f"127.0.0.1:{rest_port}", f"127.0.0.1:{both_port}")


def _rest_calls(address: str, rows: random.Random) -> Generator[tuple[str, str], None, None]:
    """Send calls without end, each when it is asked for; yield the model and the HTTP status."""
    images = json.dumps({"instances": np.zeros((4, 32, 32, 3), int).tolist()}).encode()
    with contextlib.closing(http.client.HTTPConnection(address, timeout=30)) as connection:
        for number in itertools.count():
            instances = [[1.0, 2.0, 3.0]] * rows.randint(1, 8)
            model, body = "identity", json.dumps({"instances": instances}).encode()
            if number % 4 == 1:
                model, body = "simcnn", images
            if number % 20 == 7:
                body = b'{"instances": ["no"]}'
            if number % 50 == 11:
                model = "nobody"
            if number % 100 == 13:
                model, body = "fragile", b'{"inputs": [7]}'
            connection.request("POST", f"/v1/models/{model}:predict", body)
            answer = connection.getresponse()
            answer.read()
            yield model, str(answer.status)


def _grpc_calls(address: str, rows: random.Random) -> Generator[tuple[str, str], None, None]:
    """Send calls without end, each when it is asked for; yield the model and the gRPC status."""
    with PredictClient(address) as client:
        for number in itertools.count():
            images = np.zeros((rows.randint(1, 8), 32, 32, 3), np.uint8)
            model, inputs = "simcnn", {"images": images}
            if number % 3 == 1:
                model, inputs = "identity", {"x": np.ones((2, 3), np.float32)}
            if number % 100 == 13:
                model, inputs = "fragile", {"shape": np.array([7], np.int64)}
            try:
                client.predict(model, inputs)
            except PredictError as error:
                yield model, error.code.name
            else:
                yield model, "OK"


@contextmanager
def load(
    busy: BusyServers, rate: Callable[[float], float], *, threads: int = 2
) -> Iterator[Counter[tuple[str, str]]]:
    """Call both servers in threads during the block.

    Args:
        busy: The servers.
        rate: Calls a second of each thread by the seconds since the start.
        threads: Number of threads of each of the three kinds of calls.

    Yields:
        Numbers of the calls so far, by model and status.
    """
    over, outcomes, failures = threading.Event(), Counter[tuple[str, str]](), list[Exception]()
    counting = threading.Lock()

    def send(calls: Generator[tuple[str, str], None, None]) -> None:
        began = due = time.monotonic()
        try:
            while not over.wait(max(0.0, due - time.monotonic())):
                due += 1 / rate(time.monotonic() - began)
                outcome = next(calls)
                with counting:
                    outcomes[outcome] += 1
            calls.close()
        except Exception as error:  # noqa: BLE001 - raised again in the main thread
            failures.append(error)

    kinds: Sequence[Generator[tuple[str, str], None, None]] = [
        calls
        for seed in range(threads)
        for calls in (
            _rest_calls(busy.rest, random.Random(seed)),
            _rest_calls(busy.both, random.Random(seed + 10)),
            _grpc_calls(busy.both, random.Random(seed + 20)),
        )
    ]
    running = [threading.Thread(target=send, args=(calls,), daemon=True) for calls in kinds]
    for thread in running:
        thread.start()
    try:
        yield outcomes
    finally:
        over.set()
        for thread in running:
            thread.join(servers.STOP_SECONDS)
    if failures:
        raise failures[0]

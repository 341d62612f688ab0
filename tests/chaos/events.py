"""What happens to the server of a chaos run, one event after the other, drawn from a seed."""

import os
import random
import shutil
import signal
import socket
import time
from collections import Counter
from pathlib import Path

import grpc
import numpy as np
import psutil
from calling.rest_client import Http
from chaos.ledger import Ledger
from sample_models import tiny_models
from simulating.jumping_clock import DAY_SECONDS, JumpingClock

from serving.client import predict_request
from serving.protos.tensorflow_serving_pb2 import ReloadConfigRequest, ReloadConfigResponse

PREDICT = "/tensorflow.serving.PredictionService/Predict"
RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
PAGE = "/monitoring/prometheus/metrics"
CALLED = ("identity", "simcnn")
# Filled while the disk is full; nobody calls it.
FILLED = "filled"
_SECONDS = 60.0
_KEPT_VERSIONS = 3
_OVERSIZED_BYTES = 80 << 20
# A worker that keeps dying is started again after up to 30 s, unless it has lived for a minute. If
# both are down, connections wait meanwhile, and gRPC's clients give a connection up after 20 s.
_KILLS_IN_A_ROW = 4
_SPARED_SECONDS = 75.0
# What a bad request may be answered. UNAVAILABLE and CANCELLED: the server, or a worker that is
# killed, closes the connection. OK: a cut message may be a complete one.
_REFUSALS = {
    *("INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED"),
    *("UNAVAILABLE", "CANCELLED", "OK"),
}


class Events:
    """The events of one run.

    Attributes:
        counts: How often each event happened.
        outcomes: Statuses of reloads and of bad requests.
    """

    def __init__(
        self,
        *,
        seed: int,
        target: str,
        supervisor: int,
        models: Path,
        sources: Path,
        ledger: Ledger,
        clock: JumpingClock | None,
        has_small_disk: bool,
    ) -> None:
        """Prepare the events.

        Args:
            seed: Seed of all random decisions.
            target: Address of the server.
            supervisor: Process id of the server.
            models: The server's folder of models.
            sources: A folder with one version of each model of `CALLED`, to be copied.
            ledger: Takes the times of kills.
            clock: The server's wall clock; None: it does not jump.
            has_small_disk: Whether `models` is on a disk that may be filled.
        """
        self.counts: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self._random = random.Random(seed)
        self._bytes = np.random.default_rng(seed)
        self._target = target
        self._supervisor = psutil.Process(supervisor)
        self._models = models
        self._sources = sources
        self._ledger = ledger
        self._clock = clock
        self._garbage = 0
        self._kills_left = _KILLS_IN_A_ROW
        self._spared_until = 0.0
        self._events = [
            *(self.kill_a_worker, self.kill_a_worker),
            *(self.add_a_version, self.add_a_version, self.remove_old_versions),
            *(self.add_garbage, self.remove_garbage, self.reload, self.reload_what_fails),
            *(self.send_bad_messages, self.send_noise, self.send_too_much, self.hide_the_models),
            *([self.jump] if clock else []),
            *([self.fill_the_disk] if has_small_disk else []),
        ]

    def run(self, seconds: float) -> None:
        """Let one event happen after the other, each at least once if there is time for it."""
        ends = time.monotonic() + seconds
        queue = []
        while time.monotonic() < ends:
            if not queue:
                queue = list(self._events)
                self._random.shuffle(queue)
            event = queue.pop()
            event()
            self.counts[event.__name__] += 1
            time.sleep(self._random.uniform(0.1, 2.0))

    # Workers

    def workers(self) -> list[psutil.Process]:
        """Return the worker processes that run now."""
        return self._supervisor.children()

    def ready_workers(self) -> int:
        """Return the number of workers that accept calls; 0 if the page cannot be read."""
        try:
            _, _, page = Http(self._target).ask("GET", PAGE)
        except OSError:
            return 0
        lines = page.decode().splitlines()
        found = [line for line in lines if line.startswith("onnx_serving_workers_ready")]
        return int(float(found[0].rpartition(" ")[2])) if found else 0

    def wait_for_workers(self) -> None:
        """Wait until both workers are ready."""
        ends = time.monotonic() + 2 * _SECONDS
        while self.ready_workers() < 2:
            assert time.monotonic() < ends, "the workers are not ready again"
            time.sleep(0.2)

    def kill_a_worker(self) -> None:
        """SIGKILL, at any moment of a worker's life; the workers are spared after a few kills."""
        workers = self.workers()
        if not workers or time.monotonic() < self._spared_until:
            return
        self._kills_left -= 1
        if not self._kills_left:
            self._kills_left = _KILLS_IN_A_ROW
            self._spared_until = time.monotonic() + _SPARED_SECONDS
        victim = self._random.choice(workers)
        before = time.monotonic()
        try:
            victim.send_signal(signal.SIGKILL)
            victim.wait(10)
        except psutil.NoSuchProcess:
            return
        self._ledger.kills.append((before, time.monotonic()))

    # Folders

    def _versions(self, name: str) -> list[int]:
        folder = self._models / name
        return sorted(int(entry.name) for entry in folder.iterdir() if entry.name.isdigit())

    def add_a_version(self) -> None:
        """Copy a version under another name and rename it, as the documentation says."""
        name = self._random.choice(CALLED)
        draft = self._models / name / "draft"
        shutil.copytree(self._sources / name / "1", draft)
        draft.rename(self._models / name / str(self._versions(name)[-1] + 1))

    def remove_old_versions(self) -> None:
        """Remove all but the newest versions of a model."""
        name = self._random.choice(CALLED)
        for version in self._versions(name)[:-_KEPT_VERSIONS]:
            shutil.rmtree(self._models / name / str(version))

    def add_garbage(self) -> None:
        """Add a model that is none, files beside the models, and a link to nowhere."""
        self._garbage += 1
        broken = self._models / f"garbage-{self._garbage}" / "1"
        broken.mkdir(parents=True)
        (broken / "model.onnx").write_bytes(self._bytes.bytes(4096))
        (self._models / f"garbage-{self._garbage}.txt").write_text("not a model")
        (self._models / f"garbage-link-{self._garbage}").symlink_to("nowhere")

    def remove_garbage(self) -> None:
        """Remove the garbage, while the server may be trying to load it."""
        for entry in self._models.glob("garbage*"):
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def hide_the_models(self) -> None:
        """Take the whole folder away for a moment; not while a worker starts, which needs it."""
        self.wait_for_workers()
        hidden = self._models.with_name("hidden")
        self._models.rename(hidden)
        time.sleep(self._random.uniform(0.2, 1.5))
        hidden.rename(self._models)

    def fill_the_disk(self) -> None:
        """Fill the disk, copy a version as far as it goes, and copy it again when there is room."""
        filler = self._models / "garbage-filler"
        filler.write_bytes(bytes(shutil.disk_usage(self._models).free))
        target = self._models / FILLED / str(self._versions(FILLED)[-1] + 1)
        try:
            shutil.copytree(self._sources / "simcnn" / "1", target)
        except OSError:  # shutil.Error, with the reason of each file
            self.outcomes["copy: disk full"] += 1
        time.sleep(1.0)
        filler.unlink()
        shutil.copytree(self._sources / "simcnn" / "1", target, dirs_exist_ok=True)
        for version in self._versions(FILLED)[:-1]:
            shutil.rmtree(self._models / FILLED / str(version))

    def jump(self) -> None:
        """Set the server's wall clock to another day."""
        assert self._clock is not None
        self._clock.jump_to(self._random.randint(-2 * DAY_SECONDS, 2 * DAY_SECONDS))

    # Requests

    def _reload(self, *names: str) -> str:
        request = ReloadConfigRequest()
        for name in names:
            folder = str(self._models / name)
            request.config.model_config_list.config.add(name=name, base_path=folder)
        with grpc.insecure_channel(self._target) as channel:
            call = channel.unary_unary(
                RELOAD, response_deserializer=ReloadConfigResponse.FromString
            )
            try:
                call(request.SerializeToString(), timeout=2 * _SECONDS)
            except grpc.RpcError as error:
                return str(error.code().name)
        return "OK"

    def reload(self) -> None:
        """Ask for the models that are served already; refused while a worker starts."""
        outcome = self._reload(*CALLED, FILLED)
        self.outcomes[f"reload: {outcome}"] += 1
        assert outcome in {"OK", "UNAVAILABLE", "UNKNOWN"}, outcome

    def reload_what_fails(self) -> None:
        """Ask for a model that is not there: all models stay as they are."""
        outcome = self._reload(*CALLED, "nowhere")
        self.outcomes[f"bad reload: {outcome}"] += 1
        assert outcome in {"UNAVAILABLE", "UNKNOWN"}, outcome

    def _refused(self, body: bytes) -> None:
        with grpc.insecure_channel(self._target) as channel:
            try:
                channel.unary_unary(PREDICT)(body, timeout=2 * _SECONDS)
            except grpc.RpcError as error:
                outcome = error.code().name
            else:
                outcome = "OK"
        self.outcomes[f"bad request: {outcome}"] += 1
        assert outcome in _REFUSALS, outcome

    def send_bad_messages(self) -> None:
        """Send messages of wrong shapes, wrong types and wrong bytes."""
        rows = np.ones((2, 7), np.float32)
        good = predict_request("identity", {"x": rows[:, :3]}).SerializeToString()
        cut = self._random.randrange(len(good))
        for body in (
            predict_request("identity", {"x": rows}).SerializeToString(),
            predict_request("identity", {"x": rows.astype(np.int64)}).SerializeToString(),
            predict_request("simcnn", {"images": rows}).SerializeToString(),
            predict_request("nobody", {"x": rows}).SerializeToString(),
            good[:cut],
            self._bytes.bytes(500),
        ):
            self._refused(body)

    def send_noise(self) -> None:
        """Send bytes that are no protocol, and leave without an answer."""
        host, _, port = self._target.rpartition(":")
        for _ in range(5):
            with socket.create_connection((host, int(port)), timeout=_SECONDS) as connection:
                connection.sendall(self._bytes.bytes(int(self._random.choice([1, 100, 50_000]))))

    def send_too_much(self) -> None:
        """Send a message above the limit on messages."""
        self._refused(bytes(_OVERSIZED_BYTES))


def make_sources(folder: Path, bundled: Path) -> None:
    """Make one version of each model that is called."""
    tiny_models.identity(folder)
    shutil.copytree(bundled / "simcnn" / "1", folder / "simcnn" / "1")


def in_use(folder: Path) -> bool:
    """Return whether anything is left in a folder."""
    return any(os.scandir(folder))

"""Runs of a load test without a server, and their increments."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from loadtest.generator.increments import Increments
from loadtest.generator.recording import Recorder, Recording, merge
from loadtest.load.increment import Increment
from loadtest.load.scenarios import settle
from loadtest.rows.images import shuffled
from loadtest.session.watcher import Beginning, Briefing
from loadtest.settings.config import LoadTestConfig
from loadtest.transports.tfs_grpc import TfsGrpc
from serving.protocols.tfs import tensor_proto
from serving.protos.tensorflow_serving_pb2 import PredictResponse
from training.data.cifar10 import CLASS_NAMES

MS = 1_000_000
IMAGES = 24


def answer(*classes: int, version: int = 1) -> bytes:
    """Return the bytes of an answer."""
    response = PredictResponse()
    response.model_spec.version.value = version
    tensor_proto.encode(np.array(classes, np.int64), response.outputs["classes"])
    return response.SerializeToString()


@dataclass
class MadeUpRun:
    """A run of two generator processes whose requests are made up.

    Every label is 0, so that an answer 0 is right.
    """

    config: LoadTestConfig
    briefing: Briefing
    beginning: Beginning
    recorders: list[Recorder] = field(default_factory=lambda: [Recorder(), Recorder()])

    def __post_init__(self) -> None:
        self._takers = [Increments(each, number) for number, each in enumerate(self.recorders)]
        self._number = 0

    def send(
        self,
        count: int,
        *,
        latency_ms: float = 2.0,
        body: bytes | None = None,
        error: str | None = None,
        late_ms: float = 0.0,
        gap_ms: float = 10.0,
    ) -> None:
        """Record requests that are due one after the other, by both processes in turn."""
        for _ in range(count):
            recorder = self.recorders[self._number % 2]
            due_ns = int(self._number * gap_ms * MS)
            sent_ns = due_ns + int(late_ms * MS)
            # Latencies differ a little, as real ones do.
            end_ns = due_ns + int(latency_ms * MS) + self._number % 97 * 1000
            recorder.sent += 1
            if error is None:
                recorder.answer(self._number, due_ns, sent_ns, end_ns, body or answer(0))
            else:
                recorder.error(self._number, due_ns, sent_ns, end_ns, (error, "made up"))
            self._number += 1

    def miss(self, count: int) -> None:
        """Record requests that were not sent."""
        for _ in range(count):
            self.recorders[0].miss(self._number, int(self._number * 10 * MS))
            self._number += 1

    def increments(self, cpu_seconds: float = 0.1) -> list[Increment]:
        """Return what is new in both processes."""
        return [taker.take(cpu_seconds) for taker in self._takers]

    def recording(self, cpu_seconds: float = 0.1) -> Recording:
        """Return everything, as at the end of the run."""
        return merge([each.recording(cpu_seconds=cpu_seconds) for each in self.recorders])


def made_up(*, record: object = None, step: str | None = None, **settings: object) -> MadeUpRun:
    """Make up a run; the settings are those of LoadTestConfig."""
    known = {"target": "localhost:8500", "model": "simcnn", "rate_per_second": 100.0}
    paths = {"output_dir": Path(), "name": "run"}
    config = LoadTestConfig(**known | paths | {"duration_seconds": 60.0} | settings)
    load = settle(config, IMAGES)
    queries = shuffled(IMAGES, batch=load.batch, seed=0)
    briefing = Briefing(
        config=config,
        api=TfsGrpc("simcnn", None),
        queries=queries,
        sent_queries=len(queries),
        rows=IMAGES,
        unit="images",
        labels=np.zeros(IMAGES, np.int64),
        class_names=CLASS_NAMES,
        record=record,
        agreement=None,
    )
    return MadeUpRun(config, briefing, Beginning(load=load, step=step, correlated=step is None))

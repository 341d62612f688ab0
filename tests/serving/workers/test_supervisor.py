"""Tests of the supervisor; this process plays its workers."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from serving.errors import ServingError, Unavailable, UnknownError
from serving.repository import model_config
from serving.repository.model_config import All, Latest, ModelConfig, Specific
from serving.settings.config import ServerConfig
from serving.transport.listeners import Listeners
from serving.workers.channel import Channel
from serving.workers.supervisor import Supervisor
from serving.workers.worker_process import WorkerProcess
from serving.workers.worker_sockets import WorkerSockets

MODELS = [{"name": "m"}]


class FakeWorker:
    """A worker's end of a channel; records the requests of the supervisor."""

    def __init__(self, **answers: Callable[[], Awaitable[object]]) -> None:
        self.asked: list[tuple[str, object]] = []
        self._answers = answers
        self.channel = Channel()

    async def open(self, connection: socket.socket) -> None:
        """Begin to answer the supervisor."""
        for what in ("prepare", "commit", "abort"):
            self.channel.asked[what] = self._handler(what)
        await self.channel.open(connection)

    def _handler(self, what: str) -> Callable[[object], Awaitable[object]]:
        async def handle(content: object) -> object:
            self.asked.append((what, content))
            return await self._answers[what]() if what in self._answers else None

        return handle


def supervise(scenario, *fakes: FakeWorker):
    """Run a coroutine function on a supervisor with these workers, all of them ready."""

    async def run():
        supervisor = Supervisor(ServerConfig(workers=len(fakes)), [])
        for number, fake in enumerate(fakes, start=1):
            worker = WorkerProcess(number, [Listeners()] * len(fakes))
            supervisor._workers.append(worker)
            own, other = socket.socketpair()
            worker.channel = supervisor._channel_of(worker)
            await worker.channel.open(own)
            await fake.open(other)
            worker.ready = True
        try:
            return await scenario(supervisor)
        finally:
            for fake, worker in zip(fakes, supervisor._workers, strict=True):
                fake.channel.close()
                worker.channel.close()

    return asyncio.run(run())


def test_all_workers_take_another_set_over():
    """A reload is prepared by all workers before any of them commits it."""
    fakes = FakeWorker(), FakeWorker()

    async def scenario(supervisor):
        await fakes[0].channel.ask("reload", MODELS)
        return await fakes[1].channel.ask("models")

    assert supervise(scenario, *fakes) == MODELS
    assert [fake.asked for fake in fakes] == [[("prepare", MODELS), ("commit", None)]] * 2


async def refuse():
    msg = "1 model(s) did not become available: {m}"
    raise UnknownError(msg)


def test_one_refusal_stops_all_workers():
    """If one worker refuses a set, the others abort it and the caller gets the reason."""
    able, unable = FakeWorker(), FakeWorker(prepare=refuse)

    async def scenario(supervisor):
        with pytest.raises(UnknownError, match="did not become available"):
            await able.channel.ask("reload", MODELS)
        return await able.channel.ask("models")

    assert supervise(scenario, able, unable) is None
    assert [what for what, _ in able.asked] == ["prepare", "abort"]
    assert [what for what, _ in unable.asked] == ["prepare"]


def test_a_worker_that_dies_while_it_prepares_stops_all():
    """If a worker ends during `prepare`, the others abort the new set.

    Its successor serves the old set.
    """
    able = FakeWorker()
    dying = FakeWorker()

    async def die():
        dying.channel.close()

    dying._answers["prepare"] = die

    async def scenario(supervisor):
        with pytest.raises(Unavailable, match="has ended; retry"):
            await able.channel.ask("reload", MODELS)

    supervise(scenario, able, dying)

    assert [what for what, _ in able.asked] == ["prepare", "abort"]


def test_a_worker_that_dies_at_the_last_moment_changes_nothing():
    """If a worker ends during `commit`, the new set is kept.

    All have prepared it, and the worker's successor is told the new set.
    """
    able = FakeWorker()
    dying = FakeWorker()

    async def die():
        dying.channel.close()

    dying._answers["commit"] = die

    async def scenario(supervisor):
        await able.channel.ask("reload", MODELS)
        return supervisor._reloads.models

    assert supervise(scenario, able, dying) == MODELS
    assert [what for what, _ in able.asked] == ["prepare", "commit"]


def test_nothing_is_reloaded_while_a_worker_starts():
    """While a worker starts, a reload is UNAVAILABLE.

    The worker may already have asked for its models.
    """
    fakes = FakeWorker(), FakeWorker()

    async def scenario(supervisor):
        supervisor._workers[1].ready = False
        with pytest.raises(Unavailable, match="worker 2 is being started; retry"):
            await fakes[0].channel.ask("reload", MODELS)

    supervise(scenario, *fakes)

    assert fakes[0].asked == []


def test_a_worker_that_starts_waits_for_a_reload_to_end():
    """A worker that starts during a reload gets its models after the reload, from the new set."""
    release = asyncio.Event()
    fakes = FakeWorker(prepare=release.wait), FakeWorker()

    async def scenario(supervisor):
        reloading = asyncio.create_task(fakes[0].channel.ask("reload", MODELS))
        await asyncio.sleep(0.05)
        starting = asyncio.create_task(fakes[1].channel.ask("models"))
        await asyncio.sleep(0.05)
        waited = not starting.done()
        release.set()
        await reloading
        return waited, await starting

    assert supervise(scenario, *fakes) == (True, MODELS)


def test_nobody_may_listen_before_all_workers_have_their_models():
    """No worker listens before all workers have loaded; a successor need not wait."""
    fakes = FakeWorker(), FakeWorker()
    sockets = WorkerSockets.open(ServerConfig(host="127.0.0.1", port=0, workers=2))

    async def scenario(supervisor):
        supervisor._sockets = sockets
        asking = [asyncio.create_task(fakes[0].channel.ask("listen"))]
        await asyncio.sleep(0.05)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", sockets.port))
        waited = not asking[0].done()
        asking.append(asyncio.create_task(fakes[1].channel.ask("listen")))
        await asyncio.gather(*asking)
        socket.create_connection(("127.0.0.1", sockets.port)).close()
        await fakes[1].channel.ask("listen")  # as the worker's successor does
        return waited

    try:
        assert supervise(scenario, *fakes)
    finally:
        sockets.close()


def test_a_port_lost_while_the_models_were_loaded_is_one_error():
    """If another program takes the port during the loading, one error stops all workers."""
    fakes = FakeWorker(), FakeWorker()
    sockets = WorkerSockets.open(ServerConfig(host="127.0.0.1", port=0, workers=2))
    for own in sockets.of_workers:  # as if the port had been free for a moment
        own.rpc[0].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    other = socket.socket()
    other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

    async def scenario(supervisor):
        supervisor._sockets = sockets
        asking = [asyncio.create_task(fake.channel.ask("listen")) for fake in fakes]
        await asyncio.wait_for(supervisor._stopping.wait(), 10)
        for task in asking:
            task.cancel()
        return supervisor._error

    with other:
        other.bind(("127.0.0.1", sockets.port))
        other.listen()
        error = supervise(scenario, *fakes)

    assert error.startswith(f"cannot listen on 127.0.0.1:{sockets.port}: Address already in use")


def test_loading_is_known_before_it_begins():
    """`loading` is answered after the heartbeat has been told; it may be nested."""
    fake = FakeWorker()

    async def scenario(supervisor):
        (worker,) = supervisor._workers
        await fake.channel.ask("models")
        await fake.channel.ask("loading")
        await fake.channel.ask("loading")
        during = worker.heartbeat.loading
        fake.channel.tell("loaded")
        fake.channel.tell("loaded")
        await fake.channel.ask("models")
        return during, worker.heartbeat.loading

    assert supervise(scenario, fake) == (2, 0)


def test_metrics_leave_out_nobody_who_counted():
    """A worker that does not answer contributes its last known metrics."""
    page = [["requests", "", "counter", [["requests", {}, 5]]]]

    async def metrics(_content):
        return page

    async def gone(_content):
        raise Unavailable

    fakes = FakeWorker(), FakeWorker()

    async def scenario(supervisor):
        for fake, worker in zip(fakes, supervisor._workers, strict=True):
            fake.channel.asked["metrics"] = metrics
            worker.loaded = True
        first = await fakes[0].channel.ask("metrics")
        fakes[1].channel.asked["metrics"] = gone
        return first, await fakes[0].channel.ask("metrics")

    first, second = supervise(scenario, *fakes)

    assert first[0] == ["requests", "", "counter", [["requests", {}, 10]]]
    assert second == first
    assert [name for name, *_ in first[1:]] == [
        "onnx_serving_workers",
        "onnx_serving_workers_ready",
        "onnx_serving_worker_restarts_total",
    ]


def test_errors_of_every_kind_have_a_code_of_their_own():
    """Each subclass of ServingError has its own code, because channels send codes, not classes."""
    codes = [error.code for error in ServingError.__subclasses__()]

    assert len(codes) == len(set(codes))


def test_lists_of_models_survive_json():
    """Model lists with policies and labels are the same after a round trip through JSON."""
    models = {
        name: ModelConfig(name=name, base_path=Path("/m"), policy=policy, labels={"stable": 1})
        for name, policy in (("a", Latest(2)), ("b", All()), ("c", Specific((1, 3))))
    }

    assert model_config.from_json(json.loads(json.dumps(model_config.to_json(models)))) == models

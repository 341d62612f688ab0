"""Tests of the prototype with one owner of the models: it answers as the server does."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import numpy as np
import psutil
import pytest
from bench.one_owner import front, program
from bench.one_owner.outbox import SWEEP_SECONDS
from bench.one_owner.owner import Owner
from running import servers
from sample_models import tiny_models

from serving.client import PredictClient, PredictError
from serving.engine.batching.batching_config import BatchingConfig
from serving.engine.runtime import RuntimeConfig
from serving.engine.servable import Servable
from serving.errors import InvalidInput


class HeldServable(Servable):
    """A servable whose runs wait until they may go on.

    Attributes:
        sizes: Rows of each run so far.
    """

    def run(self, signature_name, inputs, outputs, control=None):
        """Note the size, wait, and run."""
        self.sizes.append(len(next(iter(inputs.values()))))
        self.going.wait(30)
        return super().run(signature_name, inputs, outputs, control)


class Loaded(list):
    """The servables that an owner has loaded, in this order, with the owner."""

    owner: Owner


@pytest.fixture
def owner(tmp_path):
    """Start an owner in this process; yield the path of its socket, and the servables it loads."""
    loaded = Loaded()

    def load(name, version, path, _own):
        HeldServable.sizes, HeldServable.going = [], threading.Event()
        batching = BatchingConfig(forced_by="a test")
        loaded.append(
            HeldServable.load(
                name, version, path, RuntimeConfig(device="cpu"), batching, warm_up=False
            )
        )
        return loaded[-1]

    path = str(tmp_path / "owner")
    loaded.owner = Owner(path, load)
    threading.Thread(target=loaded.owner.serve, daemon=True).start()
    return path, loaded


async def asked(servable, **inputs):
    """Return the outputs for one request."""
    signature = servable.signatures["serving_default"]
    answer = await servable.predict("serving_default", inputs, list(signature.outputs))
    return {alias: answer[alias].tolist() for alias in answer}


async def until(is_true):
    """Wait until a condition holds."""
    async with asyncio.timeout(30):
        while not is_true():  # noqa: ASYNC110 - the conditions set no event
            await asyncio.sleep(0.01)


@contextmanager
def fronts(owner_path, folder, number):
    """Load a version for several protocol processes; close it for all of them at the end."""
    own = [front.load(owner_path, folder.parent.name, 1, folder, {}) for _ in range(number)]
    yield own
    for each in own:
        each.close()


def test_requests_of_all_processes_share_batches(owner, tmp_path):
    """Requests that come in during a run are one batch afterwards, whoever sent them.

    Each gets its own rows, with both outputs. One process counts a batch for all.
    """
    path, loaded = owner
    reports = []

    async def ask_all():
        with fronts(path, tiny_models.add(tmp_path), 3) as own:
            assert len(loaded) == 1
            for each in own:
                each.report_batches(reports.append)
            first = asyncio.create_task(asked(own[0], a=np.array([1]), b=np.array([2])))
            await until(lambda: HeldServable.sizes == [1])
            rest = [
                asyncio.create_task(
                    asked(own[each % 3], a=np.arange(each) + 10 * each, b=np.ones(each, int))
                )
                for each in range(1, 10)
            ]
            await until(lambda: sum(each.queued_requests for each in own) == 10)
            await asyncio.sleep(0.1)  # until all messages are sent
            HeldServable.going.set()
            return await first, await asyncio.gather(*rest)

    first, rest = asyncio.run(ask_all())

    assert HeldServable.sizes == [1, sum(range(1, 10))]
    assert [run.rows for report in reports for run in report.runs] == HeldServable.sizes
    assert [len(report.waits) for report in reports] == [1, 9]
    assert first == {"sum": [3], "difference": [-1]}
    for each, answer in enumerate(rest, 1):
        a = np.arange(each) + 10 * each
        assert answer == {"sum": (a + 1).tolist(), "difference": (a - 1).tolist()}


def test_no_request_is_left_behind_if_another_thread_reads_it(owner, tmp_path):
    """Requests run although the thread that looks for gone callers has read their messages."""
    path, loaded = owner
    ended = threading.Event()

    async def ask_all():
        with fronts(path, tiny_models.identity(tmp_path), 1) as (own,):
            HeldServable.going.set()
            looking = threading.Thread(target=look)
            looking.start()
            try:
                async with asyncio.timeout(30):
                    for number in range(300):
                        row = [float(number)] * 3
                        answer = await asked(own, x=np.array([row], np.float32))
                        assert answer == {"y": [row]}
            finally:
                ended.set()
                looking.join()

    def look():
        while not ended.is_set():
            loaded.owner.look()

    asyncio.run(ask_all())


def test_faulty_and_cancelled_requests_leave_the_others_alone(owner, tmp_path):
    """An index that the model refuses fails alone, and a cancelled request does not run."""
    path, _ = owner

    async def ask_all():
        with fronts(path, tiny_models.lookup(tmp_path), 2) as own:
            first = asyncio.create_task(asked(own[0], index=np.array([0])))
            await until(lambda: HeldServable.sizes == [1])
            rest = [
                asyncio.create_task(asked(own[each % 2], index=np.array([index])))
                for each, index in enumerate((1, 7, 2, 2))
            ]
            await until(lambda: sum(each.queued_requests for each in own) == 5)
            rest[-1].cancel()
            await asyncio.sleep(3 * SWEEP_SECONDS)  # until the owner knows
            HeldServable.going.set()
            await until(lambda: not any(each.queued_requests for each in own))
            return await first, await asyncio.gather(*rest, return_exceptions=True)

    first, (good, faulty, other, cancelled) = asyncio.run(ask_all())

    assert HeldServable.sizes == [1, 3, 1, 1, 1]  # the faulty batch again one by one
    assert (first, good, other) == ({"y": [1.0]}, {"y": [2.0]}, {"y": [3.0]})
    assert isinstance(faulty, InvalidInput)
    assert isinstance(cancelled, asyncio.CancelledError)


def test_a_version_is_unloaded_when_no_process_uses_it(owner, tmp_path):
    """A version stays while one process uses it, and is loaded again when it is gone."""
    path, loaded = owner
    folder = tiny_models.identity(tmp_path)

    async def use():
        HeldServable.going = threading.Event()
        first, second = (front.load(path, "identity", 1, folder, {}) for _ in range(2))
        HeldServable.going.set()
        await asyncio.to_thread(first.close)
        ones = np.ones((1, 3), np.float32)
        assert await asked(second, x=ones) == {"y": [[1.0, 1.0, 1.0]]}
        await asyncio.to_thread(second.close)
        await until(lambda: loaded[0].closed)
        with fronts(path, folder, 1):
            assert len(loaded) == 2

    asyncio.run(use())


@contextmanager
def serving(models_dir):
    """Start two protocol processes and an owner; yield the server and its address."""
    command = [sys.executable, program.__file__, "--models_dir", str(models_dir)]
    command += ["--host", "127.0.0.1", "--port", "0", "--workers", "2"]
    environment = os.environ | {program.VARIABLE_OF_SPLIT: "1"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    with servers.followed(process) as server:
        address = server.wait_for(r"bound (\S+), starting").group(1)
        server.wait_for("ready: 2 workers")
        yield server, address


def predict(address, number):
    """Send rows of a number over a new connection, and return the first element of the answer."""
    with PredictClient(address, timeout=30) as client:
        rows = np.full((1 + number % 3, 3), number, np.float32)
        answer = client.predict("identity", {"x": rows})["y"]
    assert np.array_equal(answer, rows)
    return int(answer[0, 0])


def is_answering(address) -> bool:
    try:
        return predict(address, 1) == 1
    except PredictError:
        return False


def test_a_server_answers_counts_and_survives_its_owner(tmp_path):
    """Calls over many connections get their own rows, and the metrics count all of them once.

    After the owner was killed, it and the protocol processes are started again.
    """
    tiny_models.identity(tmp_path)
    with serving(tmp_path) as (server, address), ThreadPoolExecutor(8) as pool:
        assert list(pool.map(partial(predict, address), range(60))) == list(range(60))
        url = f"http://{address}/monitoring/prometheus/metrics"
        with urllib.request.urlopen(url, timeout=30) as answer:
            page = answer.read().decode()
        size = ":tensorflow:serving:batching_session:processed_batch_size_sum"
        assert f'{size}{{model_name="identity"}} 120.0' in page
        (owning,) = (
            child
            for child in psutil.Process(server.process.pid).children()
            if child.environ().get("ONE_OWNER_ROLE") == "owner"
        )
        owning.send_signal(signal.SIGKILL)
        server.wait_for("the owner ended")
        server.wait_for(r"\[worker \d\] serving.server: ready: identity")
        assert asyncio.run(asyncio.wait_for(_until_answering(address), 30)) is None
        assert server.terminate() == 0


async def _until_answering(address):
    await until(lambda: is_answering(address))

import asyncio
import math
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from calling import polite_clients
from calling.rest_client import Http
from running.json_children import LARGE, is_running, wait_for_end

from serving.access import flow
from serving.errors import InvalidInput, ResourceExhausted, Unavailable
from serving.protocols import json_process
from serving.protocols.json_process import LARGE_BYTES, JsonProcesses
from serving.protocols.kserve import json_tensors
from serving.protocols.tfs import json_examples, json_predict
from serving.transport.asgi import Disconnected
from serving.transport.limits.byte_budget import ByteBudget, Hold
from serving.transport.route_table import HttpRequest


def run(scenario):
    """Run a coroutine function on a JsonProcesses that is closed at the end."""

    async def whole():
        process = JsonProcesses()
        try:
            return await scenario(process)
        finally:
            await process.close()

    return asyncio.run(whole())


def test_a_child_without_a_job_for_long_ends(monkeypatch):
    """A child without a job for _IDLE_SECONDS ends; the next job starts another child."""
    monkeypatch.setattr(json_process, "_IDLE_SECONDS", 0.3)

    async def scenario(process):
        first = await process.run(LARGE, os.getpid)
        await asyncio.sleep(0.2)
        again = await process.run(LARGE, os.getpid)
        await asyncio.sleep(0.2)
        kept = process._idle[0].jobs
        await asyncio.sleep(0.2)
        await asyncio.gather(*process._retiring)
        return first, again, kept, is_running(first), await process.run(LARGE, os.getpid)

    first, again, kept, alive, later = run(scenario)

    assert first == again
    assert kept == 2
    assert not alive
    assert later != first


def test_only_large_jobs_leave_the_process():
    """Only jobs larger than LARGE_BYTES run in a child; arguments and results are the same."""

    async def scenario(process):
        small = await process.run(LARGE_BYTES, os.getpid)
        large = await process.run(LARGE, os.getpid)
        again = await process.run(LARGE, os.getpid)
        return small, large, again, await process.run(LARGE, pow, 2, exp=10)

    small, large, again, power = run(scenario)

    assert small == os.getpid()
    assert large == again != os.getpid()
    assert power == 1024


def test_errors_come_back():
    """A child's ServingError is raised as it is, any other error as a RuntimeError."""

    async def scenario(process):
        with pytest.raises(InvalidInput, match="JSON Parse error"):
            await process.run(LARGE, json_predict.parse, b"{")
        with pytest.raises(RuntimeError, match="ValueError: "):
            await process.run(LARGE, math.sqrt, -1)
        return await process.run(LARGE, math.sqrt, 4)

    assert run(scenario) == 2


def test_a_job_that_kills_the_process_takes_no_other_with_it():
    """A job that ends its child is answered Unavailable; the next job gets a new child."""

    async def scenario(process):
        with pytest.raises(Unavailable, match="has ended; retry"):
            await process.run(LARGE, os._exit, 1)
        return await process.run(LARGE, math.sqrt, 4)

    assert run(scenario) == 2


def test_the_result_of_a_cancelled_job_is_dropped():
    """The result of a cancelled job is not given to the next caller."""

    async def scenario(process):
        await process.run(LARGE, math.sqrt, 1)
        jobs = [asyncio.create_task(process.run(LARGE, math.sqrt, n)) for n in (4, 9, 16)]
        await asyncio.sleep(0)
        jobs[0].cancel()  # running
        jobs[1].cancel()  # waiting
        return await asyncio.gather(*jobs, return_exceptions=True)

    first, second, third = run(scenario)

    assert isinstance(first, asyncio.CancelledError)
    assert isinstance(second, asyncio.CancelledError)
    assert third == 4


def test_a_child_ends_when_its_pipe_is_closed():
    """A child ends when the parent's end of its pipe closes, as it does when a server is killed."""

    async def scenario(process):
        pid = await process.run(LARGE, os.getpid)
        (child,) = process._idle
        child._streams[1].close()
        await asyncio.wait_for(child._process.wait(), 30)
        return pid

    assert not Path(f"/proc/{run(scenario)}").exists()


def caller(peer: str, gone: asyncio.Event | None = None) -> HttpRequest:
    """Return a request of a peer, whose flow it becomes; the peer disconnects at an event."""
    flow.CURRENT.set(peer)

    async def wait_for_disconnect():
        await (gone or asyncio.Event()).wait()

    empty = {"method": "POST", "path": "/", "headers": {}, "body": b"", "parameters": {}}
    return HttpRequest(**empty, wait_for_disconnect=wait_for_disconnect)


def test_ctrl_c_in_a_terminal_does_not_reach_the_children():
    """They are of another session: the server decides when they end."""

    async def scenario(process):
        return await process.run(LARGE, os.getsid, 0)

    assert run(scenario) != os.getsid(0)


async def pid_of_a_job_that_never_ends(process, request) -> tuple[asyncio.Task, int]:
    pid = await process.run_for(request, LARGE, os.getpid)
    return asyncio.create_task(process.run_for(request, LARGE, time.sleep, 1000)), pid


@pytest.mark.parametrize("cancelled", [True, False])
def test_a_job_that_nobody_waits_for_is_ended(cancelled):
    """A job whose call is cancelled or whose caller disconnects is killed; the next job runs."""

    async def scenario(process):
        gone = asyncio.Event()
        job, pid = await pid_of_a_job_that_never_ends(process, caller("a", gone))
        await asyncio.sleep(0.1)
        if cancelled:
            job.cancel()
        else:
            gone.set()
        (error,) = await asyncio.gather(job, return_exceptions=True)
        await asyncio.to_thread(wait_for_end, pid)
        return error, await process.run_for(caller("a"), LARGE, math.sqrt, 4)

    error, after = run(scenario)

    assert isinstance(error, asyncio.CancelledError if cancelled else Disconnected)
    assert after == 2


SERVER = """
import asyncio, os, time
from serving.protocols.json_process import LARGE_BYTES, JsonProcesses

async def work():
    processes = JsonProcesses()
    print(await processes.run(LARGE_BYTES + 1, os.getpid), flush=True)
    await processes.run(LARGE_BYTES + 1, time.sleep, 1000)

asyncio.run(work())
"""


def test_a_killed_server_leaves_no_job_behind():
    """A child in the middle of a job ends when its server is killed."""
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE) as server:
        pid = int(server.stdout.readline())
        time.sleep(0.2)
        server.kill()

    wait_for_end(pid)


def test_one_caller_cannot_have_all_processes():
    """A caller's second job waits for its first one, while jobs of other callers run."""

    async def scenario(process):
        job, _ = await pid_of_a_job_that_never_ends(process, caller("a"))
        second = asyncio.create_task(process.run_for(caller("a"), LARGE, math.sqrt, 9))
        answers = [await process.run_for(caller("b"), LARGE, math.sqrt, 4) for _ in range(5)]
        assert not second.done()
        job.cancel()
        return answers, await second

    assert run(scenario) == ([2] * 5, 3)


def test_huge_jobs_leave_a_process_to_smaller_ones():
    """Huge jobs of six callers leave one child free for smaller jobs."""

    async def scenario(process):
        huge = [
            asyncio.create_task(process.run_for(caller(peer), 1 << 30, time.sleep, 1000))
            for peer in "abcdef"
        ]
        await asyncio.sleep(0)
        answers = [await process.run_for(caller("g"), LARGE, math.sqrt, 4) for _ in range(5)]
        for job in huge:
            job.cancel()
        await asyncio.gather(*huge, return_exceptions=True)
        return answers

    assert run(scenario) == [2] * 5


def test_a_job_cannot_take_the_machines_memory():
    """A job over the child's memory limit is RESOURCE_EXHAUSTED; its child goes on."""

    async def scenario(process):
        with pytest.raises(ResourceExhausted, match="bytes of memory to read or write"):
            await process.run(LARGE, bytearray, 3 << 30)
        return await process.run(LARGE, math.sqrt, 4)

    assert run(scenario) == 2


def test_results_count_in_the_budget():
    """A result counts in the byte budget until it is read; one over the budget is not read."""

    async def scenario(process):
        budget = ByteBudget(2 * LARGE + 100_000)  # the job's bytes count twice
        request = replace(caller("a"), hold=Hold(budget))
        await process.run_for(request, LARGE, bytes, 90_000)
        assert budget.used == 0
        with pytest.raises(InvalidInput, match="--max_buffered_bytes"):
            await process.run_for(request, LARGE, bytes, 110_000)
        return await process.run_for(request, LARGE, math.sqrt, 4)

    assert run(scenario) == 2


def test_bad_json_starves_nobody(models_dir):
    """Large bodies with an error at their end, from six callers, do not delay other callers."""
    rows = b"[1,2,3]," * 1_500_000  # 12 MB
    bad = b'{"instances": [' + rows + b'[1,2,"x"]]}'
    good = {"instances": [[0.125, 2.5, 3.0]] * 9000 + [[0.1, 0.2, 0.3]] * 999}
    flags = ("--max_rows_per_request", "100000000", "--rest_api_timeout_in_ms", "20000")
    with (
        polite_clients.server(models_dir, *flags) as (address, _),
        polite_clients.beside(address) as polite,
        ThreadPoolExecutor(6) as attackers,
    ):
        http = Http(address)
        attacks = [
            attackers.submit(http.post, "/v1/models/identity:predict", bad) for _ in "123456"
        ]
        answers = [http.post("/v1/models/identity:predict", good)[0] for _ in range(5)]
        statuses = {attack.result()[0] for attack in attacks}

    assert answers == [200] * 5
    assert statuses <= {400, 504}
    assert not polite.errors


def test_a_childs_modules_do_not_import_onnxruntime():
    """The modules that a child imports do not import onnxruntime.

    The child takes tens of megabytes less and starts at once.
    """
    program = (
        f"import sys; import {', '.join(m.__name__ for m in (json_predict, json_examples))}; "
        f"import {json_tensors.__name__}; sys.exit('onnxruntime' in sys.modules)"
    )

    result = subprocess.run([sys.executable, "-c", program], check=False)

    assert result.returncode == 0


def test_jobs_of_many_callers_are_told_apart():
    """50 jobs at the same time each get their own result."""

    async def scenario(process):
        return await asyncio.gather(*(process.run(LARGE, pow, 2, n) for n in range(50)))

    assert run(scenario) == [2**n for n in range(50)]

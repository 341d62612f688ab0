"""What a child process does, called in the process of the tests."""

import asyncio
import math
import pickle
import re
import resource
import signal
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from serving.errors import InvalidInput, ResourceExhausted
from serving.protocols import json_process
from serving.protocols.tfs import json_predict


def out_of_memory():
    raise MemoryError


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "outcome"),
    [
        (pow, [2], {"exp": 10}, 1024),
        (json_predict.parse, [b"{"], {}, (InvalidInput, "JSON Parse error")),
        (math.sqrt, [-1], {}, (RuntimeError, r"(?s)Traceback.*ValueError: ")),
        (out_of_memory, [], {}, (ResourceExhausted, "over 2147483648 bytes of memory")),
    ],
)
def test_what_a_child_answers(function, args, kwargs, outcome):
    """A pickled result, or a pickled error."""
    answer = pickle.loads(json_process._do(pickle.dumps((function, args, kwargs))))  # noqa: S301

    if isinstance(outcome, tuple):
        kind, message = outcome
        assert type(answer) is kind
        assert re.search(message, str(answer))
    else:
        assert answer == outcome


def test_a_child_may_take_two_gigabytes_more(monkeypatch):
    """The limit is what the process has when it starts, and 2 GiB; the hard limit stays."""
    limits = []
    monkeypatch.setattr(json_process.resource, "setrlimit", lambda *each: limits.append(each))

    def now() -> int:
        (line,) = re.findall(r"VmData:\s+(\d+) kB", Path("/proc/self/status").read_text())
        return int(line) * 1024

    before = now()
    json_process._limit_memory()
    after = now()

    ((what, (soft, hard)),) = limits
    assert what == resource.RLIMIT_DATA
    assert before <= soft - 2 * 1024**3 <= after
    assert hard == resource.getrlimit(resource.RLIMIT_DATA)[1]


def test_a_child_answers_until_its_pipe_is_closed(monkeypatch):
    """Each job and each answer has its length before it; only huge jobs return memory at once."""
    returned, signals = [], []
    monkeypatch.setattr(json_process, "_limit_memory", lambda: None)
    monkeypatch.setattr(json_process, "_end_with_parent", lambda: None)
    monkeypatch.setattr(json_process.gc, "disable", lambda: None)
    monkeypatch.setattr(signal, "signal", lambda *each: signals.append(each))
    monkeypatch.setattr(json_process, "return_freed_memory", lambda: returned.append(True))
    monkeypatch.setattr(json_process, "_HUGE_BYTES", 300)
    own_end, end_of_child = socket.socketpair()
    monkeypatch.setattr(sys, "argv", ["child", str(end_of_child.detach())])
    jobs = [pickle.dumps((len, [text], {})) for text in ("abc", 400 * "x", "")]
    with own_end, own_end.makefile("rb") as answers:
        for job in jobs:
            own_end.sendall(len(job).to_bytes(8, "big") + job)
        own_end.shutdown(socket.SHUT_WR)

        json_process.main()

        for length in (3, 400, 0):
            answer = answers.read(int.from_bytes(answers.read(8), "big"))
            assert answer == pickle.dumps(length, pickle.HIGHEST_PROTOCOL)
        assert answers.read() == b""
    assert returned == [True]
    assert signals == [(signal.SIGTERM, signal.SIG_IGN)]  # the parent ends it


def test_only_a_process_that_still_runs_the_job_is_killed():
    """Another job may have begun since, and the process may have ended by itself."""

    async def scenario():
        child = json_process._Child()
        job, other = (asyncio.create_task(asyncio.sleep(60)) for _ in range(2))
        kills = []

        def kill():
            kills.append(True)
            if len(kills) > 1:
                raise ProcessLookupError

        child._job = job
        child.kill_if_running(job)  # no process yet
        child._process = SimpleNamespace(kill=kill)
        child.kill_if_running(other)
        before = len(kills)
        child.kill_if_running(job)
        child.kill_if_running(job)
        after = len(kills)
        for task in (job, other):
            task.cancel()
        await asyncio.wait([job, other])
        child.kill_if_running(job)
        return before, after, len(kills)

    assert asyncio.run(scenario()) == (0, 2, 2)

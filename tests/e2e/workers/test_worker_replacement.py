"""Tests of workers that die, hang or cannot accept any more, and are replaced."""

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys

from running import servers
from running.worker_processes import wait_until, workers_of
from running.worker_servers import ONES, address_of, served, start
from sample_models import tiny_models

from serving.client import PredictClient, PredictError


def test_a_worker_that_dies_is_replaced(models_dir):
    """A killed worker is replaced, the other worker goes on, and the exit code is 0."""
    with start(models_dir) as server:
        address = address_of(server)
        server.wait_for("ready: 2 workers")
        before = set(workers_of(server))
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        server.wait_for(r"worker \d ended by itself \(exit code -9\); starting it again in 0.2 s")
        replaced = wait_until(
            lambda: len(workers_of(server)) == 2 and victim not in workers_of(server)
        )
        after = set(workers_of(server))
        answers = []
        for _ in range(16):
            with PredictClient(address, timeout=10) as client:
                answers.append(client.predict("identity", {"x": ONES})["y"].tolist())
        code = server.terminate()

    assert replaced
    assert len(before & after) == 1
    assert answers == [[[1, 1, 1]]] * 16
    assert code == 0


# Runs the server in a process that cannot make its third process, as under a limit on processes.
ONE_FAILED_FORK = """
import asyncio, errno, sys
from serving.__main__ import main

make, made = asyncio.create_subprocess_exec, []

async def create(*arguments, **settings):
    made.append(1)
    if len(made) == 3:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
    return await make(*arguments, **settings)

asyncio.create_subprocess_exec = create
main()
"""


def test_a_fork_that_fails_ends_no_healthy_worker(models_dir):
    """If a worker cannot be replaced at once, the others go on, and it is tried again."""
    command = [sys.executable, "-c", ONE_FAILED_FORK, f"--models_dir={models_dir}"]
    process = subprocess.Popen(
        [*command, "--host=127.0.0.1", "--port=0", "--workers=2"], stderr=subprocess.PIPE, text=True
    )
    with servers.followed(process) as server:
        address = address_of(server)
        server.wait_for("ready: 2 workers")
        victim, survivor = workers_of(server)
        os.kill(victim, signal.SIGKILL)
        server.wait_for(r"ended before it began: \[Errno 11\] Resource temporarily unavailable")
        replaced = wait_until(
            lambda: len(workers_of(server)) == 2 and victim not in workers_of(server)
        )
        after = workers_of(server)
        with PredictClient(address, timeout=10) as client:
            answer = client.predict("identity", {"x": ONES})["y"].tolist()
        code = server.terminate()

    assert replaced
    assert survivor in after
    assert answer == [[1, 1, 1]]
    assert code == 0


def test_a_worker_is_replaced_although_a_labelled_version_has_lost_its_files(tmp_path):
    """A worker is replaced although a labelled version's files are gone.

    At the start, a label without its version is an error. Later, the other workers still serve the
    version.
    """
    base_path = tiny_models.identity(tmp_path).parent
    tiny_models.identity(tmp_path, version=2)
    file = tmp_path / "models.config"
    file.write_text(
        f'model_config_list {{ config {{ name: "identity" base_path: "{base_path}" '
        'model_version_policy { all {} } version_labels { key: "stable" value: 1 } } }'
    )
    flags = ["--host", "127.0.0.1", "--port=0", "--workers=2", "--model_config_file", str(file)]
    with servers.as_process(*flags, "--file_system_poll_wait_seconds=0") as server:
        address = address_of(server)
        server.wait_for("ready: 2 workers")
        shutil.rmtree(base_path / "1")
        os.kill(min(workers_of(server)), signal.SIGKILL)
        server.wait_for("listening on .*, models are loaded")
        answered = served(address)

    assert answered == {("identity",)}


def test_a_worker_that_hangs_is_replaced(models_dir):
    """A stopped worker is killed and replaced after worker_timeout_seconds; the other goes on."""
    with start(models_dir, "--worker_timeout_seconds=1") as server:
        address = address_of(server)
        server.wait_for("ready: 2 workers")
        before = set(workers_of(server))
        victim = min(before)
        os.kill(victim, signal.SIGSTOP)
        server.wait_for(r"worker \d has not answered for 1 s \(--worker_timeout_seconds\); ending")
        server.wait_for(
            r"worker \d ended because it was hanging \(exit code -9\); starting it again"
        )
        server.wait_for("listening on .*, models are loaded")
        answered = served(address)
        after = set(workers_of(server))
        code = server.terminate()

    assert victim not in after
    assert len(before & after) == 1
    assert answered == {("identity",)}
    assert code == 0


def test_a_worker_that_cannot_accept_any_more_is_replaced(models_dir):
    """A worker that has run out of file descriptors is replaced, and calls are answered."""
    with start(models_dir, "--health_port", "0", workers=2) as server:
        address = address_of(server)
        server.wait_for("ready: 2 workers")
        starved, *_ = workers_of(server)
        _, hard = resource.prlimit(starved, resource.RLIMIT_NOFILE)
        resource.prlimit(starved, resource.RLIMIT_NOFILE, (8, hard))

        def answered() -> bool:
            own_connection = [("grpc.use_local_subchannel_pool", 1)]
            with PredictClient(address, timeout=30, options=own_connection) as client:
                return bool((client.predict("identity", {"x": ONES})["y"] == ONES).all())

        def is_replaced() -> bool:
            # A worker notices at its next connection, and the kernel chooses the worker.
            with contextlib.suppress(PredictError):
                answered()
            return starved not in workers_of(server)

        assert wait_until(is_replaced)
        server.wait_for(r"worker \d ended by itself \(exit code 1\)")
        assert wait_until(lambda: len(workers_of(server)) == 2)
        assert all(answered() for _ in range(8))
        assert server.terminate() == 0

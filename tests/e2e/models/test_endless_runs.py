"""Tests of runs that never return: they are ended when no caller waits, and delay no others."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import psutil
import pytest
from running import servers
from sample_models import endless_models, tiny_models

from serving.client import PredictClient, PredictError, predict_request

FOREVER = {"trips": np.array([endless_models.FOREVER])}
THREE = {"trips": np.array([3])}
# Nothing here takes long, except on a machine that does other work.
SLACK_SECONDS = 5
DRAIN_SECONDS = 2


def wait_until(condition) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_run_ends_with_its_callers_deadline(tmp_path):
    """A run ends at its caller's deadline; the model's only instance answers the next caller."""
    endless_models.loop(tmp_path)
    with servers.in_this_process(tmp_path, instances=1) as address:
        with PredictClient(address, timeout=1) as hasty, pytest.raises(PredictError) as caught:
            hasty.predict("loop", FOREVER)
        with PredictClient(address, timeout=20) as client:
            answer = client.predict("loop", THREE)

    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert answer["count"].tolist() == [3]


def test_a_run_ends_when_its_caller_is_gone(tmp_path):
    """A run ends when its client cancels the call."""
    endless_models.loop(tmp_path)
    with (
        servers.in_this_process(tmp_path, instances=1) as address,
        PredictClient(address, timeout=20) as client,
        grpc.insecure_channel(address) as channel,
    ):
        request = predict_request("loop", FOREVER).SerializeToString()
        call = channel.unary_unary("/tensorflow.serving.PredictionService/Predict").future(request)
        time.sleep(0.5)
        call.cancel()
        answer = client.predict("loop", THREE)

    assert answer["count"].tolist() == [3]


def test_versions_change_while_a_run_goes_on(tmp_path):
    """While an endless run goes on, a new version and a new model answer.

    A run whose caller is gone does not use up the drain: the server stops in less than half of it.
    """
    endless_models.loop(tmp_path)
    with (
        servers.in_this_process(
            tmp_path, file_system_poll_wait_seconds=0.05, drain_seconds=60.0
        ) as address,
        PredictClient(address, timeout=60) as client,
        PredictClient(address, timeout=20) as other,
        ThreadPoolExecutor() as pool,
    ):
        endless = pool.submit(client.predict, "loop", FOREVER)
        time.sleep(0.5)
        endless_models.loop(tmp_path, version=2)
        wait_until(lambda: answers(other, "loop", THREE, version=2))
        tiny_models.identity(tmp_path)
        ones = {"x": np.ones((1, 3), np.float32)}
        wait_until(lambda: answers(other, "identity", ones))
        still_runs = not endless.done()
        client.close()
        error = endless.exception(timeout=30)

    assert still_runs
    assert isinstance(error, PredictError)


def answers(client: PredictClient, model: str, inputs, **options) -> bool:
    try:
        client.predict(model, inputs, **options)
    except PredictError:
        return False
    return True


@pytest.mark.parametrize("kind", ["loop", "product"])
def test_sigterm_ends_the_process_in_time(tmp_path, kind):
    """After the drain, SIGTERM ends the process, whether the run can be ended or not.

    A loop can be ended, one long matrix product cannot.
    """
    if kind == "loop":
        endless_models.loop(tmp_path)
        inputs = FOREVER
    else:
        endless_models.product(tmp_path)
        inputs = {"size": np.array([12_000])}
    flags = (f"--models_dir={tmp_path}", "--port=0", f"--drain_seconds={DRAIN_SECONDS}")
    with servers.as_process(*flags) as server:
        port = server.wait_for(r"listening on \S+:(\d+),")[1]
        server.wait_for("ready: ")
        address = f"127.0.0.1:{port}"
        with PredictClient(address, timeout=120) as client, ThreadPoolExecutor() as pool:
            call = pool.submit(client.predict, kind, inputs)
            time.sleep(1)
            started = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            server.process.wait(60)
            seconds = time.monotonic() - started
            error = call.exception(timeout=30)
    log = "".join(server.log)

    assert seconds < DRAIN_SECONDS + 1 + SLACK_SECONDS, log
    assert isinstance(error, PredictError)
    if kind == "loop":
        assert "ending the run of loop/1, serving_default, for" in log
    else:
        assert "ending the process; runs still active: product/1, serving_default" in log


def children_of(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_their_supervisor(tmp_path, number):
    """No worker is left after SIGTERM or SIGKILL of the supervisor, even during an endless run."""
    endless_models.loop(tmp_path)
    flags = (f"--models_dir={tmp_path}", "--port=0", f"--drain_seconds={DRAIN_SECONDS}")
    with servers.as_process(*flags, "--workers=2") as server:
        port = server.wait_for(r"listening on \S+:(\d+),")[1]
        server.wait_for("ready: ")
        server.wait_for("ready: ")
        workers = children_of(server.process.pid)
        with (
            PredictClient(f"127.0.0.1:{port}", timeout=120) as client,
            ThreadPoolExecutor() as pool,
        ):
            call = pool.submit(client.predict, "loop", FOREVER)
            time.sleep(1)
            server.process.send_signal(number)
            _, left = psutil.wait_procs(workers, timeout=DRAIN_SECONDS + 1 + SLACK_SECONDS)
            error = call.exception(timeout=30)
        server.process.wait(30)

    assert len(workers) >= 2
    assert left == []
    assert isinstance(error, PredictError)

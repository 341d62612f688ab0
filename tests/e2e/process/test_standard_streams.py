"""Tests of programs whose standard error is full or closed, and of signals during the imports."""

import contextlib
import fcntl
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from sample_models import tiny_models

from serving.client import PredictClient, PredictError

ROOT = Path(__file__).parents[3]
ONES = np.ones((1, 3), np.float32)
TOO_SMALL = {"shape": np.array([2])}  # the model "fragile" fails on it
SETTINGS = [(), ("--workers=2",)]


@contextmanager
def ended(process: subprocess.Popen):
    """Kill a process at the end of the block if it still runs."""
    try:
        yield process
    finally:
        process.kill()
        process.wait(30)


@contextmanager
def full_pipe():
    """Yield both ends of a pipe without room."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writer, b"." * 4095 + b"\n")
    try:
        yield reader, writer
    finally:
        os.close(reader)
        with contextlib.suppress(OSError):
            os.close(writer)


def serve(models_dir, *flags: str) -> tuple[list[str], str]:
    """Return the command of a server on a port that is free at the moment, and its address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    command = [sys.executable, "-m", "serving", "--models_dir", str(models_dir), *flags]
    return [*command, "--host=127.0.0.1", f"--port={port}"], f"127.0.0.1:{port}"


def answer_of(address: str) -> list:
    """Return a server's answer as soon as it gives one."""
    give_up_at = time.monotonic() + 40
    while True:
        with PredictClient(address, timeout=10) as client:
            try:
                return client.predict("identity", {"x": ONES})["y"].tolist()
            except PredictError:
                assert time.monotonic() < give_up_at
                time.sleep(0.1)


def read_what_comes(reader: int) -> str:
    """Read from a pipe until nothing has come for a second."""
    os.set_blocking(reader, False)
    text, last = b"", time.monotonic()
    while time.monotonic() < last + 1:
        with contextlib.suppress(BlockingIOError):
            text += os.read(reader, 1 << 16)
            last = time.monotonic()
        time.sleep(0.01)
    return text.decode()


@pytest.mark.parametrize("flags", SETTINGS)
def test_a_server_whose_log_nobody_reads_serves_and_stops(models_dir, flags):
    """With a full standard error, a server starts, answers, and ends with code 0 on SIGTERM."""
    command, address = serve(models_dir, *flags)
    with full_pipe() as (_, writer), ended(subprocess.Popen(command, stderr=writer)) as process:
        answer = answer_of(address)
        process.send_signal(signal.SIGTERM)
        code = process.wait(30)

    assert answer == [[1, 1, 1]]
    assert code == 0


def test_dropped_lines_are_counted(models_dir):
    """Failures of a model are logged when the pipe is read again, and so is what was dropped."""
    calls = 0
    command, address = serve(models_dir)
    with full_pipe() as (reader, writer), ended(subprocess.Popen(command, stderr=writer)):
        answer_of(address)
        with PredictClient(address) as client:
            give_up_at = time.monotonic() + 60
            while calls < 2000 and time.monotonic() < give_up_at:
                with pytest.raises(PredictError):
                    client.predict("fragile", TOO_SMALL)
                calls += 1
        log = read_what_comes(reader)
        with PredictClient(address) as client, pytest.raises(PredictError):
            client.predict("fragile", TOO_SMALL)
        later = read_what_comes(reader)

    assert "ready: " in log
    (dropped,) = re.findall(r"^(\d+) log lines were dropped, ", log, re.MULTILINE)
    assert log.rstrip().endswith("nobody read standard error")
    assert int(dropped) > 0
    assert "cannot be reshaped" in later


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("flags", SETTINGS)
def test_a_server_without_standard_error_serves_and_stops(models_dir, flags, closed):
    """A server whose standard error is closed answers, and ends with code 0 on SIGTERM."""
    command, address = serve(models_dir, *flags)
    shell = ["bash", "-c", f'exec "$@" {closed}', "bash", *command]
    with ended(subprocess.Popen(shell)) as process:
        answer = answer_of(address)
        opened = Path(f"/proc/{process.pid}/fd/2").readlink()
        process.send_signal(signal.SIGTERM)
        code = process.wait(30)

    assert answer == [[1, 1, 1]]
    assert opened == Path("/dev/null")
    assert code == 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["training", "simcnn", "--data-dir", "/nowhere"], 2),
        (["training", "report", "/nowhere"], 2),
        (["export", "/nowhere"], 2),
        (["loadtest", "report", "/nowhere"], 2),
        (["serving", "--models_dir=/nowhere"], 2),
    ],
)
def test_programs_without_standard_streams_keep_their_exit_code(arguments, expected):
    """Errors that cannot be written anywhere still have their exit code."""
    done = subprocess.run(
        ["bash", "-c", 'exec "$@" <&- >&- 2>&-', "bash", sys.executable, "-m", *arguments],
        cwd=ROOT,
        timeout=90,
        check=False,
    )

    assert done.returncode == expected


def is_importing(process: subprocess.Popen) -> bool:
    """Return whether a process has loaded ONNX Runtime, which is in the middle of the imports."""
    return "onnxruntime" in Path(f"/proc/{process.pid}/maps").read_text()


@pytest.mark.parametrize("flags", SETTINGS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_imports_is_answered(tmp_path, number, flags):
    """The server ends at once with exit code 0 and one line."""
    tiny_models.identity(tmp_path)
    command, _ = serve(tmp_path, *flags)
    started = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    with ended(started) as process:
        give_up_at = time.monotonic() + 30
        while not is_importing(process):
            assert time.monotonic() < give_up_at
        process.send_signal(number)
        _, log = process.communicate(timeout=30)

    assert process.returncode == 0
    assert log == f"{number.name} during the start: stopped\n"


def test_training_and_serving_have_the_same_module():
    """Training and serving must not import each other, so their copies must be the same."""
    copies = ("training/standard_streams.py", "serving/standard_streams.py")

    assert len({(ROOT / copy).read_text() for copy in copies}) == 1

"""Tests of a server process with SavedModels: its versions, deadlines, end, imports and log."""

import asyncio
import json
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from calling.rest_client import Http
from running import servers
from sample_models import tiny_models
from sample_saved_models import tensorflow_models
from sample_saved_models.saved_model_questions import CALLERS

from serving.client import AsyncPredictClient, PredictClient, PredictError


def test_versions_change_under_load(tmp_path):
    """24 callers see no error while versions 2 to 5 are loaded; the newest answers at the end."""
    models = tmp_path / "models"
    tensorflow_models.scaled(models / "scaled" / "1", 1.0)
    x = {"x": np.float32([[1, 1, 1]]), "offset": np.float32(0)}
    answers, errors = [], []

    async def scenario(target: str):
        changing = True

        async def call(client: AsyncPredictClient) -> None:
            while changing:
                try:
                    answers.append(float((await client.predict("scaled", x))["y"][0, 0]))
                except PredictError as error:
                    errors.append(error)

        async with AsyncPredictClient(target) as client:
            callers = [asyncio.create_task(call(client)) for _ in range(CALLERS)]
            for version in range(2, 6):
                made = tmp_path / "made" / str(version)
                await asyncio.to_thread(tensorflow_models.scaled, made, float(version))
                made.rename(models / "scaled" / str(version))
                async with asyncio.timeout(60):
                    while (await client.statuses("scaled"))[0].version < version:  # noqa: ASYNC110
                        await asyncio.sleep(0.05)
            await asyncio.sleep(0.2)
            changing = False
            await asyncio.gather(*callers)
            # The callers' last answer may be that of a call which waited for an older version.
            last = await client.predict("scaled", x)
            answers.append(float(last["y"][0, 0]))

    with servers.in_this_process(models, file_system_poll_wait_seconds=0.05) as target:
        asyncio.run(scenario(target))

    assert errors == []
    assert set(answers) == {1.0, 2.0, 3.0, 4.0, 5.0}
    assert answers[-1] == 5.0


def test_a_run_ends_soon_after_its_callers_deadline(tmp_path):
    """A run ends soon after its caller's deadline and frees the model's only instance.

    TensorFlow itself cannot be told to end a run.
    """
    tensorflow_models.endless(tmp_path / "endless" / "1")
    with servers.in_this_process(tmp_path, instances=1) as address:
        with PredictClient(address, timeout=1) as hasty, pytest.raises(PredictError) as caught:
            hasty.predict("endless", {"n": np.array(1 << 60)})
        with PredictClient(address, timeout=20) as client:
            answer = client.predict("endless", {"n": np.array(3)})

    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert answer["count"] == 3


def test_a_run_without_an_end_does_not_stop_the_exit(tmp_path):
    """After the drain the process exits although a TensorFlow run goes on."""
    tensorflow_models.endless(tmp_path / "endless" / "1")
    flags = ("--models_dir", str(tmp_path), "--port", "0", "--drain_seconds", "1")
    with servers.as_process(*flags) as server:
        target = server.wait_for(r"listening on (\S+),").group(1)
        server.wait_for("ready: endless")
        with PredictClient(target, timeout=60) as client, ThreadPoolExecutor() as pool:
            asked = pool.submit(client.predict, "endless", {"n": np.array(1 << 60)})
            time.sleep(1)
            began = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            server.process.wait(20)
            took = time.monotonic() - began
            error = asked.exception(20)

    assert took < 10
    assert isinstance(error, PredictError)


# A server in a Python process without TensorFlow.
WITHOUT_TENSORFLOW = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "tensorflow":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from serving.__main__ import main
main()
"""


def test_without_tensorflow_both_ways_out_are_named(tmp_path):
    """Without TensorFlow, log and status name both ways out, and ONNX models are served."""
    tensorflow_models.dense(tmp_path / "binary" / "1")
    tensorflow_models.in_text(tensorflow_models.dense(tmp_path / "text" / "1"))
    tiny_models.add(tmp_path)
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", WITHOUT_TENSORFLOW, "--models_dir", str(tmp_path)),
            *("--host", "127.0.0.1", "--port", "0"),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    server = servers.ServerProcess(process)
    try:
        target = server.wait_for(r"listening on (\S+),").group(1)
        deadline = time.monotonic() + 30
        while "".join(server.log).count("python -m export saved-model") < 2:
            assert time.monotonic() < deadline, server.log
            time.sleep(0.1)
        http = Http(target)
        statuses = [json.dumps(http.get(f"/v1/models/{name}")[1]) for name in ("binary", "text")]
        with PredictClient(target) as client:
            answer = client.predict("add", {"a": np.array([1]), "b": np.array([2])})
    finally:
        process.kill()
        process.wait()
        server.read_to_end()
        process.stderr.close()

    for status in statuses:
        assert "python -m export saved-model" in status
        assert "install the extra `tensorflow`" in status
    assert answer["sum"].tolist() == [3]


def test_the_log_has_no_lines_of_tensorflow(tmp_path):
    """A server that imports TensorFlow logs in its own format; level 0 shows TensorFlow's notes."""
    tensorflow_models.dense(tmp_path / "dense" / "1")
    logs = {}
    for level in ("2", "0"):
        with servers.as_process(
            f"--models_dir={tmp_path}", "--port=0", TF_CPP_MIN_LOG_LEVEL=level
        ) as server:
            server.wait_for("ready: dense")
            assert server.terminate() == 0
        logs[level] = [line for line in server.log if not line.startswith("20")]

    assert logs["2"] == []
    # Which notes there are depends on the processor: "I0000 00:00:1795734421.013249 ...".
    assert any(re.match(r"I\d{4} ", line) for line in logs["0"])

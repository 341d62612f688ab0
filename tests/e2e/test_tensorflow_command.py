"""Tests of the command `tensorflow_model_server`, as scripts for TensorFlow Serving use it."""

import subprocess

import numpy as np
import pytest
from calling.rest_client import Http
from running import servers
from running.tensorflow_command import environment, free_port, script
from sample_models import tiny_models

from serving.client import PredictClient

ONES = np.ones((1, 3), np.float32)


@pytest.fixture(scope="module")
def command(tmp_path_factory) -> str:
    """The command as pip would install it."""
    return script(tmp_path_factory.mktemp("bin"))


def run(command: str, *flags: str, **variables: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [command, *flags],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment(**variables),
    )


@pytest.mark.parametrize("more", [(), ("--workers=2",)])
def test_kserves_line_starts_it(command, tmp_path, more):
    """KServe's arguments for TensorFlow Serving start the server; both APIs answer.

    Each setting without effect is logged once, however many workers read it.
    """
    tiny_models.identity(tmp_path, "models")
    (tmp_path / "batching.txt").write_text("pad_variable_length_inputs: true")
    port, rest_port = free_port(), free_port()
    process = subprocess.Popen(
        [
            command,
            "--model_name=half_plus_two",
            f"--port={port}",
            f"--rest_api_port={rest_port}",
            f"--model_base_path={tmp_path / 'models'}",
            "--rest_api_timeout_in_ms=60000",
            "--grpc_max_threads=8",
            "--enable_batching",
            f"--batching_parameters_file={tmp_path / 'batching.txt'}",
            *more,
        ],
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    server = servers.ServerProcess(process)
    try:
        server.wait_for("ready: (2 workers|half_plus_two)")
        with PredictClient(f"127.0.0.1:{port}") as client:
            by_grpc = client.predict("half_plus_two", {"x": ONES})
        rest = Http(f"127.0.0.1:{rest_port}")
        by_rest = rest.post("/v1/models/half_plus_two:predict", {"instances": [[1, 1, 1]]})
        status, document = rest.get("/v1/models/half_plus_two")
        code = server.terminate()
    finally:
        process.kill()
        process.wait()
        server.read_to_end()
        process.stderr.close()

    assert by_grpc["y"].tolist() == [[1, 1, 1]]
    assert by_rest == (200, {"predictions": [[1, 1, 1]]})
    assert (status, document["model_version_status"][0]["state"]) == (200, "AVAILABLE")
    assert code == 0
    for what in ("--grpc_max_threads", "pad_variable_length_inputs"):
        assert "".join(server.log).count(f"{what} has no effect here") == 1


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (
            ["--enable_profiler=true"],
            "error: --enable_profiler=true is not supported here: there is",
        ),
        (["--modle_name=m"], "error: unknown argument: --modle_name=m; did you mean --model_name?"),
        ([], "error: Both server_options.model_base_path and server_options.model_config_file"),
    ],
)
def test_it_refuses_in_one_line(command, flags, line):
    """A refusal is one line without the usage, and the exit code is 2."""
    result = run(command, *flags)

    assert result.returncode == 2
    assert result.stderr.startswith(line)
    assert result.stderr.count("\n") == 1


def test_its_help_names_the_command(command):
    """--help shows the command's name as it was typed."""
    result = run(command, "--help")

    assert result.returncode == 0
    assert result.stdout.startswith("usage: tensorflow_model_server [")


def test_the_container_variables_name_its_model(command, tmp_path):
    """MODEL_NAME and MODEL_BASE_PATH choose the model; a missing folder is named in the error."""
    result = run(command, MODEL_NAME="absent", MODEL_BASE_PATH=str(tmp_path))

    assert result.returncode == 2
    assert str(tmp_path / "absent") in result.stderr

import msgspec
import pytest

from loadtest.servers import description, local
from loadtest.settings.config import UsageError


def test_a_server_is_started_watched_and_stopped(image_models_dir, tmp_path):
    """A started server answers inside the context, its usage is counted, and then it stops."""
    log = tmp_path / "servers" / "server.log"

    with local.started(image_models_dir, ["--instances=1"], log) as server:
        says, before = description.ask(server.address), server.usage()
        section = server.section(before, requests=0, provider="CPUExecutionProvider")

    assert "cat" in says.models
    assert before.cpu_seconds > 0
    assert section.memory_bytes > 10 * 2**20
    assert section.cpu_us_per_request is None
    assert section.flags == ["--instances=1"]
    assert description.ask(server.address) == description.Served({}, {})
    assert "ready: " in log.read_text()


def test_a_server_that_cannot_start_is_named_with_its_own_words(tmp_path):
    """UsageError quotes the last lines of the server's log."""
    with (
        pytest.raises(UsageError, match=r"ended at once with exit code 2: .*nowhere") as refused,
        local.started(tmp_path / "nowhere", [], tmp_path / "server.log"),
    ):
        pass

    assert str(tmp_path / "server.log") in str(refused.value)


def test_the_gpu_is_what_nvidia_smi_says(tmp_path, monkeypatch):
    """`gpu` returns name, driver and used memory of the first GPU, None without nvidia-smi."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert local.gpu() is None
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA H200, 580.1, 1024'\necho 'other, 1, 2'\n")
    program.chmod(0o755)

    gpu = local.gpu()

    assert msgspec.to_builtins(gpu) == {
        "name": "NVIDIA H200",
        "driver": "580.1",
        "memory_used_bytes": 2**30,
    }

import os
from pathlib import Path

import onnxruntime
import pytest

from serving.engine.devices import probe

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
# What ONNX Runtime 1.31.1 writes if a library is missing, shortened.
WRITTEN = (
    "2026-11-26 20:51:05.2 [E:onnxruntime:Default, provider_bridge_ort.cc:2458 operator()] FAIL : "
    "Failed to load library /venv/onnxruntime/capi/libonnxruntime_providers_cuda.so with error: "
    "{}: cannot open shared object file: No such file or directory\n"
    "[W:onnxruntime:Default] Failed to create CUDAExecutionProvider. Require cuDNN 9.* and "
    "CUDA 13.*. Please install all dependencies"
)
WITHOUT_GPU = CUDA in onnxruntime.get_available_providers() and not Path("/dev/nvidia0").exists()


@pytest.fixture
def asked_anew():
    """The probe has no result from earlier tests, and leaves none."""
    probe.cuda_failure.cache_clear()
    yield
    probe.cuda_failure.cache_clear()


def test_the_probes_graph_is_an_onnx_file_that_runs():
    """The probe's graph runs on the CPU, and its answer is right."""
    assert not probe.run([CPU])


def test_a_wrong_answer_is_a_failure(monkeypatch):
    """A provider that computes something else does not work, and the failure shows the numbers."""
    doubled = probe.graph()
    tripled = doubled.replace(b"\0\0\0\x40", b"\0\0\x40\x40")
    monkeypatch.setattr(probe, "graph", lambda: tripled)

    assert probe.run([CPU]) == "3 * 2 gave [9.0, 9.0, 9.0, 9.0]"


@pytest.mark.skipif(CUDA in onnxruntime.get_available_providers(), reason="it has CUDA")
def test_a_provider_that_onnx_runtime_replaces_has_failed():
    """ONNX Runtime goes on with the CPU if it lacks a provider; the probe calls that a failure."""
    with pytest.warns(UserWarning, match="not in available provider names"):
        failure = probe.run([CUDA, CPU])

    assert failure == "ONNX Runtime chose CPUExecutionProvider"


def test_an_error_of_the_session_is_a_failure(monkeypatch):
    """An error that ONNX Runtime raises is the reason of the failure."""
    monkeypatch.setattr(probe, "graph", lambda: b"not a graph")

    assert "INVALID_PROTOBUF" in probe.run([CPU])


@pytest.mark.parametrize(
    ("text", "cuda", "sentence"),
    [
        (
            WRITTEN.format("libcublasLt.so.13"),
            "13.0",
            (
                "the library libcublasLt.so.13 is missing; install CUDA's libraries with "
                "pip install 'onnxruntime-gpu[cuda,cudnn]'"
            ),
        ),
        (
            WRITTEN.format("libcuda.so.1"),
            "13.0",
            (
                "libcuda.so.1 is missing, which is part of NVIDIA's driver; run on a machine with "
                "an NVIDIA GPU and NVIDIA's driver 580 or later for CUDA 13 (in a container: with "
                "--gpus all)"
            ),
        ),
        (
            "CUDA failure 35: CUDA driver version is insufficient\nfor CUDA runtime version",
            "12.4",
            (
                "CUDA failure 35: CUDA driver version is insufficient for CUDA runtime version; "
                "check the GPU with nvidia-smi, it needs NVIDIA's driver 525 or later for CUDA 12"
            ),
        ),
    ],
)
def test_a_failure_is_one_sentence_with_the_way_out(text, cuda, sentence):
    """The reason names what is missing and what to install, on one line."""
    assert probe.explain(text, cuda) == sentence


def test_a_long_reason_is_cut():
    """A reason without a known cause has at most 300 characters, so that the log stays readable."""
    assert probe.explain("x" * 1000, "").startswith("x" * 300 + " ...; check the GPU")


def test_nothing_is_printed_but_the_reason_is_kept(monkeypatch, capfd, asked_anew):
    """What ONNX Runtime prints and writes during the probe is hidden; its reason is returned.

    The stand-ins write what the GPU package writes without CUDA's libraries.
    """

    def preload() -> None:
        print("Failed to load libcublasLt.so.13")  # noqa: T201 - as ONNX Runtime

    def run(_providers) -> str:
        os.write(2, WRITTEN.format("libcublasLt.so.13").encode())
        return "ONNX Runtime chose CPUExecutionProvider"

    monkeypatch.setattr(onnxruntime, "preload_dlls", preload)
    monkeypatch.setattr(probe, "run", run)

    failure = probe.cuda_failure()
    os.write(2, b"shown")

    assert failure.startswith("the library libcublasLt.so.13 is missing; install")
    assert capfd.readouterr() == ("", "shown")


def test_a_process_probes_once(monkeypatch, asked_anew):
    """The probe runs once in a process; its result counts from then on."""
    runs = []
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    monkeypatch.setattr(probe, "run", lambda providers: runs.append(providers) or "")

    assert [probe.cuda_failure(), probe.cuda_failure()] == ["", ""]
    assert runs == [[CUDA, CPU]]


@pytest.mark.skipif(not WITHOUT_GPU, reason="needs onnxruntime-gpu on a machine without a GPU")
def test_the_gpu_package_without_a_gpu_fails_in_words(capfd, asked_anew):
    """ONNX Runtime's GPU package on a machine without a GPU: one sentence, and no other output."""
    failure = probe.cuda_failure()

    assert " is missing" in failure
    assert capfd.readouterr() == ("", "")

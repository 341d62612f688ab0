import os
import subprocess
import sys
from pathlib import Path

import pytest

from training import native_log

ROOT = Path(__file__).parents[2]
SCRIPT = """
import os, subprocess, sys
from training.native_log import quiet
try:
    with quiet():
        os.write(2, b"I0000 00:00:1.0 1 port.cc:153] oneDNN custom operations are on.\\n")
        os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called\\n")
        os.write(2, b"E0000 00:00:1.0 1 cuda_platform.cc:52] failed call to cuInit: INTERNAL\\n")
        os.write(2, b"E0000 00:00:1.0 1 other.cc:1] a real error\\n")
        print("Python's own", file=sys.stderr)
        if "child" in sys.argv:
            command = "import os; input(); os.write(2, b'from the child\\\\n')"
            child = subprocess.Popen([sys.executable, "-c", command], stdin=subprocess.PIPE)
        if "raise" in sys.argv:
            raise SystemExit("stopped")
        os.write(2, b"no newline")
finally:
    os.write(2, b"\\nI0000 afterwards\\n")
if "child" in sys.argv:
    child.communicate(b"\\n")
    import time
    time.sleep(0.5)
"""


def stderr_of(*arguments, level="2"):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": level, "CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr.splitlines()


def test_noise_is_dropped_and_the_rest_kept():
    """Notes are dropped; errors, Python's output, half lines and later output are written."""
    assert stderr_of() == [
        "E0000 00:00:1.0 1 other.cc:1] a real error",
        "Python's own",
        "no newline",
        "I0000 afterwards",
    ]


def test_nothing_is_lost_when_the_block_raises():
    """If the block raises, its output is written before the traceback."""
    assert stderr_of("raise") == [
        "E0000 00:00:1.0 1 other.cc:1] a real error",
        "Python's own",
        "",
        "I0000 afterwards",
        "stopped",
    ]


def test_a_child_process_may_outlive_the_block():
    """A child process that was started in the block can write to stderr after the block."""
    assert "from the child" in stderr_of("child")


@pytest.mark.parametrize("level", ["0", "1"])
def test_a_lower_log_level_shows_everything(level):
    """With TF_CPP_MIN_LOG_LEVEL 0 or 1 all notes are shown."""
    assert stderr_of(level=level)[:3] == [
        "I0000 00:00:1.0 1 port.cc:153] oneDNN custom operations are on.",
        "WARNING: All log messages before absl::InitializeLog() is called",
        "E0000 00:00:1.0 1 cuda_platform.cc:52] failed call to cuInit: INTERNAL",
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"2026-11-26 18:00:00.123456: I tensorflow/core/util/port.cc:153] oneDNN custom ...",
        b"E0000 00:00:1.0 1 cuda_dnn.cc:8579] Unable to register cuDNN factory: Attempting ...",
        b"W0000 00:00:1.0 1 computation_placer.cc:177] computation placer already registered.",
        b"2026-11-26 18:00:00.1: W utils/py_utils.cc:38] TF-TRT Warning: Could not find TensorRT",
        b"To enable the following instructions: AVX2 FMA, in other operations, rebuild ...",
    ],
)
def test_known_notes_are_noise(line):
    """The start-up notes of several versions of TensorFlow are noise."""
    assert native_log.is_noise(line)


@pytest.mark.parametrize(
    "line",
    [
        b"E0000 00:00:1.0 1 other.cc:1] CUDA_ERROR_OUT_OF_MEMORY",
        b"UserWarning: In a Python library",
        b"2026-11-26 18:00:00.1: E tensorflow/core/framework/node_def_util.cc:676] ...",
    ],
)
def test_errors_and_warnings_are_no_noise(line):
    """Errors, warnings and unknown lines are not noise."""
    assert not native_log.is_noise(line)


@pytest.mark.parametrize(
    ("visible", "has_gpu", "noise"),
    [("-1", True, True), ("0", True, False), (None, True, False), (None, False, True)],
)
def test_a_gpu_that_does_not_start_is_no_noise(tmp_path, monkeypatch, visible, has_gpu, noise):
    """The failure to start CUDA is noise unless there is a GPU that may be used."""
    monkeypatch.setattr(native_log, "_GPUS", (tmp_path / ("." if has_gpu else "none"),))
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)

    line = b"E0000 00:00:1.0 1 cuda_platform.cc:52] failed call to cuInit: INTERNAL: ..."
    assert native_log.is_noise(line) is noise


def test_training_and_serving_have_the_same_module():
    """Training and serving must not import each other, so their copies must be the same."""
    copies = ("training/native_log.py", "serving/engine/loading/native_log.py")

    assert len({(ROOT / copy).read_text() for copy in copies}) == 1

import subprocess
import sys

SCRIPT = """
import os, sys
from export.native_log import quiet
try:
    with quiet():
        os.write(2, b"I0000 00:00:1.0 1 port.cc:153] oneDNN custom operations are on.\\n")
        os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called\\n")
        os.write(2, b"E0000 00:00:1.0 1 cuda_platform.cc:52] failed call to cuInit: INTERNAL\\n")
        os.write(2, b"E0000 00:00:1.0 1 other.cc:1] a real error\\n")
        print("Python's own", file=sys.stderr)
        if len(sys.argv) > 1:
            raise SystemExit("stopped")
finally:
    os.write(2, b"I0000 afterwards\\n")
"""


def stderr_of(*arguments):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=False
    )
    return done.stderr.splitlines()


def test_noise_is_dropped_and_the_rest_kept():
    """Banners are dropped; errors, Python's output and lines after the block are kept."""
    lines = stderr_of()

    assert lines == [
        "E0000 00:00:1.0 1 other.cc:1] a real error",
        "Python's own",
        "I0000 afterwards",
    ]


def test_nothing_is_lost_when_the_block_raises():
    """If the block raises, the kept lines are printed before the error."""
    lines = stderr_of("raise")

    assert lines == [
        "E0000 00:00:1.0 1 other.cc:1] a real error",
        "Python's own",
        "I0000 afterwards",
        "stopped",
    ]

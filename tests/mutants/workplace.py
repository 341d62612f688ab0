"""Copies of the working tree, and processes that run pytest in them.

Each run is a fork of this process, which has imported what takes long to import and none of the
project's modules. It is a process group of its own, so that what a test started ends with it, and
it is killed at its time limit whatever it does.
"""

import compileall
import contextlib
import gc
import importlib
import os
import py_compile
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# Third-party packages that the tests import, and that start no thread when they are imported.
PRELOADED = (
    "PIL.Image",
    "aiohttp",
    "anyio",
    "gevent",
    "grpc",
    "grpc_health.v1.health_pb2_grpc",
    "grpc_reflection.v1alpha.reflection_pb2_grpc",
    "h2corn",
    "hypothesis",
    "keras",
    "numpy",
    "onnx",
    "orjson",
    "prometheus_client",
    "pytest",
    "tensorflow",
    "uvloop",
)
ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "",
    "KERAS_BACKEND": "tensorflow",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # What is compiled of a mutant is not kept.
    "PYTHONDONTWRITEBYTECODE": "1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}
PYTEST = (
    *("-x", "-q", "-p", "no:cacheprovider", "--no-header", "--hypothesis-seed=0"),
    # Of plugins that are imported before pytest begins.
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
)

COMPILING_LIMIT_SECONDS = 300
# The exit code of a fork in which pytest itself fails, as it does for what tests left open.
BROKEN = 70


def preload() -> None:
    """Import what every run would import.

    Raises:
        RuntimeError: A package has started a thread, which no fork would have.
    """
    os.environ.update(ENVIRONMENT)
    sys.dont_write_bytecode = True
    for name in PRELOADED:
        importlib.import_module(name)
        threads = len(list(Path("/proc/self/task").iterdir()))
        if threads > 1:
            msg = f"importing {name} started {threads - 1} threads, expected none: no fork has them"
            raise RuntimeError(msg)
    _set_up_hypothesis()
    # Collections of garbage, of which pytest alone makes several as it ends, leave these objects
    # out: that saves most of their time, and the memory that each fork would copy.
    gc.collect()
    gc.freeze()


def _set_up_hypothesis() -> None:
    """The first example that fails suffices; neither the machine's load nor earlier runs count."""
    from hypothesis import Phase, settings  # noqa: PLC0415 - after the environment is set

    phases = (Phase.explicit, Phase.generate)
    settings.register_profile("mutants", phases=phases, deadline=None, database=None)
    settings.load_profile("mutants")


def copy_tree(root: Path, folder: Path) -> None:
    """Copy what git tracks, and new files that it does not ignore, as they are now."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    for name in sorted(set(filter(None, listed.split("\0")))):
        if (root / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, folder / name)
    # Checked by hash, as two versions of a file may have one size and one second.
    mode = py_compile.PycInvalidationMode.CHECKED_HASH
    for wing in ("export", "loadtest", "serving", "training"):
        compileall.compile_dir(folder / wing, quiet=2, invalidation_mode=mode)


def compile_tests(tree: Path, modules: Sequence[str], log: Path) -> None:
    """Let pytest keep what it makes of test modules, which no mutant changes."""
    sys.dont_write_bytecode = False
    try:
        run = start(tree, ["--collect-only", *modules], log, COMPILING_LIMIT_SECONDS)
        while run.ended() is None:
            time.sleep(0.1)
    finally:
        sys.dont_write_bytecode = True


@dataclass
class Run:
    """One pytest in a process group of its own."""

    pid: int
    started: float
    limit_seconds: float
    over: bool = False

    def end(self) -> None:
        """Kill the process, and what a test started and left behind, unless it is over."""
        if self.over:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def ended(self) -> tuple[int | None, float] | None:
        """Exit code (None: killed at the limit; negative: a signal) and seconds; None: it runs."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        seconds = time.monotonic() - self.started
        if pid == 0 and seconds < self.limit_seconds:
            return None
        self.end()
        self.over = True
        if pid == 0:
            os.waitpid(self.pid, 0)
            return None, seconds
        return os.waitstatus_to_exitcode(status), seconds


def start(
    tree: Path,
    arguments: Sequence[str],
    log: Path,
    limit_seconds: float,
    plugins: Sequence[object] = (),
) -> Run:
    """Run pytest in a tree, its output in a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        code = BROKEN
        try:
            code = _run_pytest(tree, arguments, log, plugins)
        except BaseException:  # noqa: BLE001 - the fork ends here whatever happens
            traceback.print_exc()
        finally:
            os._exit(code)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.setpgid(pid, pid)
    return Run(pid, started, limit_seconds)


def _run_pytest(tree: Path, arguments: Sequence[str], log: Path, plugins: Sequence[object]) -> int:
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(tree)
    temporary = tree.parent / f"{tree.name}-tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    os.environ["TMPDIR"] = str(temporary)
    os.environ["PYTHONPATH"] = str(tree)
    sys.path[:] = [str(tree), *sys.path[1:]]
    sys.argv[0] = "pytest"

    import pytest  # noqa: PLC0415 - after the environment is set

    code = int(pytest.main([*PYTEST, *arguments], plugins=list(plugins)))
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return code

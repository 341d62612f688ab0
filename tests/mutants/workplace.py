"""Copies of the working tree, and processes that run pytest in them.

Each run is a fork of this process. This process has imported the packages that take long to import,
but none of the project's modules. A run has its own process group: when the run ends, processes
that its tests started are killed with it. A run that reaches its time limit is killed.
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

# Third-party packages that the tests import and whose import starts no thread.
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
    # The bytecode of a mutant must not be kept.
    "PYTHONDONTWRITEBYTECODE": "1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}
PYTEST = (
    *("-x", "-q", "-p", "no:cacheprovider", "--no-header", "--hypothesis-seed=0"),
    # Pytest warns about plugins that were imported before it started.
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
)

COMPILING_LIMIT_SECONDS = 300
# The exit code of a fork in which pytest itself raises, for example over files left open by tests.
BROKEN = 70


def preload() -> None:
    """Import the packages that every run needs.

    Raises:
        RuntimeError: A package has started a thread; the forks would lack it.
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
    # Garbage collections skip frozen objects. This saves most of the time of the several
    # collections that pytest makes as it ends, and the memory that each fork would copy.
    gc.collect()
    gc.freeze()


def _set_up_hypothesis() -> None:
    """Stop Hypothesis at the first failing example; switch off its deadline and its database."""
    from hypothesis import Phase, settings  # noqa: PLC0415 - after the environment is set

    phases = (Phase.explicit, Phase.generate)
    settings.register_profile("mutants", phases=phases, deadline=None, database=None)
    settings.load_profile("mutants")


def copy_tree(root: Path, folder: Path) -> None:
    """Copy the tracked files of the working tree, and new files that git does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    for name in sorted(set(filter(None, listed.split("\0")))):
        if (root / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, folder / name)
    # Bytecode is checked by hash: a mutant may have the size and the mtime of the original.
    mode = py_compile.PycInvalidationMode.CHECKED_HASH
    for wing in ("export", "loadtest", "serving", "training"):
        compileall.compile_dir(folder / wing, quiet=2, invalidation_mode=mode)


def compile_tests(tree: Path, modules: Sequence[str], log: Path) -> None:
    """Let pytest cache the bytecode of the test modules, which no mutant changes."""
    sys.dont_write_bytecode = False
    try:
        run = start(tree, ["--collect-only", *modules], log, COMPILING_LIMIT_SECONDS)
        while run.ended() is None:
            time.sleep(0.1)
    finally:
        sys.dont_write_bytecode = True


@dataclass
class Run:
    """A pytest process with its own process group."""

    pid: int
    started: float
    limit_seconds: float
    over: bool = False

    def end(self) -> None:
        """Kill the process group, unless the run is over."""
        if self.over:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def ended(self) -> tuple[int | None, float] | None:
        """Return exit code and duration in seconds, or None while the process runs.

        At the time limit the process is killed. The exit code is then None; it is negative if a
        signal ended the process.
        """
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
    """Start pytest in a tree; its output goes to the file `log`."""
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

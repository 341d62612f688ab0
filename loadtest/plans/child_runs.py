"""The runs of a plan: each is a separate `python -m loadtest` process with a folder of its own.

No state of one run can affect another. The folder has the run's report, samples and output, and the
output begins with the command line, so that any run can be repeated by hand.
"""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtest.generator import start_gate
from loadtest.plans.endpoints import Endpoint
from loadtest.report_schema import REPORT_FILE
from loadtest.servers import bound_process
from loadtest.settings.connection_flags import API_KEY_VARIABLE
from loadtest.settings.data_flags import names_rows

# Time for a run to finish its requests and write its report after it was interrupted.
GRACE_SECONDS = 30.0
_OUTPUT_FILE = "output.txt"
_ERROR = re.compile(r"^(?:error|.*: error): (.*)$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class CommonSettings:
    """The settings that all runs of a plan have in common.

    Attributes:
        folder: Folder of the plan's report; each run has a subfolder of `runs` in it.
        models_dir: Model folder, to compare answers with the recorded predictions; None for no
            comparison.
        data_dir: Folder or archive of the test images; None to use $CIFAR10_DIR.
        connection_flags: Flags for the connection to servers that were running before.
    """

    folder: Path
    models_dir: Path | None
    data_dir: Path | None
    connection_flags: Sequence[str] = ()

    def run_folder(self, number: str, name: str) -> Path:
        """Return the folder of a run: the number keeps the order, the name says what it is."""
        return self.folder / "runs" / f"{number}-{slug(name)}"

    def flags(
        self, endpoint: Endpoint, model: str, load: Sequence[str], own: Sequence[str], folder: Path
    ) -> list[str]:
        """Return the flags of a run.

        Args:
            endpoint: The server.
            model: Name of the model.
            load: Flags of the load, each as `--NAME` or `--NAME=VALUE`.
            own: Flags that the plan itself passes, such as the name and the seeds.
            folder: Folder of the run.
        """
        flags = [f"--target={endpoint.address}", f"--model={model}", *load]
        flags += [f"--output-dir={folder}", *own]
        # The records are of the test images alone.
        test_images = not names_rows(load)
        if self.models_dir is not None and test_images:
            flags.append(f"--models-dir={self.models_dir}")
        if endpoint.server is None:
            flags += self.connection_flags
        if self.data_dir is not None and test_images:
            flags.append(f"--data-dir={self.data_dir}")
        # The metrics page tells about the latest version, and a label may name another one.
        if not any(flag.startswith("--version-label") for flag in load):
            flags += _version_flags(endpoint, model)
        return flags


@dataclass(frozen=True)
class ChildRun:
    """A run in a process of its own, under way or ended; `start` makes it.

    Attributes:
        folder: Folder of the run.
        process: The process.
    """

    folder: Path
    process: "subprocess.Popen[bytes]"

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended."""
        return self.process.poll() is not None

    def interrupt(self) -> None:
        """Let the run end early and write its report, as Ctrl-C does."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGINT)

    def close(self) -> None:
        """Kill the process if it still runs, and wait for its end."""
        if not self.has_ended:
            self.process.kill()
        self.process.wait()


def start(
    command: Sequence[str], folder: Path, endpoint: Endpoint, *, gate: Path | None = None
) -> ChildRun:
    """Start a command of this package; its output goes to a file in `folder`.

    The process also ends if this one is killed; see `bound_process`.

    Args:
        command: Name and flags of the command.
        folder: Folder of the run; a report that is there from an earlier plan is removed.
        endpoint: The server.
        gate: The gate at which the run waits for a common start, see `start_gate`; None for none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / REPORT_FILE).unlink(missing_ok=True)
    environment = dict(os.environ)
    if gate is not None:
        environment[start_gate.VARIABLE] = str(gate)
    if endpoint.server is not None:
        environment.pop(API_KEY_VARIABLE, None)  # the key is not for servers of this program
    with (folder / _OUTPUT_FILE).open("wb") as output:
        shown = shlex.join(_without_header_values(command))
        output.write(f"$ python -m loadtest {shown}\n".encode())
        output.flush()
        process = subprocess.Popen(
            bound_process.command([sys.executable, "-m", "loadtest", *command]),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches only this process, which passes it on
        )
    return ChildRun(folder, process)


def problem(folder: Path, endpoint: Endpoint) -> str:
    """Return why a run has no report: how its server ended, or the error in the run's output."""
    return (endpoint.server and endpoint.server.end()) or _error_in(folder)


def slug(text: str) -> str:
    """Return a text as a name for a file or folder: letters, digits, `.`, `_` and `-`."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-")[:80]


def _error_in(folder: Path) -> str:
    """Return the last error in a run's output, or its last line."""
    text = (folder / _OUTPUT_FILE).read_text(encoding="utf-8", errors="replace")
    output = text.partition("\n")[2]  # the first line is the command line
    found = _ERROR.findall(output)[-1:] or output.strip().splitlines()[-1:]
    return found[0] if found else "it ended without a word"


def _version_flags(endpoint: Endpoint, model: str) -> list[str]:
    """Return the flags for version, precision and provider of a model, if the server says them."""
    served = endpoint.says.models.get(model)
    if served is None:
        return []
    return [
        f"--version={served.version}",
        f"--precision={served.precision}",
        f"--provider={served.provider}",
    ]


def _without_header_values(command: Sequence[str]) -> list[str]:
    """Return a command line without the values of headers, which may be secret."""
    return [re.sub(r"^(--header=[^:]*:).+", r"\1...", argument) for argument in command]

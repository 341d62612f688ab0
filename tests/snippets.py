"""Reads the fenced blocks of the documentation, and runs those of one page in one shell.

CONTRIBUTING.md ("Documentation") has the rules for a block's info string.
"""

import contextlib
import json
import math
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
RUN = {"bash", "python"}
OUTPUT = {"text", "console"}
# Languages of blocks that the tests parse, unless the block is a file or an output.
DATA = {"json", "yaml", "toml", "ini"}
FILES = {*DATA, "protobuf"}
DRAWN = {"mermaid"}
PORTS = ("8500", "8501", "8502")
# A page with such a command starts its own server; all other pages call the bundled models.
STARTS = re.compile(r"^(python -m serving|tensorflow_model_server) ", re.MULTILINE)
SECONDS = 100
SLOW_SECONDS = 600


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        page: Path of the page in the repository.
        line: Line of the opening fence.
        language: First word of the info string.
        info: The rest of the info string.
        text: The lines between the fences, without the fences' indentation.
    """

    page: str
    line: int
    language: str
    info: str
    text: str

    @property
    def reason_not_to_run(self) -> str:
        """The reason in `not run: REASON`; empty if there is none."""
        return self.info.partition("not run:")[2].strip()

    @property
    def reason_to_run_rarely(self) -> str:
        """The reason in `slow: REASON`; empty if there is none."""
        return self.info.partition("slow:")[2].strip()

    @property
    def file(self) -> str:
        """The name in `title="NAME"`: the block is a file that later blocks read."""
        found = re.search(r'title="([^"]+)"', self.info)
        return found[1] if found else ""

    @property
    def runs(self) -> bool:
        """Whether a test runs the block."""
        return self.language in RUN and not self.reason_not_to_run

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: str) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    found: list[Block] = []
    opened: tuple[int, str, str] | None = None
    lines: list[str] = []
    for number, line in enumerate((ROOT / page).read_text().splitlines(), start=1):
        fence = re.match(r"^( *)(`{3,})(.*)$", line)
        if opened is None:
            if fence:
                opened, lines = (number, fence[1], fence[3]), []
        elif fence and not fence[3]:
            start, indent, words = opened
            language, _, info = words.partition(" ")
            text = "".join(line.removeprefix(indent) + "\n" for line in lines)
            found.append(Block(page, start, language, info, text))
            opened = None
        else:
            lines.append(line)
    assert opened is None, f"{page}:{opened[0]}: the block does not end"
    return found


def with_outputs(found: Sequence[Block]) -> Iterator[tuple[Block, Block | None]]:
    """Yield each block with the output block that follows it; None if it has no output."""
    for number, block in enumerate(found):
        following = found[number + 1] if number + 1 < len(found) else None
        shows = following and not following.file and following.language in {*OUTPUT, "json"}
        yield block, following if block.runs and shows else None


def free_ports() -> dict[str, str]:
    """Return a free port for each port that the documentation names."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in PORTS]
    ports = {name: str(one.getsockname()[1]) for name, one in zip(PORTS, sockets, strict=True)}
    for one in sockets:
        one.close()
    return ports


class PageRun:
    """Runs the blocks of one page in one shell, as a reader would."""

    def __init__(
        self,
        folder: Path,
        ports: Mapping[str, str],
        *,
        slow: bool,
        checkout: Path = ROOT,
        python: Path = Path(sys.executable),
    ) -> None:
        """Prepare a folder that looks like the checkout's root.

        Args:
            folder: An empty folder. Its subfolder `srv` replaces `/models` in the page, and has the
                bundled models, with a second version of simcnn that equals the first.
            ports: The ports that replace the page's ports.
            slow: Whether to run the blocks marked `slow`, too.
            checkout: The checkout whose packages and bundled models are used.
            python: The interpreter; its folder comes first in PATH.
        """
        self._folder = folder
        self._ports = ports
        self._slow = slow
        self._seconds = SLOW_SECONDS if slow else SECONDS
        self._checkout = checkout
        self._python = python
        images = np.load(ROOT / "tests/data/cifar10_sample.npz")["images"]
        Image.fromarray(images[0]).save(folder / "picture.png")  # the reader's own picture
        (folder / "tests").symlink_to(checkout / "tests")
        (folder / "models").mkdir()  # a page may publish into it
        for model in (checkout / "models").iterdir():
            (folder / "models" / model.name).symlink_to(model)
        for name, version in (("simcnn", "1"), ("simcnn", "2"), ("resnet50", "1")):
            (folder / "srv" / name).mkdir(parents=True, exist_ok=True)
            (folder / "srv" / name / version).symlink_to(checkout / "models" / name / "1")

    def check(self, found: Sequence[Block]) -> None:
        """Run the blocks and compare their outputs.

        Raises:
            AssertionError: a block failed, or its output differs from the page's.
        """
        script = ["set -euo pipefail", "trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT"]
        expected = []
        for number, (block, output) in enumerate(with_outputs(found)):
            if block.file:
                script.append(f"cat > {block.file} <<'END_OF_FILE'\n{block.text}END_OF_FILE")
            elif block.runs and (self._slow or not block.reason_to_run_rarely):
                command = _command(block, self._python)
                if command is None:
                    continue
                script.append(f"echo {number} > at")
                script.append(f"{{\n{command}\n}} > {number}.out 2> {number}.err")
                if output:
                    expected.append((number, block, output))
        ended = self._run(self._replaced("\n".join(script) + "\n"))
        at = int((self._folder / "at").read_text())
        logs = [f"{at}.out", f"{at}.err", *(log.name for log in self._folder.glob("*.log"))]
        said = "\n".join((self._folder / log).read_text()[-2000:] for log in logs)
        assert ended == 0, f"{found[at]} ended with {ended}:\n{said}"
        for number, block, output in expected:
            printed = (self._folder / f"{number}.out").read_text()
            assert same(self._replaced(output.text), printed, output.language), (
                f"{block} printed:\n{printed}\n{output} says:\n{output.text}"
            )

    def _replaced(self, text: str) -> str:
        text = re.sub(r"(?<![\w/.])/models\b", str(self._folder / "srv"), text)
        return re.sub(r"\b850[0-2]\b", lambda found: self._ports[found[0]], text)

    def _run(self, script: str) -> int | str:
        """Run a script; return its exit code, or a sentence if it did not end in time."""
        path = f"{self._python.parent}{os.pathsep}{os.environ['PATH']}"
        imports = os.pathsep.join([str(self._checkout), os.environ.get("PYTHONPATH", "")])
        process = subprocess.Popen(
            ["bash", "-c", script],
            cwd=self._folder,
            env=os.environ | {"PATH": path, "PYTHONPATH": imports, "no_proxy": "*"},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            return process.wait(self._seconds)
        except subprocess.TimeoutExpired:
            return f"no exit code within {self._seconds} s"
        finally:
            process.poll()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # servers that the page did not stop
            process.wait()


def same(expected: str, printed: str, language: str) -> bool:
    """Return whether an output is that of the page.

    `…` in the page stands for any text. Floats in JSON may differ by 0.02.
    """
    if language == "json":
        return _close(json.loads(expected), json.loads(printed))
    pattern = re.escape(expected.strip()).replace(re.escape("…"), ".*")
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None


def _close(a: object, b: object) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_close(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_close, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, abs_tol=0.02)
    return a == b


def _command(block: Block, python: Path) -> str | None:
    """Return the shell command that runs a block; None if its interpreter is not installed."""
    if block.language == "bash":
        return block.text
    if "import tritonclient" in block.text:  # `make tritonclient` installs its environment
        python = python.parents[1] / "tritonclient" / "bin" / "python"
        if not python.exists():
            return None
    return f"{python} - <<'END_OF_PYTHON'\n{block.text}END_OF_PYTHON"

"""The blocks of the documentation run, and print the outputs that the pages show."""

import configparser
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import snippets
import yaml
from running import servers

ROOT = snippets.ROOT


def pages() -> list[str]:
    """Return the pages of the documentation and the model cards, without the changelog."""
    patterns = ("docs/*.md", "deploy/*.md", "models/*/*/MODEL_CARD.md")
    found = [page for pattern in patterns for page in ROOT.glob(pattern)]
    return ["README.md", "CONTRIBUTING.md", *sorted(str(page.relative_to(ROOT)) for page in found)]


needs_commands = pytest.mark.skipif(
    not all(map(shutil.which, ("bash", "curl", "openssl"))),
    reason="the pages call bash, curl and openssl",
)
BLOCKS = {page: snippets.blocks(page) for page in pages()}


@pytest.fixture(scope="module")
def bundled() -> Iterator[str]:
    """Start a server with the bundled models; yield its port for gRPC and REST."""
    with servers.in_this_process(ROOT / "models") as address:
        yield address.rpartition(":")[2]


def run(page: str, folder: Path, request: pytest.FixtureRequest, *, slow: bool) -> None:
    starts = any(block.runs and snippets.STARTS.search(block.text) for block in BLOCKS[page])
    if starts:
        ports = snippets.free_ports()
    else:
        ports = dict.fromkeys(snippets.PORTS, request.getfixturevalue("bundled"))
    snippets.PageRun(folder, ports, slow=slow).check(BLOCKS[page])


def pages_with(*, slow: bool) -> list[str]:
    """Return the pages that have blocks marked `slow`, or those that have other blocks to run."""
    return [
        page
        for page, found in BLOCKS.items()
        if any(block.runs and bool(block.reason_to_run_rarely) is slow for block in found)
    ]


@needs_commands
@pytest.mark.parametrize("page", pages_with(slow=False))
def test_the_blocks_of_a_page_run(page, tmp_path, request):
    """The blocks of a page, run in order in one shell, succeed and print what it shows."""
    run(page, tmp_path, request, slow=False)


@needs_commands
@pytest.mark.slow
@pytest.mark.parametrize("page", pages_with(slow=True))
def test_the_slow_blocks_of_a_page_run(page, tmp_path, request):
    """All blocks of a page, including those marked `slow`, succeed and print what it shows."""
    run(page, tmp_path, request, slow=True)


@pytest.mark.parametrize("page", BLOCKS)
def test_every_block_is_run_or_output_or_has_a_reason(page):
    """Each block runs, is the output of a block, is a file or valid data, or has a reason."""
    outputs = {str(output) for _, output in snippets.with_outputs(BLOCKS[page]) if output}
    wrong = []
    for block in BLOCKS[page]:
        if "not run" in block.info and not block.reason_not_to_run:
            wrong.append(f"{block}: `not run:` without a reason")
        elif block.runs or block.reason_not_to_run or str(block) in outputs:
            continue
        elif block.language not in {*snippets.FILES, *snippets.OUTPUT, *snippets.DRAWN}:
            wrong.append(f"{block}: `{block.language}` is neither run, nor output, nor data")
        elif block.language == "protobuf" and not block.file:
            wrong.append(f'{block}: a protobuf needs a title="FILE", which a later block reads')
        elif block.language in snippets.DATA:
            parse(block)

    assert wrong == []


def parse(block: snippets.Block) -> None:
    """Parse a block of data; raise the parser's error if it is not valid."""
    match block.language:
        case "json":
            json.loads(block.text)
        case "yaml":
            yaml.safe_load(block.text)
        case "toml":
            tomllib.loads(block.text)
        case "ini":
            parser = configparser.ConfigParser(interpolation=None)
            parser.read_string(block.text)


def commands(page: str) -> list[str]:
    """Return the commands of a page's bash blocks, including blocks that are not run."""
    text = "".join(block.text for block in BLOCKS[page] if block.language == "bash")
    lines = text.replace("\\\n", " ").splitlines()
    return [line.partition(" #")[0].strip() for line in lines if not line.startswith("#")]


@pytest.mark.parametrize("page", BLOCKS)
def test_every_make_target_exists(page):
    """Each `make NAME` in a page is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    lines = [line.split() for line in commands(page) if line.startswith("make ")]
    named = {word for line in lines for word in line[1:] if re.fullmatch(r"[a-z-]+", word)}

    assert named <= targets


PROGRAM = re.compile(r"\bpython -m (serving\.\w+|serving|training|export|loadtest)\b(.*)")


@pytest.mark.parametrize("page", [page for page in BLOCKS if commands(page)])
def test_every_flag_exists(page):
    """Each flag of a program of this project is in the help of the program or its subcommand."""
    unknown = []
    for line in commands(page):
        for module, arguments in PROGRAM.findall(line):
            words = arguments.split()
            help_text = help_of(module, words[0] if words else "")
            flags = {word.partition("=")[0] for word in words if word.startswith("--")}
            unknown += [f"{flag} in {line}" for flag in flags if flag not in help_text]

    assert unknown == []


@cache
def help_of(module: str, word: str) -> str:
    """Return the help of a program, and of its subcommand if `word` is one."""
    texts = []
    for subcommand in [[word], []] if re.fullmatch(r"[a-z][a-z-]+", word) else [[]]:
        result = subprocess.run(
            [sys.executable, "-m", module, *subcommand, "--help"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if result.returncode == 0:
            texts.append(result.stdout)
    return "\n".join(texts)

"""Tests of the README: its snippets run, its commands and flags exist."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Subcommands with their own help text.
SUBCOMMANDS = {"saved-model", "benchmark", "robustness", "tables"}
DOCUMENTS = {
    name: (ROOT / name).read_text()
    for name in ("README.md", "CONTRIBUTING.md", "deploy/README.md", "docs/migration.md")
}


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def commands(text: str) -> list[str]:
    """Return the lines of all bash blocks without comments and continuations."""
    lines = "".join(blocks(text, "bash")).replace("\\\n", " ").splitlines()
    return [line.partition(" #")[0].strip() for line in lines if not line.startswith("#")]


@pytest.mark.parametrize("document", ["README.md", "docs/migration.md"])
def test_the_client_snippets_print_what_they_say(document, running_server):
    """A Python snippet, run word for word, prints the output shown below it."""
    snippet = blocks(DOCUMENTS[document], "python")[0]
    printed = blocks(DOCUMENTS[document], "text")[0]

    with running_server(ROOT / "models") as target:
        result = subprocess.run(
            [sys.executable, "-c", snippet.replace("localhost:8500", target)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert result.returncode == 0, result.stderr
    assert result.stdout == printed


def test_the_first_snippet_is_short():
    """The first snippet has at most six lines."""
    snippet = blocks(DOCUMENTS["README.md"], "python")[0]

    assert len([line for line in snippet.splitlines() if line.strip()]) <= 6


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_make_target_exists(document):
    """Each `make NAME` in a document is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = {line.split()[1] for line in commands(DOCUMENTS[document]) if line.startswith("make ")}

    assert {name for name in named if not name.startswith(".venv")} <= targets


@pytest.mark.parametrize(
    "command",
    [line for text in DOCUMENTS.values() for line in commands(text) if "python -m " in line],
)
def test_every_flag_exists(command):
    """Each flag of each `python -m` command in a document is in that command's help."""
    words = shlex.split(command)
    module = words[words.index("-m") + 1]
    subcommand = [word for word in words[words.index(module) + 1 :] if word in SUBCOMMANDS]
    flags = {word.partition("=")[0] for word in words if word.startswith("--")}

    help_text = subprocess.run(
        [sys.executable, "-m", module, *subcommand, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout

    assert {flag for flag in flags if flag not in help_text} == set()

"""The documentation is consistent with the tree: links, paths, modules, and the map of folders."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAP = ROOT / "docs" / "architecture.md"
WINGS = ("training", "export", "serving", "loadtest")


def tracked(*patterns: str) -> list[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for path in sorted(set(listed.splitlines())) if (ROOT / path).is_file()]


PAGES = tracked("*.md")
FILES = set(tracked())
FOLDERS = {str(parent) for file in FILES for parent in Path(file).parents}
# Matches what looks like a path of this repository: `serving/server.py`, `docs/`, `tests/e2e`.
TOP = "|".join(sorted({re.escape(file.split("/")[0]) for file in FILES if "/" in file}))
PATH = re.compile(rf"`((?:{TOP})/[\w./-]*)`")
MODULE = re.compile(r"\b((?:serving|training|export|loadtest)(?:\.[a-z_0-9]+)+)\b")


def without_code(text: str) -> str:
    """Return a page without its fenced blocks, which contain commands and their output."""
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, by GitHub's rules."""
    headings = re.findall(r"^#+ (.+)$", without_code(page.read_text()), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings(page):
    """Every relative link leads to a file that git tracks, and to an existing heading in it."""
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code((ROOT / page).read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (ROOT / page).parent / name if name else ROOT / page
        relative = str(file.resolve().relative_to(ROOT))
        if relative not in FILES | FOLDERS or (anchor and anchor not in anchors(file)):
            broken.append(target)

    assert broken == []


@pytest.mark.parametrize("page", PAGES)
def test_paths_are_those_of_the_tree(page):
    """Every path of this repository that a page names exists."""
    named = {path.rstrip("/") for path in PATH.findall(without_code((ROOT / page).read_text()))}
    # The reader may create further folders in models/.
    named = {path for path in named if not path.startswith("models/")}

    assert named - FILES - FOLDERS == set()


@pytest.mark.parametrize("page", PAGES)
def test_modules_are_those_of_the_tree(page):
    """Every module that a page runs with `python -m` or imports exists."""
    missing = set()
    for line in (ROOT / page).read_text().splitlines():
        for command in ("python -m ", "from ", "import "):
            for name in re.findall(rf"{command}({MODULE.pattern})", line):
                path = name[0].replace(".", "/")
                if not {f"{path}.py", path} & (FILES | FOLDERS):
                    missing.add(name[0])

    assert missing == set()


def test_nothing_installs_the_package_from_a_registry():
    """No page and no message installs the package by its name: no registry has it."""
    install = re.compile(r"install[\s\"']+onnx-serving\b")
    found = [file for file in tracked("*.md", "*.py") if install.search((ROOT / file).read_text())]

    assert found == []


@pytest.mark.parametrize("script", ["settings.py", "metrics.py", "gpu.py"])
def test_the_generated_pages_are_up_to_date(script):
    """The generated pages have every flag, every metric and every result."""
    command = [sys.executable, f"docs/{script}", "--check"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert (result.returncode, result.stderr) == (0, "")


def test_the_map_shows_every_folder():
    """docs/architecture.md lists every folder of the code, and no other."""
    shown = set(re.findall(r"^\| `([a-z_/0-9]+)` \|", MAP.read_text(), flags=re.MULTILINE))
    folders = {str(Path(file).parent) for file in tracked(*(f"{wing}/**.py" for wing in WINGS))}

    assert shown == folders


def test_the_readme_points_to_the_map():
    """The README links docs/architecture.md."""
    assert "docs/architecture.md" in (ROOT / "README.md").read_text()

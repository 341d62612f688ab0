"""Rules for the tree: small modules, in small folders with a docstring."""

import ast
import importlib.metadata
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WINGS = ("training", "export", "serving", "loadtest")
MOST_LINES = 400
MOST_MODULES = 14
# The modules directly in a package of `WINGS`; all other modules are in its folders.
TOP_MODULES = {
    "training": {
        "__main__",
        "devices",
        "environment",
        "live_line",
        "native_log",
        "plots",
        "schemas",
        "standard_streams",
        "storage",
    },
    "export": {"__main__", "arguments", "errors", "failures", "progress"},
    "serving": {
        "__main__",
        "applications",
        "client",
        "errors",
        "healthcheck",
        "model_source",
        "program",
        "schemas",
        "server",
        "services",
        "stage_times",
        "standard_streams",
        "uncancelled",
    },
    "loadtest": {
        "__main__",
        "report_data_schema",
        "report_file",
        "report_schema",
        "report_sections_schema",
        "report_traffic_schema",
    },
}


def tracked(*patterns: str) -> list[Path]:
    """Return files that git tracks, and new ones that it does not ignore, relative to the root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for path in map(Path, sorted(set(listed.splitlines()))) if (ROOT / path).is_file()]


def modules() -> list[Path]:
    """Return the modules of the four packages, without those that protoc generates."""
    return [path for path in tracked(*(f"{wing}/**.py" for wing in WINGS)) if not generated(path)]


def generated(path: Path) -> bool:
    return path.stem.endswith("_pb2")


def folders() -> set[Path]:
    """Return the folders of the four packages that contain modules."""
    return {path.parent for path in modules()}


def test_no_module_is_too_long_to_be_one_noun():
    """Every module has at most 400 lines, and so has every module of the tests."""
    long = {
        str(path): lines
        for path in [*modules(), *tracked("tests/**.py")]
        if (lines := len((ROOT / path).read_text().splitlines())) > MOST_LINES
    }

    assert long == {}


def test_no_folder_is_too_full_to_be_overseen():
    """Every folder has at most 14 modules, `__init__.py` and `__main__.py` not counted."""
    tests = [Path(path) for path in tracked("tests/**.py")]
    counted = [path for path in [*modules(), *tests] if path.stem not in ("__init__", "__main__")]
    count = Counter(path.parent for path in counted)

    assert {str(folder): n for folder, n in count.items() if n > MOST_MODULES} == {}


@pytest.mark.parametrize("wing", WINGS)
def test_a_wing_holds_folders_and_few_modules(wing):
    """The modules directly in a package are those of the list: a new module goes into a folder."""
    top = {path.stem for path in modules() if path.parent == Path(wing)}

    assert top - {"__init__"} == TOP_MODULES[wing]


def test_every_folder_says_what_it_promises():
    """Every folder has an `__init__.py` that consists of one docstring, without imports."""
    wrong = []
    for folder in folders():
        file = ROOT / folder / "__init__.py"
        body = ast.parse(file.read_text()).body if file.is_file() else []
        if len(body) != 1 or ast.get_docstring(ast.parse(file.read_text())) is None:
            wrong.append(str(folder))

    assert wrong == []


def test_no_module_has_the_name_of_a_library():
    """No module is named like one of the standard library or of an installed package.

    A file `http.py`, for example, would be misleading.
    """
    libraries = sys.stdlib_module_names | set(importlib.metadata.packages_distributions())
    libraries -= {*WINGS, "tests", "__main__", "__init__"}

    assert [str(path) for path in modules() if path.stem in libraries] == []


@pytest.mark.parametrize("wing", WINGS)
def test_one_class_name_has_one_meaning(wing):
    """Within a package, no two classes have the same name."""
    places = defaultdict(list)
    for path in modules():
        if path.parts[0] == wing:
            for node in ast.walk(ast.parse((ROOT / path).read_text())):
                if isinstance(node, ast.ClassDef):
                    places[node.name].append(str(path))

    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


def test_tests_mirror_the_folders():
    """Every folder with tests of a package is named after a folder of the package, or a module.

    The calibration of the load test is about all of its folders.
    """
    tests = {path.parent for wing in WINGS for path in tracked(f"tests/{wing}/**test_*.py")}
    places = folders() | {path.with_suffix("") for path in modules()}
    strays = {str(folder) for folder in tests if folder.relative_to("tests") not in places}

    assert strays == {"tests/loadtest/calibration"}

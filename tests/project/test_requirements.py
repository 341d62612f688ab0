"""Rules for deploy/requirements: the libraries of the images, pinned with their hashes."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "requirements"
MAKEFILE = (ROOT / "Makefile").read_text()
IMAGES = re.search(r"^IMAGES := (.*)$", MAKEFILE, re.MULTILINE)[1].split()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pinned(text: str) -> dict[Requirement, str]:
    """Return the requirements of a file, each with the options after it."""
    lines = text.replace("\\\n", " ").splitlines()
    parts = [line.partition(" --hash") for line in lines if line.strip()]
    return {Requirement(pin): hashes for pin, _, hashes in parts}


def versions(requirements) -> set[tuple[str, str]]:
    return {(canonicalize_name(one.name), str(one.specifier)) for one in requirements}


def test_every_image_has_its_file():
    """The files are those of the images that the Makefile lists."""
    assert {path.stem for path in FOLDER.glob("*.txt")} == set(IMAGES)


@pytest.mark.parametrize("image", IMAGES)
def test_the_versions_are_those_of_the_constraints(image):
    """Every library has the version of constraints.txt, and hashes; no line names an index."""
    text = (FOLDER / f"{image}.txt").read_text()
    constraints = versions(pinned((ROOT / "constraints.txt").read_text()))
    found = pinned(text)

    assert versions(found) <= constraints
    assert all("sha256:" in hashes for hashes in found.values())
    assert "://" not in text
    assert "index" not in re.sub(r"^\S+", "", text, flags=re.MULTILINE)


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_has_the_libraries_of_its_extras(image):
    """The direct dependencies of the package and of the image's extras are in its file."""
    extras = re.search(rf"^EXTRAS_{image} := (.*)$", MAKEFILE, re.MULTILINE)[1].split()
    wanted = [*PROJECT["dependencies"]]
    for extra in extras:
        wanted += PROJECT["optional-dependencies"][extra]
    names = {canonicalize_name(one.name) for one in pinned((FOLDER / f"{image}.txt").read_text())}

    assert {canonicalize_name(Requirement(text).name) for text in wanted} <= names

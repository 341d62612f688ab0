"""Tests of `make release`: in a copy of the checkout that is a repository of its own."""

import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from training import schemas

ROOT = Path(__file__).parents[2]
PACKAGES = ("training", "export", "serving", "loadtest")
# No release of this version will ever exist.
VERSION = "9.87.65"
CHANGELOG = (
    f"# Changelog\n\n## [Unreleased]\n\n## [{VERSION}] - 2026-11-27\n\n### Added\n\n- All.\n"
)
# The settings of the `make` that runs these tests must not reach the one that they run.
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("MAKE", "MFLAGS", "PYTHONPATH"))
} | {
    "GIT_AUTHOR_NAME": "A",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "A",
    "GIT_COMMITTER_EMAIL": "a@example.org",
    "GIT_CONFIG_GLOBAL": "/dev/null",
}


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def release(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "deploy/release.py", "--sbom-python=missing", *arguments],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A repository with one commit: what a release is made of, with a version of its own."""
    folder = tmp_path / "checkout"
    command = ("ls-files", "--cached", "--others", "--exclude-standard")
    for file in sorted(set(git(ROOT, *command).splitlines())):
        if file.split("/")[0] not in {"models", "tests", "docs"} and (ROOT / file).is_file():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes((ROOT / file).read_bytes())
            (folder / file).chmod((ROOT / file).stat().st_mode)
    project = folder / "pyproject.toml"
    lines = project.read_text().splitlines(keepends=True)
    project.write_text(
        "".join(
            f'version = "{VERSION}"\n' if line.startswith("version = ") else line for line in lines
        )
    )
    (folder / "CHANGELOG.md").write_text(CHANGELOG)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "All")
    return folder


def untracked(folder: Path) -> None:
    (folder / "notes.txt").touch()


def tagged(folder: Path) -> None:
    git(folder, "tag", f"v{VERSION}")


def without_section(folder: Path) -> None:
    (folder / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n\n- All.\n")
    git(folder, "commit", "--quiet", "--all", "--message", "No section")


def with_an_empty_section(folder: Path) -> None:
    text = CHANGELOG.partition("### Added")[0] + "## [0.0.1] - 2026-01-01\n\n- Some.\n"
    (folder / "CHANGELOG.md").write_text(text)
    git(folder, "commit", "--quiet", "--all", "--message", "Empty")


def with_another_version(folder: Path) -> None:
    project = folder / "pyproject.toml"
    project.write_text(project.read_text().replace(VERSION, f"{VERSION}.dev1"))
    (folder / "CHANGELOG.md").write_text(CHANGELOG.replace(VERSION, f"{VERSION}.dev1"))
    git(folder, "commit", "--quiet", "--all", "--message", "Version")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (untracked, "the working tree differs from the last commit in 1 files (notes.txt); commit"),
        (tagged, f"the tag v{VERSION} exists already; set the next version"),
        (without_section, f'CHANGELOG.md has no section "## [{VERSION}] - YYYY-MM-DD"; put its'),
        (with_an_empty_section, f"the section [{VERSION}] of CHANGELOG.md is empty; say"),
        (with_another_version, f"the version {VERSION}.dev1, expected MAJOR.MINOR.PATCH; change"),
    ],
)
def test_a_release_is_refused_in_one_line(checkout, change, words):
    """A release that must not be made ends with exit code 2, and leaves no file and no tag."""
    change(checkout)
    tags = git(checkout, "tag")

    done = release(checkout, "--images")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert words in done.stderr
    assert not (checkout / "build").exists()
    assert git(checkout, "tag") == tags


def test_every_obstacle_is_named_at_once(checkout):
    """A tree with three obstacles gets three lines."""
    without_section(checkout)
    tagged(checkout)
    untracked(checkout)

    done = release(checkout, "--images")

    assert done.stderr.count("error: ") == done.stderr.count("\n") == 3


def test_images_need_an_engine(checkout, tmp_path):
    """Without a Docker engine a release with images is refused before anything is built."""
    environment = ENVIRONMENT | {"DOCKER_HOST": f"unix://{tmp_path}/no-engine"}
    done = subprocess.run(
        [sys.executable, "deploy/release.py", "--sbom-python=missing"],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 2
    assert "no Docker engine answers `docker info`; start one" in done.stderr
    assert not (checkout / "build").exists()


def test_the_page_has_the_schema_versions_of_the_code():
    """The table in docs/releases-policy.md has one row for each schema, with its versions."""
    page = (ROOT / "docs" / "releases-policy.md").read_text()
    rows = re.findall(
        r"^\| .* \| `(schema_version|format)` \| (\d+) \| ([\d, ]+) \|$", page, re.MULTILINE
    )
    known = [schema for schema in vars(schemas).values() if isinstance(schema, schemas.Schema)]

    assert Counter((field, int(written), read) for field, written, read in rows) == Counter(
        (
            schema.field,
            schema.newest,
            ", ".join(map(str, range(schema.oldest, schema.newest + 1))),
        )
        for schema in known
    )


@pytest.mark.network
@pytest.mark.timeout(1200)
def test_a_dry_run_makes_and_checks_everything_but_images_and_tag(checkout, tmp_path):
    """`make release DRY_RUN=1` builds and checks the wheel, and leaves no tag and no image."""
    done = subprocess.run(
        ["make", "release", "DRY_RUN=1", f"VENV={tmp_path}/venv", f"PYTHON={sys.executable}"],
        cwd=checkout,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=1100,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    output = checkout / "build" / "release" / "dry-run"
    check_files(checkout, output)
    assert f"serving: onnx-serving {VERSION}, ONNX Runtime" in done.stdout
    assert "tensorflow_model_server: TensorFlow ModelServer: " in done.stdout
    wanted = [line.partition("would run: ")[2] for line in done.stdout.splitlines()]
    wanted = [line for line in wanted if line]
    for stage, suffix in (("serving-cpu", ""), ("serving-gpu", "-gpu"), ("training", "-training")):
        image = f"onnx-serving:{VERSION}{suffix}"
        assert any(f"--target {stage} --tag {image} " in line for line in wanted)
        assert f"docker tag {image} onnx-serving:9.87{suffix}" in wanted
    assert any(f"v{VERSION}" in line and line.startswith("git tag --annotate") for line in wanted)
    assert git(checkout, "tag") == ""
    assert git(checkout, "status", "--porcelain") == ""


def check_files(checkout: Path, output: Path) -> None:
    """Check distributions, bills and sums of a release."""
    wheel = output / f"onnx_serving-{VERSION}-py3-none-any.whl"
    source = output / f"onnx_serving-{VERSION}.tar.gz"
    assert {file.name for file in output.iterdir()} == {
        *(wheel.name, source.name, "sbom", "SHA256SUMS")
    }
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    tops = {name.split("/")[0] for name in packed}
    assert tops == {*PACKAGES, f"onnx_serving-{VERSION}.dist-info"}
    needed = {
        *(f"{package}/py.typed" for package in PACKAGES),
        *("loadtest/report.schema.json", "loadtest/matrix/matrix.toml"),
        *("serving/protos/tensorflow.proto", "serving/protos/tensorflow_pb2.pyi"),
        *("training/pages/templates/base.html", "loadtest/reports/pages/report.html"),
        *(f"onnx_serving-{VERSION}.dist-info/{name}" for name in ("METADATA", "entry_points.txt")),
        f"onnx_serving-{VERSION}.dist-info/licenses/LICENSE",
    }
    assert needed <= packed
    assert not any(name.startswith(("tests/", "models/")) for name in packed)
    with tarfile.open(source) as archive:
        folders = {name.split("/")[1] for name in archive.getnames() if name.count("/") > 1}
    assert folders == {*PACKAGES, "onnx_serving.egg-info"}
    bill = json.loads((output / "sbom" / "serving-cpu.cdx.json").read_text())
    assert bill["metadata"]["component"]["version"] == VERSION
    sums = dict(
        reversed(line.split("  ")) for line in (output / "SHA256SUMS").read_text().splitlines()
    )
    assert sums == {
        file.relative_to(output).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in output.rglob("*")
        if file.is_file() and file.name != "SHA256SUMS"
    }

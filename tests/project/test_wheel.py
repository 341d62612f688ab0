"""The wheel contains all files of the packages, and works outside the checkout."""

import os
import signal
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WINGS = ("training", "export", "serving", "loadtest")
PACKAGED = (
    *(
        "*.py",
        "*.css",
        "*.html",
        "*.js",
        "*.png",
        "*.schema.json",
        "*.svg",
        "*.toml",
        "*.proto",
        "*.pyi",
    ),
    "py.typed",
)


def git_files() -> list[str]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for path in sorted(set(listed.splitlines())) if (ROOT / path).is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The built wheel; it is built from a copy, because a build leaves folders in its source."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for file in git_files():
        if file.split("/")[0] in {*WINGS, "pyproject.toml", "README.md", "LICENSE"}:
            (source / file).parent.mkdir(parents=True, exist_ok=True)
            (source / file).write_bytes((ROOT / file).read_bytes())
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(source)),
        ],
        check=True,
        capture_output=True,
        timeout=100,
    )
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_every_file_of_the_packages(wheel):
    """The wheel contains every module, style sheet, table, proto and stub, and no other file."""
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}

    wanted = {
        file
        for file in git_files()
        if file.split("/")[0] in WINGS and any(Path(file).match(pattern) for pattern in PACKAGED)
    }
    assert packed == wanted
    assert {f"{wing}/py.typed" for wing in WINGS} <= packed


@pytest.mark.slow
def test_the_wheel_works_outside_the_checkout(wheel, tmp_path):
    """In a fresh environment the server becomes ready, and two other commands show their help."""
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=True)
    python = str(environment / "bin" / "python")
    subprocess.run(
        [
            *(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("-c", str(ROOT / "constraints.txt"), f"{wheel}[serve,loadtest]"),
        ],
        check=True,
        timeout=600,
    )
    outside = tmp_path / "outside"
    outside.mkdir()
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    for package in ("loadtest", "export"):
        text = subprocess.run(
            [python, "-m", package, "--help"],
            cwd=outside,
            env=variables,
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout
        assert f"python -m {package}" in text
    command = [python, "-m", "serving", "--models_dir", str(ROOT / "models"), "--port", "0"]
    with subprocess.Popen(
        [*command, "--host", "127.0.0.1"],
        cwd=outside,
        env=variables,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stderr is not None
        lines = []
        for line in server.stderr:
            lines.append(line)
            if "ready: " in line:
                break
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)

    assert "ready: resnet50, simcnn" in lines[-1], "".join(lines)
    assert server.returncode == 0

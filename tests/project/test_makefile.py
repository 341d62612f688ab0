"""The lines that `make` prints before long work: sizes, times, and the tests left out."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# The settings of the `make` that runs these tests must not reach the one that they run.
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith(("MAKE", "MFLAGS", "TEST_MARKERS", "PYTEST_ARGS"))
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def would_run(target: str, *settings: str, folder: Path) -> list[str]:
    """Return the commands that make would run for a target in a fresh environment."""
    command = ["make", "--dry-run", target, f"VENV={folder}/venv", *settings]
    done = subprocess.run(
        command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize("extra", ["serve", "loadtest", "train", "export", "dev"])
def test_an_environment_says_its_size_and_time_before_pip_starts(extra, tmp_path):
    """A line with size and time comes before the pip command, and pip is not quiet."""
    commands = would_run(f"{tmp_path}/venv/.{extra}", folder=tmp_path)

    pip = next(i for i, line in enumerate(commands) if f"'.[{extra}]'" in line)
    said = commands[pip - 1]
    assert re.search(rf"Installing the extra {extra} into .*: .* [MG]B, .*minute", said)
    assert " -q" not in commands[pip]
    assert "PIP_CERT" in commands[pip]


def test_the_tests_say_what_they_leave_out(tmp_path):
    """`make test` names every group that it leaves out with its target, and PYTEST_ARGS."""
    said = [line for line in would_run("test", folder=tmp_path) if line.startswith("echo")]
    markers = [marker.split(":")[0] for marker in PROJECT["tool"]["pytest"]["markers"]]

    text = "\n".join(said)
    assert all(f"{marker}: make " in text for marker in markers)
    assert "PYTEST_ARGS=" in text
    assert "minutes on 2 cores" in text


def test_a_chosen_group_leaves_out_nothing(tmp_path):
    """`make test-docker` does not list other groups."""
    commands = would_run("test", "TEST_MARKERS=docker", folder=tmp_path)

    assert "echo 'Tests with the marks: docker'" in commands
    assert not any("left out" in line for line in commands)


def test_pip_fails_with_a_reason(tmp_path):
    """If pip fails, make says which settings a network may need, and fails."""
    command = ["make", f"{tmp_path}/venv/.serve", f"VENV={tmp_path}/venv"]
    (tmp_path / "venv/bin").mkdir(parents=True)
    python = tmp_path / "venv/bin/python"
    python.write_text("#!/bin/sh\necho 'ERROR: ResolutionImpossible' >&2\nexit 1\n")
    python.chmod(0o755)
    done = subprocess.run(
        command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert "ResolutionImpossible" in done.stderr
    assert "re-signs TLS, set PIP_CERT" in done.stdout
    assert not (tmp_path / "venv/.serve").exists()


@pytest.mark.parametrize("program", ["apt-get", "dpkg-deb"])
def test_tests_run_without_prometheus(tmp_path, program):
    """If Debian's package cannot be had, a line says what is skipped, and make goes on."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("apt-get", "dpkg-deb"):
        fails = name == program
        (programs / name).write_text(
            f"#!/bin/sh\n{'exit 100' if fails else 'touch prometheus_2.deb'}\n"
        )
        (programs / name).chmod(0o755)
    command = ["make", "prometheus", f"VENV={tmp_path}/venv"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=ENVIRONMENT | {"PATH": f"{programs}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "The tests that need it are skipped" in done.stdout
    assert not (tmp_path / "venv/.prometheus").exists()


def test_the_kit_for_a_rented_gpu_gets_its_limits(tmp_path):
    """UPLOAD_MB and MINUTES reach the command that packs the kit; without them it has its own."""
    given = would_run("gpu-kit", "UPLOAD_MB=32", "MINUTES=20", folder=tmp_path)
    default = would_run("gpu-kit", folder=tmp_path)

    assert any(line.endswith("tests/gpu pack --upload-mb 32 --minutes 20") for line in given)
    assert any(line.strip().endswith("tests/gpu pack") for line in default)

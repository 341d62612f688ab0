"""Tests of the load test's commands against a server with mutual TLS, over every transport."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.transports.catalogue import DISCOVERIES

SECRET = "correct-horse-battery"  # noqa: S105 - the made-up key in the file `api-key`


def everything_written(folder: Path) -> str:
    """Return the text of all files of a report."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return "".join(path.read_bytes().decode(errors="replace") for path in files)


@pytest.mark.parametrize("transport", sorted(DISCOVERIES))
def test_a_run_over_mutual_tls(run, secure, transport):
    """Every transport measures a server with mutual TLS; the report says so, and has no secret."""
    measured = run(
        *("--target", secure.address(transport), "--model", "echo", "--transport", transport),
        *(*secure.flags, f"--api-key-file={secure.folder / 'api-key'}"),
        *("--users", 2, "--requests", 20, "--processes", 2, "--header", f"x-secret: {SECRET}"),
    )
    written = everything_written(measured.folder) + measured.stdout + measured.stderr

    assert measured.exit_code == 0, measured.stderr
    assert measured.report.tls
    assert measured.report.requests.answered == 20
    assert measured.report.model.precision == "fp32"  # from the metrics page, over TLS
    assert f"{transport} over TLS" in measured.stdout
    assert measured.report.manifest.settings["connection"] == {
        "tls": True,
        "ca": "ca",
        "cert": "cert",
        "key": "key",
        "compression": None,
    }
    assert SECRET not in written


def test_a_run_without_the_certificate_says_what_is_missing(run, secure):
    """A server that demands a certificate is a usage error that names the flags; gRPC is silent."""
    ca = secure.flags[0]
    refused = run("--target", secure.rpc, "--model", "echo", ca, "--requests", 1)

    assert refused.exit_code == 2
    (line,) = refused.stderr.splitlines()[1:]
    assert line.startswith(f"error: {secure.rpc} demands a client certificate")
    assert line.endswith("and this run has none; add --cert FILE and --key FILE")


@pytest.mark.slow
def test_find_capacity_and_floor_over_mutual_tls(run, secure):
    """The search uses the connection in every step; the null server of --floor needs no TLS."""
    found = run(
        *("--target", secure.rpc, "--model", "echo", *secure.flags, "--slo-ms", 2000),
        *("--step-seconds", 0.2, "--confirm-seconds", 0.2, "--start-rate", 300, "--max-steps", 1),
        command="find-capacity",
    )
    floor = run(
        *("--target", secure.rpc, "--model", "echo", *secure.flags, "--requests", 5, "--floor")
    )

    assert found.report.capacity.steps
    assert found.report.requests.failed == 0
    assert floor.exit_code == 0, floor.stderr
    assert floor.report.floor.n > 0


def test_a_matrix_measures_a_running_server_with_tls(secure, data_dir, image_models_dir, tmp_path):
    """The runs of a matrix get the connection of its command line, and no file shows a header."""
    (tmp_path / "m.toml").write_text(
        f"""models = ["echo"]
        [[targets]]
        address = "{secure.rpc}"
        [[scenarios]]
        users = 1
        requests = 5
        """
    )
    folder = tmp_path / "report"
    finished = subprocess.run(
        [
            *(sys.executable, "-m", "loadtest", "matrix", str(tmp_path / "m.toml")),
            *("--no-record", f"--data-dir={data_dir}", f"--output-dir={folder}", *secure.flags),
            f"--header=x-secret:{SECRET}",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        env=os.environ | {"LOADTEST_API_KEY": SECRET},
    )
    document = json.loads((folder / "report.json").read_text())
    written = everything_written(folder) + finished.stdout + finished.stderr

    assert finished.returncode == 0, finished.stderr
    assert [result["report"]["requests"]["answered"] for result in document["results"]] == [5]
    assert "over TLS" in (folder / "report.html").read_text()
    assert SECRET not in written


def test_a_matrix_without_the_connections_flags_says_which_are_missing(run, secure, tmp_path):
    """A running server that cannot be asked for its models because of TLS is one line."""
    (tmp_path / "m.toml").write_text(
        f"""[[targets]]
        address = "{secure.rest}"
        [[scenarios]]
        requests = 5
        """
    )
    refused = run(tmp_path / "m.toml", "--no-record", command="matrix")

    assert refused.exit_code == 2
    assert refused.stderr.startswith(f"error: {secure.rest} speaks TLS, and this run plain text")
    assert refused.stderr.count("\n") == 1

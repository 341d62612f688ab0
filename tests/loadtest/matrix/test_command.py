import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from loadtest.reports.collection import read


def test_runs_take_turns_and_end_in_one_report(matrix_toml, run_matrix):
    """Two models with two repeats run A B A B, each repeat with its own order of images."""
    file = matrix_toml("""
        name = "turns"
        repeats = 2
        models = ["cat", "echo", "nobody"]
        [defaults]
        warmup-requests = 1
        [[targets]]
        name = "here"
        serve = ["--instances=1"]
        [[scenarios]]
        users = 2
        requests = 400  # the kernel counts CPU time in steps of 10 ms
        [[scenarios]]
        requests = 12
        models = ["picky"]
    """)

    exit_code, stdout, stderr, folder = run_matrix(file, "--json")

    document = read(folder)
    results = document.results
    reports = [result.report for result in results]
    order = [(report.model.name, report.scenario.kind) for report in reports]
    assert order == [("cat", "users"), ("echo", "users"), ("cat", "users"), ("echo", "users")]
    assert [report.scenario.seeds["order"] for report in reports] == [0, 0, 1, 1]
    assert {report.model.provider for report in reports} == {"CPUExecutionProvider"}
    assert {report.model.precision for report in reports} == {"fp32"}
    assert all(result.target == "here" for result in results)
    assert all(result.server_process.cpu_us_per_request > 0 for result in results)
    assert all((Path(result.folder) / "raw.npz").is_file() for result in results)
    assert document.not_measured == ["nobody: served by none of the targets"]
    assert exit_code == 1, stderr
    assert "[4/4, " in stderr
    assert json.loads(stdout.splitlines()[-1])["name"] == "turns"
    assert "turns" in (folder / "report.html").read_text()


def test_a_running_server_takes_the_place_of_the_targets(matrix_toml, run_matrix, image_target):
    """With --target every run goes to that server, and no server is started."""
    file = matrix_toml("""
        models = ["cat"]
        [[targets]]
        serve = ["--no-such-flag"]
        [[scenarios]]
        scenario = "single-stream"
        requests = 12
    """)

    exit_code, _, stderr, folder = run_matrix(file, f"--target={image_target}", "--repeats=1")

    result = read(folder).results[0]
    assert exit_code == 0, stderr
    assert result.target == result.report.target == image_target
    assert result.server_process is None
    assert not (folder / "servers").exists()


def test_a_scenario_may_name_its_rows(matrix_toml, image_target, tmp_path):
    """Without a data set, and with records of the test images, synthetic images are sent."""
    file = matrix_toml(f"""
        models = ["cat"]
        [[targets]]
        address = "{image_target}"
        [[scenarios]]
        scenario = "single-stream"
        synthetic = 12
    """)

    finished = subprocess.run(
        [
            *(sys.executable, "-m", "loadtest", "matrix", str(file), "--repeats=1"),
            *("--models-dir=records", f"--output-dir={tmp_path / 'report'}"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        env=os.environ | {"CIFAR10_DIR": ""},
    )

    assert finished.returncode == 0, finished.stderr
    (result,) = read(tmp_path / "report").results
    assert result.report.manifest.data.source == "synthetic, seed 0"
    assert result.report.mismatches.compared == 12


def test_a_run_that_fails_leaves_the_others_alone(matrix_toml, run_matrix, image_target):
    """The report quotes the error of the failed run, and the other runs are measured."""
    file = matrix_toml(f"""
        models = ["cat"]
        [[targets]]
        address = "{image_target}"
        [[scenarios]]
        requests = 12
        baseline = "/nowhere/report.json"
        [[scenarios]]
        scenario = "single-stream"
        requests = 12
    """)

    exit_code, _, _, folder = run_matrix(file)

    document = read(folder)
    assert exit_code == 1
    assert len(document.results) == 1
    assert len(document.not_measured) == 1
    assert "repeat 1" in document.not_measured[0]
    assert "/nowhere/report.json" in document.not_measured[0]


def test_what_was_measured_is_kept_when_somebody_stops_it(
    matrix_toml, start_matrix, wait_for_run, image_target
):
    """After Ctrl-C the report holds the first run, and the second up to the interruption."""
    file = matrix_toml(f"""
        models = ["cat"]
        [[targets]]
        address = "{image_target}"
        [[scenarios]]
        scenario = "single-stream"
        requests = 12
        [[scenarios]]
        duration = 300
        [[scenarios]]
        requests = 12
    """)
    process, folder = start_matrix(file)
    wait_for_run(folder, 2)
    os.kill(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=240)

    document = read(folder)
    assert process.returncode == 1, stderr
    assert document.stop_reason == "interrupted by SIGINT"
    assert [result.report.status for result in document.results] == [*("complete", "interrupted")]
    assert "1 of 1 repeats left out" in document.not_measured[0]


def test_a_matrix_without_records_fails_with_the_reason_on_its_last_line(
    matrix_toml, image_target, data_dir, tmp_path
):
    """A mistyped --models-dir compares nothing: exit code 1, and the last line names the file."""
    file = matrix_toml(f"""
        models = ["cat"]
        [[targets]]
        address = "{image_target}"
        [[scenarios]]
        scenario = "single-stream"
        requests = 12
    """)
    folder = tmp_path / "report"

    finished = subprocess.run(
        [
            *(sys.executable, "-m", "loadtest", "matrix", str(file), "--repeats=1"),
            *("--models-dir=modles", f"--data-dir={data_dir}", f"--output-dir={folder}"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )

    assert finished.returncode == 1
    last = finished.stderr.splitlines()[-1]
    assert last.startswith(f"failed: cat fp32 on {image_target}: ")
    assert "modles/cat/1/metrics.json" in last

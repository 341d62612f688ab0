import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import load_reports
import pytest

from loadtest.matrix import command as matrix
from loadtest.matrix import execution as matrix_run
from loadtest.matrix import file as matrix_file
from loadtest.reports.collection import read
from loadtest.reports.pages import files
from loadtest.servers import description, local
from loadtest.settings.config import UsageError

RUN_SECONDS = 240

METRICS_PAGE = """\
# HELP :tensorflow:serving:request_count The total number of requests.
:tensorflow:serving:request_count{model_name="cat",status="OK"} 7
onnx_serving_batches{model_name="cat",version="1",device="cpu",precision="fp32"} 3
onnx_serving_batches{model_name="cat",version="12",device="cuda",precision="w8"} 3
onnx_serving_batches{model_name="cat",version="2",device="cpu",precision="fp32"} 3
onnx_serving_build_info{version="0.1.0",onnxruntime_version="1.32.0",provider="CPU"} 1
"""


@pytest.fixture
def matrix_toml(tmp_path):
    """Writes a matrix file."""

    def write(text: str) -> Path:
        file = tmp_path / "matrix.toml"
        file.write_text(textwrap.dedent(text))
        return file

    return write


@pytest.fixture
def start_matrix(image_models_dir, data_dir, tmp_path):
    """Starts `python -m loadtest matrix` on the tiny data set; gives process and report folder."""
    processes = []

    def start(file: Path, *arguments: str) -> tuple[subprocess.Popen[str], Path]:
        folder = tmp_path / "report"
        flags = (f"--models-dir={image_models_dir}", f"--data-dir={data_dir}")
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "loadtest", "matrix", str(file), *flags),
                *(f"--output-dir={folder}", *arguments),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process, folder

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def run_matrix(start_matrix):
    """Runs it to its end; gives the exit code, what it printed to both outputs, and the folder."""

    def run(file: Path, *arguments: str) -> tuple[int, str, str, Path]:
        process, folder = start_matrix(file, *arguments)
        stdout, stderr = process.communicate(timeout=RUN_SECONDS)
        return process.returncode, stdout, stderr, folder

    return run


def test_lists_make_a_run_for_each_combination(matrix_toml):
    """Two batches times two rates are four scenarios, defaults included in each."""
    file = matrix_toml("""
        repeats = 2
        [defaults]
        requests = 10
        floor = true
        server-timing = false
        [[targets]]
        address = "localhost:8500"
        [[scenarios]]
        scenario = "server"
        batch = [1, 4]
        rate = [10, 20.5]
        models = ["cat"]
    """)

    read_matrix = matrix_file.read(file)

    assert [str(scenario) for scenario in read_matrix.scenarios] == [
        f"run --requests=10 --floor --scenario=server --batch={batch} --rate={rate}"
        for batch in (1, 4)
        for rate in ("10", "20.5")
    ]
    assert read_matrix.scenarios[0].models == ("cat",)
    assert (read_matrix.name, read_matrix.repeats) == ("matrix", 2)


HEAD = '[[targets]]\naddress = "localhost:8500"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("repeats = ", "cannot read a matrix from", id="no-toml"),
        pytest.param("[[scenarios]]\n", "no [[targets]]", id="no-targets"),
        pytest.param(HEAD, "no [[scenarios]]", id="no-scenarios"),
        pytest.param("repeat = 3\n" + HEAD + "[[scenarios]]\n", "repeat of the file", id="typo"),
        pytest.param("repeats = 0\n" + HEAD + "[[scenarios]]\n", "repeats 0", id="no-repeats"),
        pytest.param('repeats = "3"\n' + HEAD, "'3', expected int", id="text-for-a-number"),
        pytest.param('[[targets]]\nname = "x"\n', "either address or serve", id="no-server"),
        pytest.param('[[targets]]\naddress = "x"\n', "expected HOST:PORT", id="address"),
        pytest.param(
            '[[targets]]\naddress = "x:1"\nprecisions = ["w8"]\n',
            "precisions of targets 1 cannot be chosen",
            id="precision-of-others",
        ),
        pytest.param(
            HEAD + HEAD + "[[scenarios]]\n", "expected different names", id="equal-targets"
        ),
        pytest.param(
            HEAD + '[[scenarios]]\ncommand = "web"\n', "'web', expected run or", id="command"
        ),
        pytest.param(
            HEAD + '[[scenarios]]\nmodel = "cat"\n', "model of scenarios 1: the matrix", id="own"
        ),
        pytest.param(
            HEAD + "[[scenarios]]\nrats = 5\n",
            "as said above: run --rats=5",
            id="unknown-flag",
        ),
    ],
)
def test_a_matrix_that_cannot_be_right_is_refused_before_anything_starts(matrix_toml, text, words):
    """The message names the file and the place in it."""
    file = matrix_toml(text)

    with pytest.raises(UsageError) as refused:
        matrix_file.read(file)

    assert words in str(refused.value)
    assert str(file) in str(refused.value)


def test_the_shipped_matrix_is_right():
    """Every command line that it leads to is one that the commands accept."""
    shipped = matrix_file.read(matrix.DEFAULT_FILE)

    assert shipped.repeats >= 3
    assert shipped.max_seconds is not None
    assert shipped.max_seconds < 600
    assert [target.serve for target in shipped.targets] == [()]


def test_the_latest_version_is_read_from_the_metrics_page():
    """Model, precision and provider of the highest version, and the server's versions."""
    says = description.read(METRICS_PAGE)

    assert says.models == {"cat": description.ServedModel(12, "w8", "CUDAExecutionProvider")}
    assert says.versions == {"onnx-serving": "0.1.0", "onnxruntime": "1.32.0"}


def test_another_server_says_nothing():
    """A server without that page, or none at all, is no error."""
    assert description.ask("localhost:1") == description.Served({}, {})
    assert description.read("<html>404</html>") == description.Served({}, {})


def test_a_real_server_says_what_it_serves(image_target):
    """This project's server has the page on its gRPC port."""
    says = description.ask(image_target)

    assert says.models["cat"] == description.ServedModel(1, "fp32", "CPUExecutionProvider")
    assert set(says.models) == {"cat", "echo", "picky"}
    assert says.versions["onnxruntime"][0].isdigit()


def test_a_server_is_started_watched_and_stopped(image_models_dir, tmp_path):
    """It answers while the block runs, its use is counted, and it is gone afterwards."""
    log = tmp_path / "servers" / "server.log"

    with local.started(image_models_dir, ["--instances=1"], log) as server:
        says, before = description.ask(server.address), server.usage()
        section = server.section(before, requests=0, provider="CPUExecutionProvider")

    assert "cat" in says.models
    assert before.cpu_seconds > 0
    assert section["memory_bytes"] > 10 * 2**20
    assert section["cpu_us_per_request"] is None
    assert section["flags"] == ["--instances=1"]
    assert description.ask(server.address) == description.Served({}, {})
    assert "ready: " in log.read_text()


def test_a_server_that_cannot_start_is_named_with_its_own_words(tmp_path):
    """The last line of its log says why."""
    with (
        pytest.raises(UsageError, match=r"ended at once: .*nowhere") as refused,
        local.started(tmp_path / "nowhere", [], tmp_path / "server.log"),
    ):
        pass

    assert str(tmp_path / "server.log") in str(refused.value)


def test_the_gpu_is_what_nvidia_smi_says(tmp_path, monkeypatch):
    """Name, driver and used memory of the first one; none without the program."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert local.gpu() is None
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA H200, 580.1, 1024'\necho 'other, 1, 2'\n")
    program.chmod(0o755)

    gpu = local.gpu()

    assert gpu == {"name": "NVIDIA H200", "driver": "580.1", "memory_used_bytes": 2**30}


def test_runs_take_turns_and_end_in_one_report(matrix_toml, run_matrix):
    """Two models, twice: A B A B, each repeat with an order of images of its own."""
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
    results = document["results"]
    reports = [result["report"] for result in results]
    order = [(report["model"]["name"], report["scenario"]["kind"]) for report in reports]
    assert order == [("cat", "users"), ("echo", "users"), ("cat", "users"), ("echo", "users")]
    assert [report["scenario"]["seeds"]["order"] for report in reports] == [0, 0, 1, 1]
    assert {report["model"]["provider"] for report in reports} == {"CPUExecutionProvider"}
    assert {report["model"]["precision"] for report in reports} == {"fp32"}
    assert all(result["target"] == "here" for result in results)
    assert all(result["server_process"]["cpu_us_per_request"] > 0 for result in results)
    assert all((Path(result["folder"]) / "raw.npz").is_file() for result in results)
    assert document["not_measured"] == ["nobody: served by none of the targets"]
    assert exit_code == 1, stderr
    assert "[4/4, " in stderr
    assert json.loads(stdout.splitlines()[-1])["name"] == "turns"
    assert "turns" in (folder / "report.html").read_text()


def test_a_running_server_takes_the_place_of_the_targets(matrix_toml, run_matrix, image_target):
    """--target sends every run there, and starts nothing."""
    file = matrix_toml("""
        models = ["cat"]
        [[targets]]
        serve = ["--no-such-flag"]
        [[scenarios]]
        scenario = "single-stream"
        requests = 12
    """)

    exit_code, _, stderr, folder = run_matrix(file, f"--target={image_target}", "--repeats=1")

    result = read(folder)["results"][0]
    assert exit_code == 0, stderr
    assert result["target"] == result["report"]["target"] == image_target
    assert result["server_process"] is None
    assert not (folder / "servers").exists()


def test_a_run_that_fails_leaves_the_others_alone(matrix_toml, run_matrix, image_target):
    """Its error is in the report, with the words that the run itself gave."""
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
    assert len(document["results"]) == 1
    assert len(document["not_measured"]) == 1
    assert "repeat 0" in document["not_measured"][0]
    assert "/nowhere/report.json" in document["not_measured"][0]


@pytest.fixture
def execution(tmp_path):
    """Makes runs of one model within 100 seconds, each of which "takes" 30 and measures nothing."""
    target = matrix_file.Target("here", "localhost:1", (), (matrix_file.AUTO,))
    scenario = matrix_file.MatrixScenario("run", ("--requests=12",), None)
    plan = matrix_file.Matrix("timed", 5, 100, None, (target,), (scenario,))
    endpoint = matrix_run.Endpoint(target, "localhost:1", description.Served({}, {}), None)
    clock = [0.0]

    class Timed(matrix_run.Execution):
        def _execute(self, command, folder):
            files.write_run(load_reports.report(), folder)
            clock[0] += 30
            return ""

    runs = [matrix_run.MatrixRun(endpoint, "cat", scenario, repeat) for repeat in range(5)]
    return Timed(plan, tmp_path, models_dir=tmp_path, data_dir=None), runs, clock


def test_no_run_starts_that_would_not_end_in_time(execution, monkeypatch):
    """After three runs of 30 seconds there is no time for a fourth in 100; two are left out."""
    executed, runs, clock = execution
    monkeypatch.setattr(matrix_run.time, "monotonic", lambda: clock[0])
    executed._started = 0.0

    executed.run_all(runs)

    assert len(executed.results) == 3
    assert executed.not_measured == [
        "cat on here: run --requests=12: 2 of 5 repeats left out, 100 seconds are over"
    ]
    assert not executed.complete


def test_a_run_that_goes_on_for_too_long_is_ended(execution):
    """When the time is up the run gets the signal that lets it write what it has."""
    executed, _, _ = execution
    executed._started -= 99.5
    with subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(300)"], stderr=subprocess.DEVNULL
    ) as child:
        executed._wait(child)

    assert child.returncode != 0
    assert executed.stop_reason == "100 seconds are over"


def test_what_was_measured_is_kept_when_somebody_stops_it(matrix_toml, start_matrix, image_target):
    """After Ctrl-C the first run is in the report, the second as far as it came."""
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
    _wait_for(lambda: "requests finished" in _output(folder, "runs/002-*/output.txt"))
    os.kill(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=RUN_SECONDS)

    document = read(folder)
    assert process.returncode == 1, stderr
    assert document["stop_reason"] == "interrupted by SIGINT"
    assert [result["report"]["status"] for result in document["results"]] == [
        *("complete", "interrupted")
    ]
    assert "1 of 1 repeats left out" in document["not_measured"][0]


def _output(folder: Path, pattern: str) -> str:
    return "".join(file.read_text() for file in folder.glob(pattern))


def _wait_for(condition) -> None:
    deadline = time.monotonic() + RUN_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)

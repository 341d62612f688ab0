"""Tests of `python -m serving.client` on a server with the bundled SimCNN, and on tiny models."""

import io
import json
import subprocess
import sys
from pathlib import Path

import certificates
import numpy as np
import pytest
from image_files import png
from PIL import Image
from running import servers

from serving.clients.commands import program

ROOT = Path(__file__).parents[4]
BUNDLED = ROOT / "models"


@pytest.fixture(scope="module")
def classifier():
    """Address of a server with the bundled SimCNN."""
    with servers.in_this_process(
        None, model_base_path=BUNDLED / "simcnn", model_name="simcnn"
    ) as address:
        yield address


@pytest.fixture
def folder(tmp_path, sample_images, monkeypatch) -> Path:
    """The current folder: test images as PNG, a large JPEG, arrays, and JSON of both formats."""
    for number, name in enumerate(("cat", "ship")):
        (tmp_path / f"{name}.png").write_bytes(png(sample_images[number]))
    Image.fromarray(sample_images[0]).resize((64, 48)).save(tmp_path / "large.jpg")
    np.savez(tmp_path / "all.npz", images=sample_images, labels=np.arange(24))
    pixels = sample_images[:2].tolist()
    (tmp_path / "rows.json").write_text(json.dumps({"instances": pixels}))
    (tmp_path / "columns.json").write_text(json.dumps({"inputs": {"images": pixels}}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(capsys):
    """A function that runs a command line and returns its exit code and its two outputs."""

    def run(target: str, *arguments: str) -> tuple[int, str, str]:
        flags = ["--target", target] if arguments else []
        try:
            code = program.main([*arguments, *flags])
        except SystemExit as ended:
            code = ended.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_classify_prints_the_best_classes_of_pictures(run, classifier, folder):
    """The table has the three best classes of each picture, or as many as --top says."""
    code, out, err = run(classifier, "classify", "simcnn", "cat.png", "ship.png")
    _, first, _ = run(classifier, "classify", "simcnn", "cat.png", "--top", "1", "--batch", "1")
    _, everything, _ = run(classifier, "classify", "simcnn", "cat.png", "--top", "0")

    lines = [line.split() for line in out.splitlines()]
    assert (code, err) == (0, "")
    assert lines[0] == ["picture", "class", "score"]
    assert [line[0] for line in lines[1:]] == ["cat.png"] * 3 + ["ship.png"] * 3
    assert [lines[1][1], lines[4][1]] == ["cat", "ship"]
    assert 0.7 < float(lines[1][2]) < 0.9
    assert len(first.splitlines()) == 2
    assert len(everything.splitlines()) == 11


def test_classify_prints_json(run, classifier, folder):
    """JSON has the form of the REST API: all classes, here with the highest score first."""
    _, out, _ = run(classifier, "classify", "simcnn", "ship.png", "cat.png", "--json")

    results = json.loads(out)["results"]
    assert [classes[0][0] for classes in results] == ["ship", "cat"]
    assert [len(classes) for classes in results] == [10, 10]


@pytest.mark.parametrize("command", ["classify", "predict"])
def test_a_picture_of_another_size_is_refused_without_resize(run, classifier, folder, command):
    """Both commands refuse it with exit code 2, and take it with --resize."""
    code, out, err = run(classifier, command, "simcnn", "large.jpg")
    scaled, table, _ = run(classifier, command, "simcnn", "large.jpg", "--resize")

    assert (code, out) == (2, "")
    assert "error: large.jpg has 64 x 48 pixels (width x height), expected 32 x 32" in err
    assert scaled == 0
    assert "large.jpg" in table


def test_predict_prints_a_row_for_each_picture(run, classifier, folder):
    """The rows are the pictures, the columns the outputs."""
    code, out, _ = run(classifier, "predict", "simcnn", "cat.png", "ship.png")

    lines = [line.split() for line in out.splitlines()]
    assert code == 0
    assert lines[0] == ["picture", "classes", "probabilities"]
    assert [line[:2] for line in lines[1:]] == [["cat.png", "3"], ["ship.png", "8"]]
    assert len(lines[1]) == 12


def test_predict_reads_and_writes_arrays(run, classifier, folder, sample_images):
    """Arrays are sent in several requests and written in order; others are noted and left out."""
    flags = ("--batch", "5", "--in-flight", "3", "--output", "out.npz")
    code, out, err = run(classifier, "predict", "simcnn", "all.npz", *flags)
    one, _, _ = run(classifier, "predict", "simcnn", "all.npz", "--output", "one.npz")

    several, single = np.load("out.npz"), np.load("one.npz")
    assert (code, one) == (0, 0)
    assert "classes int64 (24,)" in out
    assert err == "note: not sent, because the model has no such inputs: labels\n"
    assert several["classes"][:4].tolist() == [3, 8, 8, 0]
    for name in ("classes", "probabilities"):
        assert np.array_equal(several[name], single[name])


@pytest.mark.parametrize(
    ("file", "answer"),
    [("rows.json", {"predictions": [3, 8]}), ("columns.json", {"outputs": [3, 8]})],
)
@pytest.mark.usefixtures("folder")
def test_predict_answers_json_in_the_format_of_the_request(
    run, classifier, monkeypatch, file, answer
):
    """Rows are answered as rows and columns as columns, from a file and from standard input."""
    flags = ("--output-filter", "classes", "--json")
    code, out, _ = run(classifier, "predict", "simcnn", file, *flags)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path(file).read_bytes())))
    _, piped, _ = run(classifier, "predict", "simcnn", "-", *flags)

    assert code == 0
    assert json.loads(out) == json.loads(piped) == answer


def test_rows_of_several_inputs_and_outputs(run, target, folder):
    """Named rows become arrays by name, and the answer's rows have every output by name."""
    rows = [{"a": 1, "b": 2}, {"a": 3, "b": 5}]
    (folder / "add.json").write_text(json.dumps({"instances": rows}))
    _, out, _ = run(target, "predict", "add", "add.json", "--json")
    _, table, _ = run(target, "predict", "add", "add.json")

    assert json.loads(out)["predictions"] == [
        {"difference": -1, "sum": 3},
        {"difference": -2, "sum": 8},
    ]
    assert [line.split() for line in table.splitlines()] == [
        ["row", "difference", "sum"],
        ["0", "-1", "3"],
        ["1", "-2", "8"],
    ]


def test_status_and_metadata_are_tables_or_json(run, target):
    """Status lists versions, metadata the tensors of each signature."""
    _, status, _ = run(target, "status", "identity")
    _, status_json, _ = run(target, "status", "identity", "--json", "--version", "1")
    _, metadata, _ = run(target, "metadata", "brightness")
    _, metadata_json, _ = run(target, "metadata", "brightness", "--json")

    assert status.splitlines()[1].split() == ["1", "AVAILABLE", "OK"]
    (entry,) = json.loads(status_json)["model_version_status"]
    assert (entry["version"], entry["state"]) == ("1", "AVAILABLE")
    assert "serving_default  predict  input   images" in metadata
    assert "DT_UINT8 (-1, 32, 32, 3)" in metadata
    signatures = json.loads(metadata_json)["metadata"]["signature_def"]["signature_def"]
    assert signatures["serving_default"]["inputs"]["images"]["dtype"] == "DT_UINT8"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["status", "nope"], "NOT_FOUND: Could not find any versions of model nope"),
        (["status", "identity", "--version-label", "x"], "Unrecognized servable version label: x"),
        (["predict", "identity", "wide.npz"], 'input "x" of identity/1 has shape (32, 4)'),
        (["predict", "lookup", "index.npz", "--batch", "4"], ": rows 8 to 10: "),
    ],
)
def test_a_refused_call_is_one_line_and_exit_code_1(run, target, folder, arguments, message):
    """The line has the server's code and message, and the rows of a batch."""
    np.savez("wide.npz", x=np.ones((40, 4), np.float32))
    np.savez("index.npz", index=np.array([0] * 10 + [99]))
    code, out, err = run(target, *arguments)

    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["guess"], "invalid choice: 'guess'"),
        (["status", "m", "--timeout", "0"], "'0' received, expected a number of seconds above 0"),
        (["status", "m", "--retries", "5"], "retries are 5, expected 0 to 4"),
        (["status", "m", "--retry-code", "ABORTED"], "--retry-code received without --retries"),
        (["status", "m", "--header", "name"], "'name' received, expected NAME:VALUE"),
        (["status", "m", "--header", "a b:c"], "metadata has the name 'a b'"),
        (["status", "m", "--version", "1", "--version-label", "a"], "--version and --version-lab"),
        (["status", "m", "--cert", "cat.png"], "certificate is given without its key"),
        (["status", "m", "--ca", "cat.png"], "cat.png: no PEM file"),
        (["status", "m", "--ca", "nofile"], "nofile: No such file or directory"),
        (["status", "m", "--api-key-file", "empty"], "empty holds no API key"),
        (["classify", "brightness", "nofile.png"], "nofile.png: No such file or directory"),
        (["classify", "brightness", "all.npz"], "all.npz: neither a PNG nor a JPEG file"),
        (
            ["predict", "identity", "cat.png"],
            "signature 'serving_default' takes x DT_FLOAT (-1, 3)",
        ),
        (["predict", "brightness", "cat.png", "--input", "x"], "expected an input 'x' that takes"),
        (
            ["predict", "brightness", "cat.png", "--signature", "x"],
            "no signature 'x', expected one",
        ),
        (
            ["predict", "brightness", "cat.png", "all.npz"],
            "2 files received, expected pictures, or",
        ),
        (["predict", "brightness", "all.npz", "--resize"], "--resize received with all.npz"),
        (["predict", "brightness", "text.npz"], "text.npz is not a .npz file"),
        (["predict", "identity", "all.npz"], "all.npz has the arrays images, labels, expected x ("),
        (["predict", "brightness", "text.json"], "text.json is not JSON"),
        (["predict", "brightness", "empty.json"], 'neither of the keys "instances" and "inputs"'),
        (
            ["predict", "add", "plain.json"],
            "values without names received, expected an object with",
        ),
        (["predict", "identity", "plain.json"], 'row 2: JSON Value: "b" Type: String is not of'),
        (
            ["predict", "identity", "ragged.json"],
            "row 1: Expecting tensor size: 2 but got: 1; input",
        ),
        (["predict", "add", "mixed.json"], 'row 1 is {"a": 1}, expected the keys or the form'),
        (["predict", "add", "unknown.json"], '"c" received, expected a (DT_INT64'),
        (["predict", "add", "named.json", "--signature", "serving_default"], "names 'other'; exp"),
        (["predict", "brightness", "cat.png", "--output", "no/a.npz"], "there is no folder no"),
        (["predict", "brightness", "cat.png", "--output", "a.txt"], "expected a name that ends in"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(run, target, folder, arguments, message):
    """The line says what was received and what is expected."""
    for name, content in {
        "empty": "",
        "text.npz": "text",
        "text.json": "text",
        "empty.json": "{}",
        "plain.json": '{"instances": [[1, 2, 3], [1, 2, 3], ["b", 1, 2]]}',
        "ragged.json": '{"instances": [[1, 2], [3]]}',
        "mixed.json": '{"instances": [{"a": 1, "b": 1}, {"a": 1}]}',
        "unknown.json": '{"inputs": {"c": [1]}}',
        "named.json": '{"signature_name": "other", "inputs": {"a": [1], "b": [1]}}',
    }.items():
        (folder / name).write_text(content)
    code, out, err = run(target, *arguments)

    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1


def test_the_flags_of_a_call_and_a_connection_are_used(run, models_dir, tmp_path):
    """TLS, a key, a header, retries, compression and waiting lead to an answer; no key to none."""
    authority = certificates.Authority(tmp_path / "authority")
    server = authority.issue("server")
    (tmp_path / "ca.pem").write_text(authority.certificate)
    key, certificate = (text.replace("\n", "\\n") for text in (server.key, server.certificate))
    (tmp_path / "ssl.config").write_text(f'server_key: "{key}"\nserver_cert: "{certificate}"\n')
    made = subprocess.run(
        [
            *(sys.executable, "-m", "serving.keys", "new", "app", "--role", "metadata"),
            *("--file", str(tmp_path / "keys.json")),
        ],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    (tmp_path / "app.key").write_text(made.stdout)
    settings = {
        "ssl_config_file": tmp_path / "ssl.config",
        "api_keys_file": tmp_path / "keys.json",
    }
    tls = ("--ca", str(tmp_path / "ca.pem"))
    call = ("--retries", "2", "--retry-code", "UNAVAILABLE", "--compression", "gzip")
    more = ("--wait-for-ready", "--header", "x-team: blue")
    with servers.in_this_process(models_dir, **settings) as address:
        with_key = ("--api-key-file", str(tmp_path / "app.key"))
        code, out, err = run(address, "status", "identity", *tls, *call, *more, *with_key)
        refused, _, reason = run(address, "status", "identity", *tls)
        plain, _, why = run(address, "status", "identity", *with_key)

    assert (code, err) == (0, "")
    assert "AVAILABLE" in out
    assert refused == 1
    assert "UNAUTHENTICATED" in reason
    assert plain == 1
    assert "speaks TLS, and the client plain text" in why


def test_the_program_needs_only_what_the_package_requires(target, folder):
    """Without the server's libraries and Pillow, arrays are sent and tables printed."""
    np.savez("ones.npz", x=np.ones((2, 3), np.float32))
    absent = ["PIL", "h2corn", "onnxruntime", "orjson", "prometheus_client", "tensorflow", "uvloop"]
    code = (
        "import runpy, sys\n"
        f"sys.modules.update(dict.fromkeys({absent}))\n"
        "sys.argv = ['client', 'predict', 'identity', 'ones.npz', '--target', sys.argv[1]]\n"
        "runpy.run_module('serving.client', run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, target], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["row  y", "  0  1 1 1", "  1  1 1 1"]


@pytest.mark.parametrize(("sink", "code"), [("/dev/full", 2), ("head", 1)])
def test_an_output_that_cannot_be_written_is_no_traceback(target, sink, code):
    """A full disk is one line and exit code 2; a reader that has left is exit code 1 alone."""
    command = [sys.executable, "-m", "serving.client", "status", "identity", "--target", target]
    if sink == "head":
        with subprocess.Popen(command, stdout=-1, stderr=-1, cwd=ROOT, text=True) as process:
            process.stdout.close()
            err = process.stderr.read()
        ended = process.returncode
    else:
        with Path(sink).open("w") as full:
            done = subprocess.run(command, stdout=full, stderr=-1, cwd=ROOT, text=True, check=False)
        ended, err = done.returncode, done.stderr

    told = "error: cannot write to standard output: No space left on device\n"
    assert (ended, err) == (code, told if code == 2 else "")

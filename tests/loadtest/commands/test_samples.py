"""The samples of runs, and the script of docs/samples.md that computes the report from them."""

import json
import os
import signal
import subprocess
import sys
import time
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
import snippets
from running import servers

from loadtest.rows.images import shuffled

ROOT = Path(__file__).parents[3]
IMPORTS = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
PICKY_LIMIT = 20  # `picky` fails on images with this number or a higher one
# What the samples do not have, by the names in the report.
LEFT_OUT = (
    *("schema_version", "name", "status", "stop_reason", "target", "transport", "tls"),
    *("scenario.*", "floor*", "validity.*", "gates", "capacity*", "manifest.*", "warnings"),
    # The parts of a shape, whose times are settings of the load.
    "phases",
    "compression",
    *("model.name", "model.version_asked_for", "model.version_label"),
    *("model.precision", "model.provider"),
    *("model.input.*", "model.further_inputs", "model.output", "checked.*"),
    *("requests.warmup", "requests.warmup_failed", "errors.*.first_message"),
    *("latency_ms.definition", "latency_ms.requests_needed.*"),
    *("client.processes", "client.cpu_*", "client.in_flight_max"),
    *("accuracy.recorded_missing", "mismatches.examples"),
    # Facts of the record itself.
    *(f"accuracy.recorded.{name}" for name in ("version", "precision", "artefact_sha256")),
    *(f"accuracy.recorded.{name}" for name in ("top1", "n", "same_images")),
)


def script() -> str:
    """Return the script of the page."""
    (block,) = (
        block
        for block in snippets.blocks("docs/samples.md")
        if block.language == "python" and "samples.npz" in block.text
    )
    return block.text


def figures(file: Path) -> dict[str, object]:
    """Return the figures that the page's script computes from a file, by their dotted names."""
    assert script().count('"samples.npz"') == 1
    done = subprocess.run(
        [sys.executable, "-c", script().replace('"samples.npz"', repr(str(file)))],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=os.environ | {"PYTHONPATH": IMPORTS},
    )
    assert done.returncode == 0, done.stderr
    return leaves(json.loads(done.stdout))


def reported(folder: Path) -> dict[str, object]:
    """Return the figures of a report that the samples must give, by their dotted names."""
    document = json.loads((folder / "report.json").read_text())
    return {
        name: value
        for name, value in leaves(document).items()
        if not any(fnmatch(name, pattern) for pattern in LEFT_OUT)
    }


def leaves(document: object, name: str = "") -> dict[str, object]:
    """Return the values of nested mappings by their dotted names; lists are values."""
    if not isinstance(document, dict) or not document:
        # A section without entries, such as no errors, is none.
        return {} if document == {} else {name: document}
    found: dict[str, object] = {}
    for key, value in document.items():
        found |= leaves(value, f"{name}.{key}" if name else key)
    return found


@pytest.fixture(scope="module")
def recorded_models_dir(split, tmp_path_factory) -> Path:
    """Records of `cat` and `picky`, in which two images have another class than they answer."""
    recorded = np.full(len(split), 3)
    recorded[np.flatnonzero(split.images[:, 0, 0, 0] < PICKY_LIMIT)[:2]] = 5
    metrics = {
        "data": {"variant": "image-folder", "sha256": split.sha256(), "images": len(split)},
        "variants": {
            "fp32": {
                "n": len(split),
                "top1": float((recorded == split.labels).mean()),
                "predictions": "".join(map(str, recorded)),
            }
        },
    }
    folder = tmp_path_factory.mktemp("recorded")
    for model in ("cat", "picky"):
        (folder / model / "1").mkdir(parents=True)
        (folder / model / "1" / "metrics.json").write_text(json.dumps(metrics))
    return folder


@pytest.fixture(scope="module")
def overloaded(run, image_target, recorded_models_dir, split, tmp_path_factory):
    """An open loop whose requests fail, are answered wrongly, are missed, or are too late.

    Its samples are in `samples.npz`, in a folder that did not exist before.
    """
    # The first request is sent before the run, and must not fail.
    seed = next(
        seed
        for seed in range(100)
        if split.images[shuffled(len(split), batch=1, seed=seed).order[0], 0, 0, 0] < PICKY_LIMIT
    )
    file = tmp_path_factory.mktemp("samples") / "new" / "samples.npz"
    result = run(
        *("--target", image_target, "--model", "picky", "--models-dir", recorded_models_dir),
        *("--scenario", "server", "--rate", 4000, "--requests", 6000, "--in-flight", 2),
        *("--processes", 2, "--slo-ms", 0.3, "--server-timing", "--seed", seed),
        *("--save-samples", file),
    )
    return result, file


@pytest.fixture(scope="module")
def waiting_callers(run, image_target, recorded_models_dir):
    """A closed loop of more answers than a p99.9 needs; every fifth request has 4 images, not 5."""
    return run(
        *("--target", image_target, "--model", "cat", "--models-dir", recorded_models_dir),
        *("--users", 4, "--batch", 5, "--requests", 7000, "--slo-ms", 5000),
    )


def test_every_figure_of_an_overloaded_run_follows_from_its_samples(overloaded):
    """Counts, errors, latencies, rates, bound, outages and accuracy are those of the report."""
    result, file = overloaded

    requests = result.report.requests
    assert min(requests.missed, requests.failed, requests.wrong) > 0, result.stderr
    assert result.report.slo.over > requests.missed + requests.failed + requests.wrong
    assert "WRONG_ANSWER" in result.report.errors
    assert result.report.server.n == requests.answered
    assert figures(file) == reported(result.folder)


def test_every_figure_of_waiting_callers_follows_from_their_samples(waiting_callers):
    """In a closed loop, too, with p99.9 and requests of several images, some of them short."""
    assert waiting_callers.report.latency_ms.p99_9 is not None, waiting_callers.stderr
    assert (waiting_callers.raw["image_ids"] == -1).any()
    assert figures(waiting_callers.folder / "raw.npz") == reported(waiting_callers.folder)


def test_the_file_equals_that_of_the_report(overloaded):
    """--save-samples makes missing folders, and the line after the report's names the file."""
    result, file = overloaded

    assert file.read_bytes() == (result.folder / "raw.npz").read_bytes()
    assert f"samples     {file}\n" in result.stdout


def test_parquet_has_the_same_samples(run, image_target, recorded_models_dir, tmp_path):
    """A Parquet file has the arrays of the archive, and gives the figures of the report."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `parquet` is not installed")
    file = tmp_path / "samples.parquet"

    result = run(
        *("--target", image_target, "--model", "cat", "--models-dir", recorded_models_dir),
        *("--users", 2, "--batch", 5, "--requests", 100, "--save-samples", file),
    )

    table = parquet.read_table(file)
    arrays = dict(result.raw)
    facts = json.loads(table.schema.metadata[b"loadtest"])
    assert facts == {"schema_version": 2, "loop": "closed", "slo_ms": None, "percentile": 99}
    columns = arrays.keys() - facts - {"codes"}
    assert set(table.column_names) == columns, result.stderr
    arrays["code"] = arrays["codes"][arrays["code"]]
    assert {n: table[n].to_pylist() for n in columns} == {n: arrays[n].tolist() for n in columns}
    assert str(table.schema.field("image_ids").type) == "fixed_size_list<element: int64>[5]"
    assert str(table.schema.field("code").type).startswith("dictionary<values=string")
    assert figures(file) == reported(result.folder)


def test_a_search_saves_the_run_that_its_report_is_about(run, image_target, tmp_path):
    """The samples of find-capacity are those of the last run."""
    file = tmp_path / "samples.npz"

    result = run(
        *("--target", image_target, "--model", "cat", "--slo-ms", 9000, "--percentile", 90),
        *("--start-rate", 200, "--step-seconds", 0.1, "--confirm-seconds", 0.3),
        *("--max-steps", 1, "--timeout", 30, "--save-samples", file),
        command="find-capacity",
    )

    assert len(result.raw["request"]) == result.report.capacity.steps[-1].n, result.stderr
    assert figures(file) == reported(result.folder)


def test_requests_that_were_given_up_have_a_row(start, finish, wait_for_progress, image_models_dir):
    """Four requests under way when Ctrl-C came twice are UNFINISHED, and no figure counts them."""
    with servers.as_process("--models_dir", str(image_models_dir), "--port", "0") as server:
        address = server.wait_for(r"listening on ([\d.]+:\d+)").group(1)
        server.wait_for("ready: ")
        process, folder = start(
            *("--target", address, "--model", "cat", "--users", 4, "--duration", 600),
            *("--abort-after-errors", 0, "--timeout", 60, "--slo-ms", 100),
        )
        wait_for_progress(process)
        server.process.send_signal(signal.SIGSTOP)
        time.sleep(1)  # all four callers wait for an answer
        process.send_signal(signal.SIGINT)
        time.sleep(1)  # two signals at the same moment may arrive as one
        process.send_signal(signal.SIGINT)
        result = finish(process, folder)

    raw = result.raw
    given_up = raw["codes"][raw["code"]] == "UNFINISHED"
    assert result.report.requests.unfinished == given_up.sum() == 4, result.stderr
    assert (raw["sent_ns"][given_up] >= 0).all()
    assert (raw["end_ns"][given_up] == -1).all()
    assert figures(folder / "raw.npz") == reported(folder)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        pytest.param("samples.csv", "expected a file that ends with .npz or .parquet", id="suffix"),
        pytest.param("folder.npz", "is a folder, expected a file", id="folder"),
        pytest.param("file/samples.npz", "or name another file with --save-samples", id="file"),
    ],
)
def test_a_file_that_cannot_be_written_is_told_before_the_run(
    run, image_target, tmp_path, name, words
):
    """Another suffix, a folder, or a file in place of a folder is one line and exit code 2."""
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "file").touch()

    result = run(
        *("--target", image_target, "--model", "cat", "--save-samples", tmp_path / name),
    )

    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr.splitlines()[-1]
    assert str(tmp_path / name).removesuffix("/samples.npz") in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
    assert list(result.folder.iterdir()) == []
    assert {file.name for file in tmp_path.iterdir()} == {"folder.npz", "file"}


def test_parquet_without_its_library_is_told_before_the_run(run, image_target, tmp_path):
    """Without pyarrow one line names the extra and the other form."""
    # Python takes a module that is None for one that is not installed.
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['pyarrow'] = None\n")

    result = run(
        *("--target", image_target, "--model", "cat"),
        *("--save-samples", tmp_path / "samples.parquet"),
        PYTHONPATH=f"{tmp_path}{os.pathsep}{IMPORTS}",
    )

    last = result.stderr.splitlines()[-1]
    assert (result.exit_code, result.stdout) == (2, "")
    assert last.startswith("error: --save-samples ")
    assert "needs pyarrow, which is not installed; install the extra parquet" in last
    assert last.endswith("or name a file that ends with .npz")

"""Files of earlier releases are read, and files of newer ones are refused, by the real programs.

`tests/data/schemas/<release>` holds the files as that release wrote them.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import image_files
import numpy as np
import pytest
from calling.rest_client import Http
from running import servers

from serving.client import PredictClient
from training import schemas
from training.schemas import Schema

ROOT = Path(__file__).parents[3]
KEPT = ROOT / "tests" / "data" / "schemas"
# The settings with which the runs in the folders were trained.
TRAINING = (
    *("training", "simcnn", "--epochs=6", "--batch-size=60", "--warmup-epochs=1"),
    *("--time-budget=900", "--data-dir=images"),
)
PAGES = ("--readme=README.md", "--details=docs/performance.md")


@dataclass(frozen=True)
class Reading:
    """A program that reads a file.

    Attributes:
        file: The file in the folder of a release.
        schema: Its schema.
        command: The program and its arguments; the folder of the release is the working directory.
        said: What the program prints if it has read the file; None if it needs more than the kept
            files to succeed, so that only the refusal is tested.
    """

    file: str
    schema: Schema
    command: tuple[str, ...]
    said: str | None


READINGS = (
    Reading(
        "models/half/1/signature.json",
        schemas.SIGNATURE,
        ("export", "prove-rows", "models/half/1"),
        "serving_default",
    ),
    Reading(
        "models/half/1/manifest.json",
        schemas.MANIFEST,
        ("export", "prove-rows", "models/half/1"),
        "serving_default",
    ),
    Reading(
        "models/half/1/metrics.json",
        schemas.METRICS,
        ("export", "prove-rows", "models/half/1"),
        "serving_default",
    ),
    Reading("keys.json", schemas.KEYS, ("serving.keys", "list", "--file=keys.json"), "prometheus"),
    Reading(
        "keys.json",
        schemas.KEYS,
        ("serving", "--models_dir=models", "--port=0", "--api_keys_file=keys.json"),
        None,
    ),
    Reading("matrix.toml", schemas.MATRIX, ("loadtest", "matrix", "matrix.toml"), None),
    Reading(
        "result/report.json",
        schemas.REPORT,
        ("loadtest", "report", "result", "--output-dir=page"),
        "page",
    ),
    Reading(
        "result/report.json",
        schemas.REPORT,
        ("loadtest", "compare", "result", "result"),
        "ratio",
    ),
    Reading(
        "result/raw.npz",
        schemas.SAMPLES,
        ("loadtest", "compare", "result", "result", "--json"),
        "same class",
    ),
    Reading(
        "result/report.json",
        schemas.REPORT,
        ("loadtest", "readme", "--report=result", "--digest=new.json", *PAGES),
        None,  # the kept run is INVALID, and the table needs a VALID one
    ),
    Reading(
        "collection/report.json",
        schemas.REPORT,
        ("loadtest", "report", "collection", "--output-dir=page"),
        "page",
    ),
    Reading("digest.json", schemas.DIGEST, ("loadtest", "readme", "--digest=digest.json"), ""),
    Reading(
        "run/config.json",
        schemas.RUN,
        (*TRAINING, "--run-dir=run"),
        "was finished before",
    ),
    Reading(
        "run/metrics.json",
        schemas.RUN,
        (*TRAINING, "--run-dir=run"),
        "was finished before",
    ),
    Reading("run/config.json", schemas.RUN, ("training", "report", "run"), "wrote"),
    Reading("run/metrics.json", schemas.RUN, ("training", "report", "run"), "wrote"),
    Reading("run/metrics.json", schemas.RUN, ("export", "run"), None),
    Reading(
        "run/metrics.json",
        schemas.RUN,
        ("export", "tables", "--add-run=run", "--results-dir=trainings"),
        "",
    ),
    # Without its weights a checkpoint is passed over, and the training starts again.
    Reading("unfinished/config.json", schemas.RUN, (*TRAINING, "--run-dir=unfinished"), "finished"),
    Reading("unfinished/time_budget.json", schemas.RUN, (*TRAINING, "--run-dir=unfinished"), None),
    Reading(
        "unfinished/checkpoints/epoch-0001.json",
        schemas.RUN,
        (*TRAINING, "--run-dir=unfinished"),
        None,
    ),
    Reading(
        "unfinished/mlflow.json",
        schemas.RUN,
        (*TRAINING, "--run-dir=unfinished", "--mlflow=mlruns"),
        None,
    ),
)
# A finished run has these too, and nothing reads them any more.
UNREAD = {"run/time_budget.json", "run/mlflow.json"}
RELEASES = sorted(folder.name for folder in KEPT.iterdir())


# TensorFlow's import takes seconds. These programs import it, and only two of them run every time.
IMPORT_TENSORFLOW = {("training", "simcnn"), ("training", "report"), ("export", "run")}
RUN_EVERY_TIME = {"run/config.json", "run/metrics.json"}


def parameters(*, must_succeed: bool) -> list[Any]:
    """Return the readings as parameters of a test.

    Args:
        must_succeed: Leave out the readings that need more than the kept files, and all but one
            of those with the same command.
    """
    chosen = {(r.command, "" if must_succeed else r.file): r for r in READINGS}
    found = []
    for reading in chosen.values():
        if must_succeed and reading.said is None:
            continue
        program = [word for word in reading.command[:2] if not word.startswith("-")]
        is_slow = reading.command[:2] in IMPORT_TENSORFLOW and (
            must_succeed or reading.file not in RUN_EVERY_TIME or program == ["export", "run"]
        )
        name = "-".join([*program, reading.file.replace("/", "-")])
        found.append(pytest.param(reading, id=name, marks=[pytest.mark.slow] * is_slow))
    return found


@pytest.fixture(params=RELEASES)
def kept(request, tmp_path) -> Path:
    """A copy of a release's files, with the pages that commands write, and a data set."""
    folder = shutil.copytree(KEPT / request.param, tmp_path / "kept")
    (folder / "docs").mkdir()
    for page in ("README.md", "docs/performance.md", "docs/training.md"):
        shutil.copy(ROOT / page, folder / page)
    (folder / "run" / "model.keras").touch()
    return folder


@pytest.fixture
def run(kept) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a program in the folder of a release."""
    image_files.write_images(kept / "images", {"train": 20, "test": 5})

    def program(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", *command],
            cwd=kept,
            env={**os.environ, "KERAS_BACKEND": "tensorflow"},
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )

    return program


def with_version(file: Path, schema: Schema, version: int) -> None:
    """Write another schema version into a file, and its new digest into the manifest beside it."""
    if file.suffix == ".npz":
        with np.load(file) as archive:
            arrays = dict(archive)
        np.savez_compressed(file, **{**arrays, schema.field: version})
        return
    text = file.read_text()
    if file.suffix == ".toml":
        file.write_text(f"{schema.field} = {version}\n{text}")
        return
    file.write_text(json.dumps({**json.loads(text), schema.field: version}))
    manifest_file = file.parent / "manifest.json"
    if file != manifest_file and manifest_file.exists():
        manifest = json.loads(manifest_file.read_text())
        content = file.read_bytes()
        manifest["files"][file.name] = {
            "size": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        manifest_file.write_text(json.dumps(manifest))


@pytest.mark.parametrize("release", RELEASES)
def test_every_kept_file_has_a_reader(release):
    """No file of a release is kept without a test of the program that reads it."""
    folder = KEPT / release
    files = {
        str(file.relative_to(folder))
        for file in folder.rglob("*")
        if file.suffix in {".json", ".toml", ".npz"}
    }

    assert files == {reading.file for reading in READINGS} | UNREAD


@pytest.mark.parametrize("reading", parameters(must_succeed=True))
def test_a_file_of_an_earlier_release_is_read(run, reading):
    """The program of today does its work with the files of the release."""
    done = run(*reading.command)

    assert done.returncode == 0, done.stderr
    assert reading.said in done.stdout + done.stderr


@pytest.mark.parametrize("reading", parameters(must_succeed=False))
def test_a_file_of_a_newer_program_is_refused(kept, run, reading):
    """The program ends with exit code 2 and one line that names file, versions and the way out."""
    newer = reading.schema.newest + 1
    with_version(kept / reading.file, reading.schema, newer)

    done = run(*reading.command)

    assert done.returncode == 2, done.stdout + done.stderr
    error = done.stderr.splitlines()[-1]
    assert error.startswith("error: ")
    assert reading.file in error
    assert error.endswith(
        f"is newer than this program: {reading.schema.field} {newer}, this program reads up to "
        f"{newer - 1}; update onnx-serving"
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("file", "schema"),
    [("signature.json", schemas.SIGNATURE), ("manifest.json", schemas.MANIFEST)],
)
def test_a_version_of_a_newer_program_fails_alone(kept, file, schema):
    """Its status gives the reason; the version before it, and other models, are served."""
    models = kept / "models"
    shutil.copytree(models / "half", models / "other")
    made = shutil.copytree(models / "half" / "1", kept / "staged")
    with_version(made / file, schema, schema.newest + 1)

    with servers.as_process(
        *("--models_dir", str(models), "--port", "0", "--file_system_poll_wait_seconds", "0.1"),
    ) as server:
        address = server.wait_for(r"listening on (\S+),").group(1)
        server.wait_for(r"ready: half, other")
        made.rename(models / "half" / "2")
        server.wait_for(r"half/2 is not served")
        _, answer = Http(address).get("/v1/models/half/versions/2")
        with PredictClient(address) as client:
            asked = {"x": np.full((1, 1), 2, np.float32)}
            answers = [client.predict(name, asked)["y"].tolist() for name in ("half", "other")]
        code = server.terminate()

    (status,) = answer["model_version_status"]
    assert (status["state"], status["status"]["error_code"]) == ("END", "FAILED_PRECONDITION")
    assert status["status"]["error_message"].endswith(
        f"half/2/{file} is newer than this program: {schema.field} {schema.newest + 1}, this "
        f"program reads up to {schema.newest}; update onnx-serving"
    )
    assert answers == [[[3.0]], [[3.0]]]
    assert code == 0


def test_what_is_written_has_a_version(kept, run):
    """A newly published version, and a new keys file, have their schema versions."""
    published = run("export", "onnx", "models/half/1/model.onnx", "--name=new")
    added = run("serving.keys", "new", "shop", "--role=predict", "--file=new.json")

    assert (published.returncode, added.returncode) == (0, 0), published.stderr + added.stderr
    written = {
        "models/new/1/signature.json": schemas.SIGNATURE,
        "models/new/1/manifest.json": schemas.MANIFEST,
        "models/new/1/metrics.json": schemas.METRICS,
        "new.json": schemas.KEYS,
    }
    for file, schema in written.items():
        assert json.loads((kept / file).read_text())[schema.field] == schema.newest, file


def test_training_and_serving_have_the_same_module():
    """Training and serving must not import each other, so their copies must be the same."""
    copies = ("training/schemas.py", "serving/schemas.py")

    assert len({(ROOT / copy).read_text() for copy in copies}) == 1

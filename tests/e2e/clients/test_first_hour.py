"""The documentation's first steps for three kinds of newcomers, each in a fresh clone.

Each test installs packages into the clone's own environment and therefore takes minutes.
"""

import base64
import os
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import snippets
from calling.rest_client import Http
from running import containers
from snippets import Block

from serving.repository import model_folder

ROOT = snippets.ROOT
SECONDS = 1500

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


class Clone:
    """A fresh clone of the last commit.

    Attributes:
        folder: Root of the clone.
        python: Interpreter of the clone's environment; it exists after `make`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / ".venv" / "bin" / "python"
        subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True, timeout=60)

    def run(self, *command: str) -> str:
        """Run a command in the clone, without the Python environment of this process.

        Raises:
            AssertionError: the command failed.
        """
        environment = {
            name: value
            for name, value in os.environ.items()
            if name not in {"PYTHONPATH", "VIRTUAL_ENV", "PYTEST_ADDOPTS"}
            and not name.startswith(("PYTEST_", "COV_"))
        }
        ended = subprocess.run(
            command,
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert ended.returncode == 0, f"{' '.join(command)}:\n{ended.stdout[-4000:]}"
        return ended.stdout

    def walk(self, page: Sequence[Block], folder: Path) -> None:
        """Run the blocks of a page with the clone's environment and compare their outputs."""
        folder.mkdir()
        snippets.PageRun(
            folder, snippets.free_ports(), slow=True, checkout=self.folder, python=self.python
        ).check(page)


@pytest.fixture
def clone(tmp_path) -> Clone:
    return Clone(tmp_path / "onnx-serving")


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """The folder in which a Keras user has walked docs/own-model.md."""
    clone = Clone(tmp_path_factory.mktemp("keras") / "onnx-serving")
    clone.run("make", ".venv/.export", ".venv/.serve")
    folder = tmp_path_factory.mktemp("keras") / "work"
    clone.walk(snippets.blocks("docs/own-model.md"), folder)
    return folder


def test_a_keras_user_takes_a_model_to_an_answered_picture(exported):
    """docs/own-model.md, from training to int8 and a picture that is answered over REST."""
    version = model_folder.read(exported / "models" / "colours" / "1")

    assert set(version.signatures) >= {"serving_default", "classify"}
    assert version.class_names == ("blue", "green", "grey", "red", "yellow")


@pytest.mark.docker
def test_the_keras_users_model_is_served_in_a_container(exported):
    """The image serves the exported model, and names the colour of a picture."""
    containers.require_engine()
    image = containers.build("serving-cpu", "onnx-serving:first-hour", containers.base_image())
    mounted = f"{exported / 'models' / 'colours'}:/models/colours:ro"
    with containers.started("--publish=127.0.0.1::8501", f"--volume={mounted}", image) as container:
        containers.wait_until_healthy(container, timeout_seconds=60)
        picture = base64.b64encode((exported / "test/red/3.png").read_bytes()).decode()
        status, answer = Http(containers.published(container, 8501)).post(
            "/v1/models/colours:classify",
            {"signature_name": "classify", "examples": [{"image/encoded": {"b64": picture}}]},
        )

    assert status == 200, answer
    assert max(answer["results"][0], key=lambda pair: pair[1])[0] == "red"


SAVED_MODELS = """
import sys
import tensorflow as tf

for number, slope in (("1", 0.5), ("2", 3.0)):
    module = tf.Module()
    module.slope = tf.Variable(slope)
    module.predict = tf.function(
        lambda x: {"y": module.slope * x + 2.0}, [tf.TensorSpec([None], tf.float32, name="x")]
    )
    tf.saved_model.save(module, f"{sys.argv[1]}/{number}", {"serving_default": module.predict})
"""
ANSWER = """
from pathlib import Path

import grpc
import numpy as np
from serving.client import PredictClient

credentials = grpc.ssl_channel_credentials(root_certificates=Path("server.pem").read_bytes())
with PredictClient("localhost:8500", credentials=credentials) as client:
    for label in ("stable", "canary"):
        print(client.predict("slopes", {"x": np.float32([1, 2])}, version_label=label)["y"])
"""


def test_a_platform_team_keeps_its_files(clone, tmp_path):
    """Two converted versions of a SavedModel are served with TensorFlow Serving's config files.

    The files are those of docs/migration.md, with another model name.
    """
    clone.run("make", ".venv/.export", ".venv/.serve")
    script = tmp_path / "save.py"
    script.write_text(SAVED_MODELS)
    clone.run(str(clone.python), str(script), str(tmp_path / "theirs"))
    clone.run(
        *(str(clone.python), "-m", "export", "saved-model", str(tmp_path / "theirs")),
        *("--name=slopes", f"--models-dir={tmp_path / 'converted'}"),
    )
    page = [
        replace(block, text=_moved(block.text, tmp_path / "converted"))
        for block in snippets.blocks("docs/migration.md")
    ]
    first = next(number for number, block in enumerate(page) if block.file == "models.config")
    last = next(n for n in range(first, len(page)) if page[n].language == "python")
    asked = replace(page[last], text=ANSWER)
    answered = replace(page[last + 1], text="[2.5 3. ]\n[5. 8.]\n")

    clone.walk([*page[first:last], asked, answered], tmp_path / "work")

    assert {block.file for block in page[first:last]} == {
        *("models.config", "batching.config", "monitoring.config", ""),
    }


def _moved(text: str, models_dir: Path) -> str:
    return text.replace("/models/simcnn", f"{models_dir}/slopes").replace("simcnn", "slopes")


ROUTE = '            Route("GET", re.compile("/greeting"), self.greet, role=Role.HEALTH),\n'
HANDLER = '''
    async def greet(self, _request: HttpRequest) -> HttpResponse:
        """Answer `GET /greeting` with a greeting."""
        return HttpResponse(body=b'{"greeting": "hello"}')
'''
TEST = '''
def test_the_server_greets(models_dir, running_server):
    """`GET /greeting` answers a greeting."""
    with running_server(models_dir) as address:
        answer = Http(address).get("/greeting")

    assert answer == (200, {"greeting": "hello"})
'''


def test_a_contributor_adds_a_rest_route(clone):
    """After CONTRIBUTING.md's steps (route, handler, test) the test and `make lint` pass."""
    steps = (clone.folder / "CONTRIBUTING.md").read_text()
    routes = clone.folder / "serving/protocols/probe_routes.py"
    tests = clone.folder / "tests/serving/protocols/test_probe_routes.py"
    text = routes.read_text()
    place = '            Route("GET", re.compile("/readyz"), self.ready, '
    place += "role=Role.HEALTH, traced=False),\n"
    routes.write_text(text.replace(place, place + ROUTE).rstrip("\n") + "\n" + HANDLER)
    tests.write_text(tests.read_text().rstrip("\n") + "\n\n" + TEST)

    clone.run("make", ".venv/.dev")
    clone.run("make", "lint")
    told = clone.run(
        *("make", "test"),
        f"PYTEST_ARGS={tests.relative_to(clone.folder)} -k greets -p no:cacheprovider",
    )

    assert "1 passed" in told
    for named in (routes, tests.parent):
        assert str(named.relative_to(clone.folder)) in steps

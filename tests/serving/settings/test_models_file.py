import asyncio
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from serving.errors import ConfigError, UnknownError
from serving.protos.tensorflow_serving_pb2 import ReloadConfigRequest
from serving.repository.model_config import All, Latest, Specific
from serving.repository.model_config_message import models_of
from serving.settings.models_file import ModelConfigFile

CONFIG = """
model_config_list {
  config {
    name: "first"
    base_path: "/models/first"
    model_platform: "tensorflow"
    model_version_policy { specific { versions: 1 versions: 3 } }
    version_labels { key: "stable" value: 1 }
    version_labels { key: "canary" value: 3 }
  }
  config { name: "second" base_path: "/models/second" model_version_policy { all {} } }
  config { name: "third" base_path: "/models/third" model_type: TENSORFLOW }
  config {
    name: "fourth" base_path: "/models/fourth"
    model_version_policy { latest { num_versions: 2 } }
  }
}
"""


MODEL_A = 'config { name: "a" base_path: "/a" }'


def read(path):
    return ModelConfigFile(path, retry_seconds=60).models


@pytest.fixture
def path(tmp_path) -> Path:
    """Return the path of the model list in these tests."""
    return tmp_path / "models.config"


def test_a_list_is_understood(path):
    """Policies, labels and paths are read as in TensorFlow Serving."""
    path.write_text(CONFIG)

    models = read(path)

    assert [model.policy for model in models.values()] == [
        Specific((1, 3)),
        All(),
        Latest(1),
        Latest(2),
    ]
    assert models["first"].labels == {"stable": 1, "canary": 3}
    assert models["first"].base_path == Path("/models/first")


def test_an_empty_list_is_a_list(path):
    """An empty list is valid and serves no model; a reload may add models."""
    path.write_text("model_config_list {}")

    assert read(path) == {}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            f"model_config_list {{\n {MODEL_A}\n {MODEL_A}\n}}",
            "3: Illegal to list model a multiple times in config list",
        ),
        (
            'model_config_list {\n config { name: "a" base_path: "a" }\n}',
            "2: Expected model a to have an absolute path or URI; got base_path()=a",
        ),
        ('model_config_list {\n\n config { base_path: "/a" } }', "3: a model at /a has no name"),
        (
            'model_config_list { config { name: "a" base_path: "/a" model_platform: "caffe" } }',
            "1: Model a requests unsupported platform caffe; expected 'tensorflow', 'onnx' or none",
        ),
        (
            'model_config_list { config { name: "a" model_version_policy { specific {} } } }',
            "1: model a has a specific version policy without versions",
        ),
        (
            'model_config_list {\n config { name: "a" base_path: "ftp://b/a" }\n}',
            "2: model a has base_path 'ftp://b/a': ftp:// cannot be read, expected a local folder",
        ),
        (
            "\ncustom_model_config {}",
            "2: ModelServer does not yet support custom model config.",
        ),
    ],
)
def test_a_wrong_list_is_refused_with_its_line(path, text, reason):
    """A wrong list is refused with the line of the model at fault."""
    path.write_text(text)

    with pytest.raises(ConfigError) as caught:
        read(path)

    assert str(caught.value).startswith(f"{path}:{reason}")


def test_a_file_without_a_list_serves_no_model(path, caplog):
    """A file without a list serves no model, as in TensorFlow Serving.

    A change to such a file is refused with TensorFlow Serving's message.
    """
    path.write_text("")
    file, receiver = ModelConfigFile(path, retry_seconds=60), Receiver()

    assert file.models == {}
    assert f"{path}:1: no model_config_list found: no model is served" in caplog.text

    path.write_text(one_model("b"))
    asyncio.run(file.look(receiver.reload))
    path.write_text("# nothing")
    asyncio.run(file.look(receiver.reload))

    assert receiver.received == [["b"]]
    assert "Cannot transition to requested config." in caplog.text


def one_model(name: str) -> str:
    return f'model_config_list {{ config {{ name: "{name}" base_path: "/{name}" }} }}'


class Receiver:
    """Records the names of reloads; refuses reloads that name `refused`."""

    def __init__(self) -> None:
        self.refused = ""
        self.received = []

    async def reload(self, models) -> None:
        """Record the model names, or raise UnknownError."""
        if self.refused in models:
            msg = f"{self.refused} is nowhere"
            raise UnknownError(msg)
        self.received.append(list(models))


def test_a_changed_file_is_handed_on_once(path):
    """A changed file causes one reload; an unchanged file causes none."""
    path.write_text(one_model("a"))
    file, receiver = ModelConfigFile(path, retry_seconds=60), Receiver()

    asyncio.run(file.look(receiver.reload))
    path.write_text(one_model("b"))
    for _ in range(3):
        asyncio.run(file.look(receiver.reload))

    assert list(file.models) == ["a"]
    assert receiver.received == [["b"]]


def test_a_broken_file_is_logged_once_and_changes_nothing(path, caplog):
    """A malformed file is logged once, and the old list is kept until the file is valid again."""
    path.write_text(one_model("a"))
    file, receiver = ModelConfigFile(path, retry_seconds=60), Receiver()

    path.write_text("model_config_list {")
    for _ in range(3):
        asyncio.run(file.look(receiver.reload))
    errors = [record.message for record in caplog.records if record.levelno == logging.ERROR]
    path.write_text(one_model("b"))
    asyncio.run(file.look(receiver.reload))

    assert len(errors) == 1
    assert f"{path}:1: " in errors[0]
    assert receiver.received == [["b"]]


@pytest.mark.parametrize(("retry_seconds", "received"), [(60, []), (0, [["b"]])])
def test_a_refused_list_is_tried_again_after_retry_seconds(path, caplog, retry_seconds, received):
    """A refused list is tried again after retry_seconds, not at the next look.

    A model's folder may arrive later than the list that names it.
    """
    path.write_text(one_model("a"))
    file, receiver = ModelConfigFile(path, retry_seconds=retry_seconds), Receiver()

    receiver.refused = "b"
    path.write_text(one_model("b"))
    asyncio.run(file.look(receiver.reload))
    receiver.refused = ""
    asyncio.run(file.look(receiver.reload))

    assert "b is nowhere; the models served before stay in service" in caplog.text
    assert receiver.received == received


def test_changes_and_refusals_are_in_the_audit_log(path, caplog):
    """The audit log names the file and what has changed; a refusal is logged once, however often.

    The list is compared with the last one of this file that was served.
    """
    caplog.set_level(logging.INFO, "serving.audit")
    path.write_text(one_model("a"))
    file, receiver = ModelConfigFile(path, retry_seconds=0), Receiver()
    for name in ("b", "c"):
        receiver.refused = "c"
        path.write_text(one_model(name))
        for _ in range(3):
            asyncio.run(file.look(receiver.reload))
    receiver.refused = ""
    path.write_text(one_model("b").replace('"/b"', '"/elsewhere"'))
    asyncio.run(file.look(receiver.reload))
    lines = [record.getMessage() for record in caplog.records if record.name == "serving.audit"]

    assert lines == [
        f"models changed by file {path}: added b; removed a",
        f"models not changed by file {path}: asked for added c; removed b; refused: c is nowhere",
        f"models changed by file {path}: changed b",
    ]


# The official package parses a list as text and writes it as a request.
PROGRAM = """
import sys
from google.protobuf import text_format
from tensorflow_serving.apis import model_management_pb2

text = open(sys.argv[1]).read()
request = model_management_pb2.ReloadConfigRequest(metric_names=["ignored"])
text_format.Parse(text, request.config)
sys.stdout.buffer.write(request.SerializeToString())
"""


def test_the_official_messages_mean_the_same(path):
    """The official package reads the same file, and its request means the same models here."""
    path.write_text(CONFIG)

    written = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)], capture_output=True, timeout=120, check=True
    )

    request = ReloadConfigRequest.FromString(written.stdout)
    assert models_of(request.config) == read(path)

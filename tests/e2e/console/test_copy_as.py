"""Every snippet of "Copy as" is taken from the page in a real Chromium, and run.

grpcurl is run where it is installed, and otherwise a stand-in that follows its rules. tritonclient
has an environment of its own: `make tritonclient`.
"""

import base64
import io
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import certificates
import keys_files
import numpy as np
import pytest
from google.protobuf import text_format
from keys_files import entry, key_of
from onnx import TensorProto, helper
from PIL import Image
from running import browsers, servers
from sample_models import example_models, tiny_models

from serving.protos.tfs_config_pb2 import SSLConfig

ROOT = Path(__file__).parents[3]
STAND_IN = ROOT / "tests/e2e/console/grpcurl_stand_in.py"
TRITON = Path(sys.prefix) / "tritonclient" / "bin" / "python"
CLIENTS = ("curl", "grpcurl", "python", "tfs", "triton")
# A name that would be a command, or end a text, if a snippet did not quote it.
ODD_NAME = 'o\'d "n" $(touch owned) `touch owned` \\'
# The one for TensorFlow's client imports TensorFlow. The others are quick, but there are many.
by_client = pytest.mark.parametrize(
    "client",
    [pytest.param(each, marks=[pytest.mark.slow] if each == "tfs" else []) for each in CLIENTS],
)


@pytest.fixture(scope="module")
def models(tmp_path_factory, mixed_models) -> Path:
    """Both bundled models, models of numbers, one of tf.Examples, and one with an odd name."""
    folder = tmp_path_factory.mktemp("copied")
    for path in mixed_models.iterdir():
        (folder / path.name).symlink_to(path)
    example_models.numbers(folder)
    tiny_models.save(
        folder / ODD_NAME / "1" / "model.onnx",
        [helper.make_node("Identity", ["x"], ["y"])],
        [helper.make_tensor_value_info("x", TensorProto.STRING, ["batch"])],
        [helper.make_tensor_value_info("y", TensorProto.STRING, ["batch"])],
    )
    return folder


@pytest.fixture(scope="module")
def address(models):
    """Address of a server of `models`."""
    with servers.in_this_process(models) as running:
        yield running


@pytest.fixture
def window(chromium, address):
    with browsers.opened(chromium, f"http://{address}") as opened:
        yield opened


def run(folder: Path, client: str, snippet: str, **variables: str) -> str:
    """Run a snippet in a folder as a reader would; return what it prints."""
    command = {"triton": [str(TRITON), "-c"], "python": [sys.executable, "-c"]}.get(client)
    if client == "tfs":
        command = [sys.executable, "-c"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"} | variables
    if command is None:
        if shutil.which(client) is None:
            assert client == "grpcurl", f"{client} is not installed"
            tools = folder / "tools"
            tools.mkdir(exist_ok=True)
            (tools / client).write_text(f'#!/bin/sh\nexec {sys.executable} {STAND_IN} "$@"\n')
            (tools / client).chmod(0o755)
            environment["PATH"] = f"{tools}:{environment['PATH']}"
        command = ["bash", "-euo", "pipefail", "-c"]
    done = subprocess.run(
        [*command, snippet],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, f"{snippet}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def need(client: str) -> None:
    """Skip the test if a client's environment is missing."""
    if client == "triton" and not TRITON.exists():
        pytest.skip("tritonclient's environment is missing; `make tritonclient` makes it")


def snippet_of(place, client: str) -> str:
    """Choose a client among the buttons of a place in the page; return its snippet."""
    names = {"python": "Python client", "tfs": "tensorflow-serving-api", "triton": "tritonclient"}
    place.get_by_role("button", name=names.get(client, client), exact=True).click()
    return place.locator("pre.snippet").inner_text()


def send_form(window, model: str, signature: str, *values: str):
    """Fill the form of a signature and send it; return the part with answer and snippets."""
    page = window.page
    window.show("try")
    page.get_by_label("Model").select_option(f"{model}/1")
    page.get_by_label("Signature").select_option(signature)
    areas = page.locator("form textarea")
    for index, value in enumerate(values):
        areas.nth(index).fill(value)
    page.get_by_role("button", name="Send to").click()
    page.locator("pre.output").wait_for()
    return page.locator("form + div")


def numbers_of(client: str, text: str, name: str) -> list:
    """Return an output of a snippet that prints tensors."""
    if client == "curl":
        outputs = json.loads(text)["outputs"]
        return outputs[name] if isinstance(outputs, dict) else outputs
    if client == "grpcurl":
        tensor = json.loads(text)["outputs"][name]
        (values,) = (value for key, value in tensor.items() if key.endswith("Val"))
        return values
    (line,) = (line for line in text.splitlines() if line.startswith(f"{name} "))
    return eval(line.removeprefix(f"{name} "), {"__builtins__": {}})  # noqa: S307 - a list


@by_client
def test_a_picture_is_classified_by_every_client(window, tmp_path, sample_images, client):
    """Each snippet reads the picture that the page saves, and gets the page's answer."""
    need(client)
    page = window.show("try")
    page.get_by_role("button", name="ship").click()
    card = page.locator(".answer[aria-label=simcnn]")
    card.locator(".bars").wait_for()
    card.locator("summary").click()
    snippet = snippet_of(card, client)
    with page.expect_download() as saving:
        card.get_by_text("Save picture.png").click()
    saving.value.save_as(tmp_path / "picture.png")
    text = run(tmp_path, client, snippet)
    shown = card.locator("tr.best td.number").inner_text()
    score = float(shown.removesuffix(" %")) / 100

    assert window.problems == []
    if client == "curl":
        found = dict(json.loads(text)["results"][0])["ship"]
    elif client == "grpcurl":
        (answer,) = json.loads(text)["result"]["classifications"]
        found = {each["label"]: each["score"] for each in answer["classes"]}["ship"]
    elif client == "triton":
        found = numbers_of(client, text, "probabilities")[0][8]
    else:
        found = float(
            next(line for line in text.splitlines() if line.startswith("ship ")).split()[1]
        )
    assert found == pytest.approx(score, abs=1e-3)


@by_client
def test_tensors_are_sent_by_every_client(window, tmp_path, client):
    """Two inputs of int64; the answer is that of the page."""
    need(client)
    place = send_form(window, "add", "serving_default", "[1, -2]", "[10, 9007199254740991]")
    text = run(tmp_path, client, snippet_of(place, client))
    found = numbers_of(client, text, "sum")

    assert [int(value) for value in found] == [11, 9007199254740989]
    assert window.problems == []


@by_client
def test_a_name_never_becomes_a_command(window, tmp_path, client):
    """An odd name, and texts with quotes, dollars and backslashes, arrive as they are."""
    need(client)
    words = ["a$(touch owned)`touch owned`", "'\"\\ \u00e9 \\u0001", "END"]
    place = send_form(window, ODD_NAME, "serving_default", json.dumps(words))
    text = run(tmp_path, client, snippet_of(place, client))
    found = numbers_of(client, text, "y")
    if client == "grpcurl":
        found = [base64.b64decode(each).decode() for each in found]
    found = [each.decode() if isinstance(each, bytes) else each for each in found]

    assert found == words
    assert not (tmp_path / "owned").exists()
    assert window.problems == []


@by_client
@pytest.mark.parametrize("signature", ["classify", "serving_default"])
def test_a_tf_example_is_sent_by_the_clients_that_have_them(window, tmp_path, client, signature):
    """Classify and Regress; the clients without tf.Examples say so in place of a snippet."""
    place = send_form(window, "numbers", signature, '{"x": [1, 2.5], "n": [4]}')
    if client in {"python", "triton"}:
        place.get_by_role("button", name="tritonclient" if client == "triton" else "Python").click()

        assert "use curl or tensorflow-serving-api" in place.inner_text()
        assert place.locator("pre.snippet").is_hidden()
        return
    text = run(tmp_path, client, snippet_of(place, client))

    assert "7.5" in text
    assert window.problems == []


def test_a_picture_as_pixels(chromium, models_dir, tmp_path, sample_images):
    """A model without Classify gets pixels of its size; the snippets hold them."""
    stream = io.BytesIO()
    Image.fromarray(np.full((64, 64, 3), 200, np.uint8)).save(stream, "png")
    path = tmp_path / "bright.png"
    path.write_bytes(stream.getvalue())
    with (
        servers.in_this_process(models_dir) as running,
        browsers.opened(chromium, f"http://{running}") as window,
    ):
        page = window.show("try")
        page.locator("#picture-file").set_input_files(path)
        card = page.locator(".answer[aria-label=brightness]")
        card.locator(".bars").wait_for()
        best = card.locator(".best").first.inner_text()
        card.locator("summary").click()
        text = run(tmp_path, "python", snippet_of(card, "python"))

    assert best == "bright"
    assert numbers_of("python", text, "classes") == [1]
    assert window.problems == []


@pytest.mark.parametrize("client", ["curl", "grpcurl", "python"])
def test_a_key_is_a_variable_of_the_snippet(chromium, models_dir, tmp_path, client):
    """The snippet of a server with keys reads the key from the environment."""
    path = keys_files.write(tmp_path / "keys.json", entry("root", "admin", "predict", "metadata"))
    with (
        servers.in_this_process(models_dir, api_keys_file=path) as running,
        browsers.opened(chromium, f"http://{running}") as window,
    ):
        page = window.page
        page.goto(f"{window.base}/#try")
        page.get_by_label("Key").fill(key_of("root"))
        page.get_by_label("Key").press("Enter")
        page.get_by_label("Model").select_option("identity/1")
        page.locator("form textarea").fill("[[1, 2, 3]]")
        page.get_by_role("button", name="Send to").click()
        page.locator("pre.output").wait_for()
        snippet = snippet_of(page.locator("form + div"), client)
        text = run(tmp_path, client, snippet, KEY=key_of("root"))

    assert key_of("root") not in snippet
    assert np.ravel(numbers_of(client, text, "y")).tolist() == [1, 2, 3]


@by_client
def test_tls_of_the_grpc_port_alone(chromium, models_dir, tmp_path, client):
    """The page comes from a plain REST port; the snippets for gRPC have TLS, curl's has none."""
    need(client)
    authority = certificates.Authority(tmp_path / "authority")
    pair = authority.issue("server")
    (tmp_path / "ca.pem").write_text(authority.certificate)
    config = tmp_path / "ssl.config"
    config.write_text(
        text_format.MessageToString(SSLConfig(server_key=pair.key, server_cert=pair.certificate))
    )
    with socket.create_server(("127.0.0.1", 0)) as grpc, socket.create_server(("", 0)) as rest:
        ports = {"port": grpc.getsockname()[1], "rest_api_port": rest.getsockname()[1]}
    with (
        servers.in_this_process(models_dir, ssl_config_file=config, **ports),
        browsers.opened(chromium, f"http://127.0.0.1:{ports['rest_api_port']}") as window,
    ):
        place = send_form(window, "identity", "serving_default", "[[1, 2, 3]]")
        text = run(tmp_path, client, snippet_of(place, client))

    assert np.ravel(numbers_of(client, text, "y")).tolist() == [1, 2, 3]
    assert window.problems == []

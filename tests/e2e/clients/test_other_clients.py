"""Other authors' clients of TensorFlow Serving's API, in their own environments.

`make test-slow` makes the environments: these clients want versions of protobuf that this project
is not tested with.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from running import servers
from sample_models import tiny_models

pytestmark = pytest.mark.slow

OVMSCLIENT = """
import json, sys
import numpy as np
from ovmsclient import make_grpc_client, make_http_client

x = np.array([[1.5, -2.5, 3]], np.float32)
report = []
for make, address in ((make_grpc_client, sys.argv[1]), (make_http_client, sys.argv[2])):
    client = make(address)
    said = {
        "status": client.get_model_status(model_name="identity"),
        "metadata": str(client.get_model_metadata(model_name="identity")),
        "latest": client.predict(inputs={"x": x}, model_name="identity").tolist(),
        "version": client.predict(
            inputs={"x": x}, model_name="identity", model_version=1).tolist(),
        "errors": [],
    }
    for name, value in (("nope", x), ("identity", x[:, :2])):
        try:
            client.predict(inputs={"x": value}, model_name=name)
        except Exception as error:
            said["errors"].append([type(error).__name__, str(error)])
    report.append(said)
print(json.dumps(report))
"""
MIN_TFS_CLIENT = """
import json, sys
import numpy as np
from min_tfs_client.requests import TensorServingClient
from min_tfs_client.tensors import tensor_proto_to_ndarray

host, port = sys.argv[1].split(":")
client = TensorServingClient(host=host, port=int(port), credentials=None)
x = np.array([[1.5, -2.5, 3]], np.float32)
report = {}
for version in (None, 1):
    response = client.predict_request(
        model_name="identity", model_version=version, input_dict={"x": x})
    report[str(version)] = tensor_proto_to_ndarray(response.outputs["y"]).tolist()
try:
    client.predict_request(model_name="nope", input_dict={"x": x})
except Exception as error:
    report["error"] = error.code().name
print(json.dumps(report))
"""
X = [[1.5, -2.5, 3.0]]


@pytest.fixture(scope="module")
def addresses(tmp_path_factory):
    """The gRPC and the REST address of a server with the model `identity`."""
    models_dir = tmp_path_factory.mktemp("models")
    tiny_models.identity(models_dir)
    with servers.as_process("--models_dir", str(models_dir), "--port", "0") as server:
        port = server.wait_for(r"listening on \S+:(\d+)").group(1)
        server.wait_for("ready: ")
        yield f"127.0.0.1:{port}", f"127.0.0.1:{port}"


def said(client: str, program: str, *arguments: str) -> object:
    """Return the JSON that a program prints, run by the Python of the client's environment."""
    python = Path(sys.prefix) / client / "bin" / "python"
    assert python.exists(), f"{client}'s environment is missing; `make test-slow` makes it"
    ran = subprocess.run(
        [str(python), "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_ovmsclient(addresses):
    """ovmsclient, which sends version 0 for the latest, is answered over gRPC and REST."""
    for report in said("ovmsclient", OVMSCLIENT, *addresses):
        assert report["status"] == {
            "1": {"state": "AVAILABLE", "error_code": 0, "error_message": ""}
        }
        assert "DT_FLOAT" in report["metadata"]
        assert report["latest"] == report["version"] == X
        (nope, of_nope), (shape, of_shape) = report["errors"]
        assert nope == "ModelNotFoundError"
        assert "Servable not found for request" in of_nope
        assert shape == "InvalidInputError"
        assert "(1, 2)" in of_shape


def test_min_tfs_client(addresses):
    """min-tfs-client gets the latest version, a version by number, and NOT_FOUND."""
    report = said("min-tfs-client", MIN_TFS_CLIENT, addresses[0])

    assert report == {"None": X, "1": X, "error": "NOT_FOUND"}

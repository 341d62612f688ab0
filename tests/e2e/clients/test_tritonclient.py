"""The official KServe v2 client, tritonclient, in its own environment: `make tritonclient`.

Its limits on protobuf, greenlet and ml-dtypes exclude the versions that this project is tested
with, so one environment cannot hold both.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from running.kserve_stub import EXTENSIONS
from sample_models import arithmetic_models, tiny_models

from serving.protos import kserve_config_pb2, kserve_pb2

PYTHON = Path(sys.prefix) / "tritonclient" / "bin" / "python"
SAMPLE = Path(__file__).parents[2] / "data" / "cifar10_sample.npz"

pytestmark = pytest.mark.skipif(
    not PYTHON.exists(),
    reason="tritonclient's environment is missing; `make tritonclient` makes it",
)

# Both transports take the same steps: their clients have the same methods.
PROGRAM = """
import importlib, json, sys
import numpy as np
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

transport, target, sample, own_target = sys.argv[1:]
triton = importlib.import_module("tritonclient." + transport)
images = np.load(sample)["images"]
client, own_client = (triton.InferenceServerClient(address) for address in (target, own_target))


def tensor(name, array, **options):
    made = triton.InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
    made.set_data_from_numpy(array, **options)
    return made


def listed(result, *names):
    return {name: [str(a.dtype), list(a.shape), a.tolist()]
            for name in names for a in [result.as_numpy(name)]}


def metadata(call, *arguments):
    if transport == "grpc":
        return call(*arguments, as_json=True)
    return call(*arguments)


report = {
    "live": client.is_server_live(),
    "ready": client.is_server_ready(),
    "model_ready": [client.is_model_ready("add"), client.is_model_ready("add", "1"),
                    client.is_model_ready("add", "2"), client.is_model_ready("nope")],
    "server": metadata(client.get_server_metadata),
    "model": metadata(client.get_model_metadata, "brightness"),
}

result = client.infer("brightness", [tensor("images", images)], request_id="7")
report["brightness"] = listed(result, "classes", "probabilities")
response = result.get_response()
report["id"] = response["id"] if transport == "http" else response.id

a, b = np.array([5, 2**62]), np.array([3, -1])
report["add"] = listed(
    client.infer("add", [tensor("a", a), tensor("b", b)], model_version="1",
                 outputs=[triton.InferRequestedOutput("difference")]),
    "difference",
)

x = np.array([[0.1, -0.0, 3e38]], np.float32)
report["identity"] = listed(client.infer("identity", [tensor("x", x)]), "y")
if transport == "http":
    for name, compression in (("identity_json", None), ("identity_gzip", "gzip")):
        answer = client.infer(
            "identity", [tensor("x", x, binary_data=False)],
            outputs=[triton.InferRequestedOutput("y", binary_data=False)],
            request_compression_algorithm=compression,
        )
        assert "data" in answer.get_output("y"), answer.get_response()
        report[name] = listed(answer, "y")

report["echo"] = {}
for datatype, array in {
    "BOOL": np.array([[True, False]]),
    "FP16": np.array([[0.5, -65504]], np.float16),
    "UINT64": np.array([[0, 2**64 - 1]], np.uint64),
}.items():
    answer = own_client.infer("echo_" + datatype, [tensor("x", array)])
    report["echo"][datatype] = listed(answer, "y")["y"]
text = np.array([["gr\\u00fcn".encode(), b""]], dtype=object)
answer = own_client.infer("echo_BYTES", [tensor("x", text)]).as_numpy("y")
report["echo"]["BYTES"] = [element.decode() for element in answer.ravel()]

answer = own_client.infer(
    "calculator", [tensor("x", np.array([5]))], parameters={"signature_name": "square"}
)
report["square"] = listed(answer, "y")["y"]

report["refusals"] = []
for model, array in (("identity", x.astype(np.float64)), ("nope", x)):
    try:
        client.infer(model, [tensor("x", array)])
    except InferenceServerException as error:
        report["refusals"].append([error.status(), error.message()])

print(json.dumps(report))
"""

# Every message and field of this project must be Triton's.
DESCRIPTORS = """
import json
from tritonclient.grpc import model_config_pb2, service_pb2

def describe(message):
    yield message.full_name, {
        field.name: [field.number, field.type, field.is_repeated] for field in message.fields
    }
    for enum in message.enum_types:
        yield values(enum)
    for nested in message.nested_types:
        yield from describe(nested)

def values(enum):
    return enum.full_name, {value.name: value.number for value in enum.values}

files = (service_pb2, model_config_pb2)
messages = [one for file in files for one in file.DESCRIPTOR.message_types_by_name.values()]
enums = [values(one) for one in model_config_pb2.DESCRIPTOR.enum_types_by_name.values()]
print(json.dumps(dict([*enums, *(pair for one in messages for pair in describe(one))])))
"""


def run(program: str, *arguments: str) -> dict:
    result = subprocess.run(
        [PYTHON, "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def own_target(tmp_path_factory, running_server):
    """Address of a server with models of several datatypes, and one with two signatures."""
    folder = tmp_path_factory.mktemp("kserve_models")
    for datatype in ("BOOL", "FP16", "UINT64", "BYTES"):
        tiny_models.echo(folder, datatype)
    arithmetic_models.calculator(folder)
    with running_server(folder) as address:
        yield address


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_the_official_client_gets_the_same_answers(
    transport, target, own_target, client, sample_images
):
    """Readiness, metadata, inference in every form and errors work through Triton's client."""
    theirs = run(PROGRAM, transport, target, str(SAMPLE), own_target)

    ours = client.predict("brightness", {"images": sample_images})
    assert (theirs["live"], theirs["ready"]) == (True, True)
    assert theirs["model_ready"] == [True, True, False, False]
    assert theirs["server"]["name"] == "onnx-serving"
    assert set(theirs["server"]["extensions"]) == EXTENSIONS
    assert theirs["model"]["versions"] == ["1"]
    assert theirs["model"]["platform"] == "onnxruntime_onnx"
    # In JSON, the gRPC client has 64-bit integers as strings, as protobuf does.
    (images,) = theirs["model"]["inputs"]
    assert (images["name"], images["datatype"]) == ("images", "UINT8")
    assert [int(size) for size in images["shape"]] == [-1, 32, 32, 3]
    assert theirs["id"] == "7"
    for name, array in ours.items():
        dtype, shape, values = theirs["brightness"][name]
        assert (dtype, shape) == (str(array.dtype), list(array.shape))
        np.testing.assert_array_equal(np.array(values, dtype), array)
    assert theirs["add"] == {"difference": ["int64", [2], [2, 2**62 + 1]]}
    x = np.array([[0.1, -0.0, 3e38]], np.float32)
    for name in ("identity", "identity_json", "identity_gzip"):
        if transport == "http" or name == "identity":
            values = np.array(theirs[name]["y"][2], np.float32)
            assert values.tobytes() == x.tobytes()
    assert theirs["echo"] == {
        "BOOL": ["bool", [1, 2], [[True, False]]],
        "FP16": ["float16", [1, 2], [[0.5, -65504]]],
        "UINT64": ["uint64", [1, 2], [[0, 2**64 - 1]]],
        "BYTES": ["grün", ""],
    }
    assert theirs["square"] == ["int64", [1], [25]]
    (refused_code, refused), (unknown_code, unknown) = theirs["refusals"]
    codes = {"grpc": ("INVALID_ARGUMENT", "NOT_FOUND"), "http": ("400", "404")}[transport]
    assert (refused_code.removeprefix("StatusCode."), refused.partition(":")[0]) == (
        codes[0],
        "Expects arg[0] to be float but double is provided",
    )
    assert unknown_code.removeprefix("StatusCode.") == codes[1]
    assert unknown.startswith("Request for unknown model: 'nope' is not found")


# A field that MLServer added to the protocol; other clients skip unknown fields.
EXTENDED, EXTENSION = "inference.ModelMetadataResponse", "parameters"


def test_messages_are_the_official_ones():
    """Each message and enum has the names, numbers and types of tritonclient's."""
    theirs = run(DESCRIPTORS)

    ours = {}
    files = (kserve_pb2, kserve_config_pb2)
    messages = [one for file in files for one in file.DESCRIPTOR.message_types_by_name.values()]
    enums = list(kserve_config_pb2.DESCRIPTOR.enum_types_by_name.values())
    while messages:
        message = messages.pop()
        messages.extend(message.nested_types)
        enums.extend(message.enum_types)
        ours[message.full_name] = {
            field.name: [field.number, field.type, field.is_repeated] for field in message.fields
        }
    for enum in enums:
        ours[enum.full_name] = {value.name: value.number for value in enum.values}
    assert len(ours) >= 50
    del ours[f"{EXTENDED}.ParametersEntry"]
    number, *_ = ours[EXTENDED].pop(EXTENSION)
    assert number not in {field[0] for field in theirs[EXTENDED].values()}
    for name, fields in ours.items():
        assert fields.items() <= theirs[name].items(), name

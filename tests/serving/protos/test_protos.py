import subprocess
import sys

import pytest

OURS = "from serving.protos import tensorflow_serving_pb2 as ours"
THEIRS = "from tensorflow_serving.apis import predict_pb2 as theirs"
OUR_CHECK = """
request = ours.PredictRequest()
request.model_spec.name = "simcnn"
request.inputs["images"].tensor_content = b"pixels"
assert ours.PredictRequest.FromString(request.SerializeToString()) == request
"""
WIRE_CHECK = """
received = theirs.PredictRequest.FromString(request.SerializeToString())
assert received.model_spec.name == "simcnn"
assert received.inputs["images"].tensor_content == b"pixels"
assert ours.PredictRequest.FromString(received.SerializeToString()) == request
"""


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(
            OURS + OUR_CHECK + "import sys; assert 'tensorflow' not in sys.modules", id="absent"
        ),
        pytest.param(f"{THEIRS}\n{OURS}" + OUR_CHECK + WIRE_CHECK, id="first"),
        pytest.param(f"{OURS}\n{THEIRS}" + OUR_CHECK + WIRE_CHECK, id="last"),
    ],
)
def test_messages_live_beside_tensorflows_own(program):
    """The server's messages work without TensorFlow, and with it imported before or after.

    Each package reads what the other one writes.
    """
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )

    assert result.returncode == 0, result.stderr

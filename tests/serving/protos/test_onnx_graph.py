import subprocess
import sys

import pytest

OURS = "from serving.protos import onnx_graph_pb2 as ours\n"
THEIRS = "import onnx\n"
OUR_CHECK = """
model = ours.ModelProto()
model.graph.input.add(name="x").type.tensor_type.shape.dim.add().dim_param = "batch"
node = model.graph.node.add(op_type="Identity", input=["x"], output=["y"])
node.attribute.add(name="k", type=ours.AttributeProto.INT, i=7)
assert ours.ModelProto.FromString(model.SerializeToString()) == model
"""
WIRE_CHECK = """
received = onnx.ModelProto.FromString(model.SerializeToString())
assert received.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
assert onnx.helper.get_attribute_value(received.graph.node[0].attribute[0]) == 7
assert ours.ModelProto.FromString(received.SerializeToString()) == model
"""


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(OURS + OUR_CHECK + "import sys; assert 'onnx' not in sys.modules", id="alone"),
        pytest.param(THEIRS + OURS + OUR_CHECK + WIRE_CHECK, id="first"),
        pytest.param(OURS + THEIRS + OUR_CHECK + WIRE_CHECK, id="last"),
    ],
)
def test_messages_live_beside_those_of_onnx(program):
    """The server's ONNX messages work without onnx, and with onnx imported before or after.

    Each package reads what the other one writes.
    """
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )

    assert result.returncode == 0, result.stderr


def test_names_and_numbers_are_those_of_onnx():
    """Each field and enum value has the number, type and label that onnx gives it."""
    import onnx  # noqa: PLC0415 - the tests above depend on the import order

    from serving.protos import onnx_graph_pb2 as ours  # noqa: PLC0415

    messages = list(ours.DESCRIPTOR.message_types_by_name.values())
    checked = 0
    while messages:
        message = messages.pop()
        messages.extend(message.nested_types)
        theirs = onnx.ModelProto.DESCRIPTOR.file.pool.FindMessageTypeByName(message.full_name)
        for field in message.fields:
            other = theirs.fields_by_name[field.name]
            assert (field.number, field.type, field.is_repeated) == (
                (other.number, other.type, other.is_repeated)
            )
            checked += 1
        for enum in message.enum_types:
            other = theirs.enum_types_by_name[enum.name]
            assert {value.name: value.number for value in enum.values} == {
                value.name: value.number for value in other.values
            }

    assert checked > 40

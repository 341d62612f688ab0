"""`model.fp16.onnx`: the graph in float16, for GPUs; inputs and outputs keep their types."""

import onnx
from onnx import helper

# This import appends the module's folder to sys.path; at the end it hides no other module.
from onnxruntime.transformers import float16

# float16 has 11 bits of precision: too few for a softmax, and rounding makes logits tie.
_IN_FLOAT32 = frozenset({"Softmax", "ArgMax"})


def convert(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that computes up to the logits in float16, and softmax and argmax in float32.

    Weights are clipped: above 65,504 to 65,504, and below 6e-8 to 6e-8.

    Args:
        model: A graph whose outputs are made by Softmax and ArgMax nodes.
    """
    body = onnx.ModelProto.FromString(model.SerializeToString())
    graph = body.graph
    ends = [node for node in graph.node if node.op_type in _IN_FLOAT32]
    outputs = list(graph.output)
    # The converter keeps the types of the graph's outputs, so the logits are its outputs meanwhile.
    logits = dict.fromkeys(node.input[0] for node in ends)
    del graph.output[:]
    graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in logits
    )
    for node in ends:
        graph.node.remove(node)
    converted: onnx.ModelProto = float16.convert_float_to_float16(body, keep_io_types=True)
    del converted.graph.output[:]
    converted.graph.output.extend(outputs)
    converted.graph.node.extend(ends)
    onnx.checker.check_model(converted, full_check=True)
    return converted

"""`model.fp16.onnx`: the graph in float16, for GPUs; inputs and outputs keep their types."""

import onnx
from onnx import helper
from onnxruntime.quantization.onnx_model import ONNXModel

# This import appends the module's folder to sys.path; at the end it hides no other module.
from onnxruntime.transformers import float16

# float16 has 11 bits of precision: too few for a softmax, and rounding makes logits tie.
_IN_FLOAT32 = frozenset({"Softmax", "ArgMax"})


def convert(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that computes up to the logits in float16, and softmax and argmax in float32.

    Weights are clipped: above 65,504 to 65,504, and below 6e-8 to 6e-8.

    Args:
        model: Any graph; outputs of other operations than Softmax and ArgMax are computed in
            float16 and returned as float32.
    """
    body = onnx.ModelProto.FromString(model.SerializeToString())
    graph = body.graph
    outputs = list(graph.output)
    read = {name for node in graph.node for name in node.input}
    made = {output.name for output in outputs} - read
    # A softmax inside the network, as in attention, is converted with the rest.
    ends = [node for node in graph.node if node.op_type in _IN_FLOAT32 and set(node.output) <= made]
    at_ends = {name for node in ends for name in node.output}
    others = [output for output in outputs if output.name not in at_ends]
    # The converter keeps the types of the graph's outputs, so the logits are its outputs meanwhile.
    logits = dict.fromkeys(node.input[0] for node in ends)
    del graph.output[:]
    graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None)
        for name in logits
        if name not in {output.name for output in others}
    )
    graph.output.extend(others)
    for node in ends:
        graph.node.remove(node)
    converted: onnx.ModelProto = float16.convert_float_to_float16(body, keep_io_types=True)
    del converted.graph.output[:]
    converted.graph.output.extend(outputs)
    converted.graph.node.extend(ends)
    if any(info.type.tensor_type.elem_type == onnx.TensorProto.FLOAT for info in graph.input):
        ONNXModel(converted).topological_sort()  # the casts of float32 inputs are at the end
    onnx.checker.check_model(converted, full_check=True)
    return converted

"""`model.fp16.onnx`: computed in half floats, for GPUs; inputs and outputs stay as they are."""

import onnx
from onnx import helper

# Importing it adds its own folder to sys.path, at the end, where it hides nothing.
from onnxruntime.transformers import float16

# Half floats have 11 bits: few for a softmax, and logits that round to the same number would tie.
_IN_FLOAT32 = frozenset({"Softmax", "ArgMax"})


def convert(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that computes in float16 up to the logits, and the softmax and the argmax in float32.

    Weights beyond 65,504 become that, and such below 6e-8 become 6e-8.

    Args:
        model: A graph whose outputs are made by Softmax and ArgMax nodes.
    """
    body = onnx.ModelProto.FromString(model.SerializeToString())
    graph = body.graph
    ends = [node for node in graph.node if node.op_type in _IN_FLOAT32]
    outputs = list(graph.output)
    # The converter keeps the types of a graph's outputs: the logits have to be one meanwhile.
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

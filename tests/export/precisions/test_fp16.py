import numpy as np
import onnx
from onnx import TensorProto
from sample_models import tiny_classifiers

from export.gates import answers
from export.precisions import fp16


def test_layers_compute_in_half_floats():
    """All weights become float16; the softmax and the argmax get float32 logits."""
    converted = fp16.convert(tiny_classifiers.classifier())

    weights = [x for x in converted.graph.initializer if x.name[0] in "wb"]
    assert {tensor.data_type for tensor in weights} == {TensorProto.FLOAT16}
    makers = {name: node for node in converted.graph.node for name in node.output}
    for output in ("probabilities", "classes"):
        cast = makers[makers[output].input[0]]
        assert cast.op_type == "Cast"
        assert cast.attribute[0].i == TensorProto.FLOAT


def test_interface_stays():
    """Inputs and outputs keep names, types, shapes and order, so that signature.json fits."""
    model = tiny_classifiers.classifier()

    converted = fp16.convert(model)

    assert list(converted.graph.input) == list(model.graph.input)
    assert list(converted.graph.output) == list(model.graph.output)


def test_answers_are_close_and_bytes_reproducible():
    """Probabilities differ by less than 0.01, and two conversions give the same bytes."""
    model, images = tiny_classifiers.classifier(), tiny_classifiers.images(20)
    before = model.SerializeToString()

    first, second = (fp16.convert(model).SerializeToString() for _ in range(2))

    assert first == second
    assert model.SerializeToString() == before
    assert len(first) < 0.6 * len(before)
    answer = tiny_classifiers.run(onnx.load_from_string(first), images)
    expected = tiny_classifiers.run(model, images)
    assert 0 < np.abs(answer - expected).max() < 0.01


def test_floats_in_and_logits_out_keep_their_types():
    """A softmax inside the network becomes float16; the output is made by another operation."""
    floats = TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Softmax", ["x"], ["inside"], axis=1),
            onnx.helper.make_node("MatMul", ["inside", "w"], ["logits"]),
        ],
        "attention",
        [onnx.helper.make_tensor_value_info("x", floats, ["batch", 4])],
        [onnx.helper.make_tensor_value_info("logits", floats, ["batch", 3])],
        [onnx.numpy_helper.from_array(np.ones((4, 3), np.float32), "w")],
    )
    opsets = [onnx.helper.make_opsetid("", 18)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)

    converted = fp16.convert(model)

    assert [x.type.tensor_type.elem_type for x in converted.graph.input] == [floats]
    assert [x.type.tensor_type.elem_type for x in converted.graph.output] == [floats]
    answer = answers.session(converted.SerializeToString()).run(None, {"x": np.ones((2, 4), "f")})
    np.testing.assert_allclose(answer[0], np.ones((2, 3)), atol=1e-2)

"""The random inputs that a reference gets, and the comparison of its answers with the graph's.

The reference here is NumPy instead of TensorFlow: it answers or refuses.
"""

import numpy as np
import onnx
import pytest
import tensorflow as tf
from onnx import helper
from sample_models.tiny_models import save

from export.errors import ExportError, GateFailed
from export.gates import random_inputs
from serving.tensors.signature import DataType, Signature, TensorSpec


def spec(name, dtype=DataType.DT_FLOAT, shape=(-1, 2)):
    return TensorSpec(dtype=dtype, shape=shape, tensor=name, graph_name=f"{name}:0")


def doubling(folder, dtype=DataType.DT_FLOAT, shape=(-1, 2)):
    """Write a graph that computes y = x + x; return its signatures."""
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype.numpy))
    dimensions = [None if size == -1 else size for size in shape or ()]
    infos = [helper.make_tensor_value_info(name, kind, dimensions) for name in ("x", "y")]
    save(
        folder / "model.onnx",
        [helper.make_node("Add", ["x", "x"], ["y"])],
        infos[:1],
        infos[1:],
    )
    if shape is None:
        model = onnx.load(folder / "model.onnx")
        for info in (*model.graph.input, *model.graph.output):
            info.type.tensor_type.ClearField("shape")
        onnx.save(model, folder / "model.onnx")
    signature = Signature(
        method_name="tensorflow/serving/predict",
        file="model.onnx",
        inputs={"x": spec("x", dtype, shape)},
        outputs={"y": spec("y", dtype, shape)},
    )
    return {"serving_default": signature}


class Doubling:
    """A reference that answers 2 x, or raises the error that `refuse` returns; keeps all inputs."""

    def __init__(self, refuse=lambda x: None, error=0) -> None:
        self.refuse, self.error, self.inputs = refuse, error, []

    def ask(self, signature, inputs):
        """See Reference."""
        x = inputs["x"]
        self.inputs.append(x)
        if (error := self.refuse(x)) is not None:
            raise error
        return {"y": (x + x + self.error).astype(x.dtype)}


def refusal(words, kind=tf.errors.InvalidArgumentError):
    return kind(None, None, words)


def check(folder, reference, signatures, **settings):
    return random_inputs.check(reference, folder, signatures, **settings)


def test_each_batch_size_and_output_is_a_finding(tmp_path):
    """The check returns a finding with the largest difference for 1 and for 5 rows."""
    asked = []

    findings = check(tmp_path, Doubling(error=1e-6), doubling(tmp_path), asked=asked)

    assert [(each.pop("max_abs_delta") > 0, each) for each in findings] == [
        (True, {"signature": "serving_default", "rows": rows, "output": "y"}) for rows in (1, 5)
    ]
    assert [each.inputs["x"].shape for each in asked] == [(1, 2), (5, 2)]
    for each in asked:
        assert each.signature == "serving_default"
        np.testing.assert_allclose(each.outputs["y"], 2 * each.inputs["x"], atol=1e-5)


def test_all_that_differs_is_told_at_once(tmp_path):
    """GateFailed has a line for each batch that differs, with the first value that is off."""

    class FirstRowIsRight(Doubling):
        def ask(self, signature, inputs):
            answer = super().ask(signature, inputs)
            answer["y"][1:] += 1
            return answer

    with pytest.raises(GateFailed) as failure:
        check(tmp_path, FirstRowIsRight(), doubling(tmp_path))

    first, line, way_out = str(failure.value).splitlines()
    assert first == "parity gate: ONNX differs from SavedModel"
    assert line.startswith(
        "  signature 'serving_default', 5 rows, output 'y': 8 of 10 values outside rtol 0.0001, "
        "atol 1e-05; the first at (1, 0): "
    )
    assert way_out.startswith("  way out: ")


def test_what_onnx_runtime_refuses_is_told_as_well(tmp_path):
    """If the reference answers and ONNX Runtime refuses the input, GateFailed says it."""
    signatures = doubling(tmp_path)
    signatures["serving_default"].inputs["x"] = spec("x", shape=(-1, 3))

    with pytest.raises(GateFailed, match="1 rows: ONNX Runtime refuses what TensorFlow answers: "):
        check(tmp_path, Doubling(), signatures)


def test_integers_that_tensorflow_refuses_become_smaller(tmp_path):
    """If the reference refuses integers up to 9, it is asked again with 0 and 1."""

    def table_of_two(x):
        if x.max() > 1:
            return refusal("indices = 9 is not in [0, 2)")
        return None

    reference = Doubling(table_of_two)

    findings = check(tmp_path, reference, doubling(tmp_path, DataType.DT_INT64, (-1, 200)))

    assert [each["rows"] for each in findings] == [1, 5]
    assert [x.max() for x in reference.inputs] == [9, 1, 9, 1]


def test_the_refusal_of_the_largest_integers_is_told(tmp_path):
    """If all integers are refused, the error has the first refusal, of the largest integers."""
    count = iter(range(10))

    def never(x):
        return refusal(f"no {next(count)}")

    with pytest.raises(ExportError, match="no 0") as failure:
        check(tmp_path, Doubling(never), doubling(tmp_path, DataType.DT_INT32))

    assert "(x int32(1, 2))" in str(failure.value)


@pytest.mark.parametrize("dtype", [DataType.DT_FLOAT, DataType.DT_UINT8])
def test_what_are_no_indices_is_asked_once(tmp_path, dtype):
    """If floats or pixels are refused, no shape is asked a second time with smaller values."""

    def never(x):
        return refusal("no")

    reference = Doubling(never)

    with pytest.raises(ExportError):
        check(tmp_path, reference, doubling(tmp_path, dtype))

    assert len({x.shape for x in reference.inputs}) == len(reference.inputs)


def test_a_reference_that_ended_is_not_asked_with_smaller_integers(tmp_path):
    """After AbortedError no shape is asked again, because restarting the process takes seconds."""

    def ends(x):
        return refusal("the process ended", tf.errors.AbortedError)

    reference = Doubling(ends)

    with pytest.raises(ExportError):
        check(tmp_path, reference, doubling(tmp_path, DataType.DT_INT64))

    assert len({x.shape for x in reference.inputs}) == len(reference.inputs)


def test_sizes_too_large_for_memory_are_not_asked(tmp_path):
    """Free sizes that would need 16,000 x 16,000 values are left out; the first error is raised."""

    def never(x):
        return refusal(f"refused {x.shape}")

    reference = Doubling(never)

    with pytest.raises(ExportError, match=r"refused \(1, 16, 16\)"):
        check(tmp_path, reference, doubling(tmp_path, shape=(-1, -1, -1)))

    shapes = [x.shape for x in reference.inputs]
    assert shapes == [(1, 16, 16), (1, 224, 224), (16, 16, 16), (224, 224, 224)]


def test_pictures_alone_are_asked_with_the_size_of_pictures(tmp_path):
    """The size 224, for pictures, is only asked of inputs with three dimensions or more."""

    def never(x):
        return refusal("no")

    reference = Doubling(never)

    with pytest.raises(ExportError):
        check(tmp_path, reference, doubling(tmp_path, shape=(-1, -1)))

    assert [x.shape for x in reference.inputs] == [(1, 16), (1, 16_000), (16, 16)]


def test_answers_without_elements_count_if_there_are_no_others(tmp_path):
    """If an answer is empty, larger inputs are tried; it is compared only if all are empty."""

    class Windows(Doubling):
        def ask(self, signature, inputs):
            answer = super().ask(signature, inputs)
            return {"y": answer["y"] if inputs["x"].shape[1] > 100 else answer["y"][:0]}

    class Nothing(Doubling):
        def ask(self, signature, inputs):
            return {"y": super().ask(signature, inputs)["y"][:0]}

    asked = []
    signatures = doubling(tmp_path, shape=(-1, -1))

    check(tmp_path, Windows(), signatures, asked=asked)

    assert [each.inputs["x"].shape for each in asked] == [(1, 16_000), (5, 16_000)]
    with pytest.raises(GateFailed, match=r"1 rows, output 'y': float32\(1, 16\), expected float32"):
        check(tmp_path, Nothing(), signatures)


def test_inputs_of_any_rank_are_asked_with_every_shape(tmp_path):
    """Inputs of unknown rank are asked with several shapes; refused shapes are left out."""

    def no_scalars(x):
        if x.ndim == 0:
            return refusal("no scalars")
        return None

    asked = []

    findings = check(tmp_path, Doubling(no_scalars), doubling(tmp_path, shape=None), asked=asked)

    assert [each.get("rows", each.get("shape")) for each in findings] == [1, 5, [3], [2, 3], [0, 3]]
    assert [each.inputs["x"].shape for each in asked] == [(1,), (5,), (3,), (2, 3), (0, 3)]


@pytest.mark.parametrize(
    ("expected", "received", "agrees"),
    [
        (np.float32([1, np.nan]), np.float32([1 + 9e-5, np.nan]), True),
        (np.float32([1]), np.float32([1 + 2e-4]), False),
        (np.float32([0]), np.float32([9e-6]), True),
        (np.float32([0]), np.float32([2e-5]), False),
        (np.float16([1]), np.float16([1.009]), True),
        (np.float64([1]), np.float32([1]), False),
        (np.float32([1]), np.float32([[1]]), False),
        (np.int64([5]), np.int64([5]), True),
        (np.int64([100_000]), np.int64([100_001]), False),
        (np.array([b"a"], object), np.array(["a"], object), True),
        (np.array([b"a", b"b"], object), np.array(["a", "c"], object), False),
    ],
)
def test_answers_agree_but_for_rounding(expected, received, agrees):
    """Floats agree within their dtype's tolerance; integers and text only if equal."""
    assert random_inputs.agree(expected, received) is agrees


def test_the_largest_difference_is_0_where_there_is_nothing_to_subtract():
    """The largest difference of text, of empty arrays and of other shapes is 0."""
    text = np.array([b"a"], object)

    assert random_inputs._max_abs_delta(text, text) == 0
    assert random_inputs._max_abs_delta(np.float32([]), np.float32([])) == 0
    assert random_inputs._max_abs_delta(np.float32([1, 2]), np.float32([1])) == 0
    assert random_inputs._max_abs_delta(np.float32([1, 2]), np.float32([1, 4])) == 2

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from sample_models import arithmetic_models, tiny_models
from sample_models.zoo_graph import FLOAT, INT64, Graph
from sample_saved_models.zoo import ZOO

from serving.engine import row_independence
from serving.engine.runtime import Runtime, RuntimeConfig
from serving.tensors.signature import PREDICT_METHOD_NAME, DataType, Signature, TensorSpec
from serving.tensors.verdict import Verdict

PROOFS = 3
DEPENDENT = [entry for entry in ZOO if not entry.rows_independent]
INDEPENDENT = [entry for entry in ZOO if entry.rows_independent]


def signature_of(file: Path) -> Signature:
    """Return the signature of a graph without signature.json."""
    graph = Runtime(file, RuntimeConfig(device="cpu"))
    return Signature(
        method_name=PREDICT_METHOD_NAME,
        file=file.name,
        inputs=graph.inputs,
        outputs=graph.outputs,
    )


def names_in(file: Path) -> set[str]:
    """Return the names of a graph's outputs and operators."""
    graph = onnx.load(file).graph
    return {output.name for output in graph.output} | {node.op_type for node in graph.node}


@pytest.mark.parametrize("entry", INDEPENDENT, ids=lambda entry: entry.name)
def test_independent_rows_are_proved_independent(entry, tmp_path):
    """A model with independent rows is proved independent, and the verdict has evidence."""
    file = entry.build(tmp_path)

    verdict = row_independence.prove(file, signature_of(file))

    assert verdict.independent, verdict.evidence
    assert verdict.evidence


@pytest.mark.parametrize("entry", DEPENDENT, ids=lambda entry: entry.name)
def test_dependent_rows_are_never_proved_independent(entry, tmp_path):
    """Three proofs in a row refuse the model; each evidence names an output or an operator."""
    file = entry.build(tmp_path)
    signature = signature_of(file)

    verdicts = [row_independence.prove(file, signature) for _ in range(PROOFS)]

    for verdict in verdicts:
        assert not verdict.independent, verdict.evidence
        assert names_in(file) & set(re.findall(r"\w+", verdict.evidence)), verdict.evidence


def test_strings_are_not_proved(tmp_path):
    """A signature with a string input is not shown to be independent: no text can be made up."""
    file = tiny_models.echo(tmp_path, "BYTES") / "model.onnx"

    verdict = row_independence.prove(file, signature_of(file))

    assert not verdict.independent
    assert verdict.evidence


@pytest.mark.parametrize(
    ("input_rows", "output_rows"),
    [(4, 4), (1, 1), ("batch", 1)],
    ids=["fixed", "one_row", "fixed_output"],
)
def test_fixed_first_dimensions_are_not_proved(input_rows, output_rows, tmp_path):
    """A signature with a fixed first dimension is not proved independent: it has no batch."""
    graph = Graph(x=(FLOAT, [input_rows, 3]))
    if input_rows == output_rows:
        graph.op("Relu", "x", into="y")
    else:
        graph.op("ReduceMax", "x", axes=[0], keepdims=1, into="y")
    file = graph.save(tmp_path, "fixed", y=(FLOAT, [output_rows, 3])) / "model.onnx"

    verdict = row_independence.prove(file, signature_of(file))

    assert not verdict.independent
    assert verdict.evidence


@pytest.mark.parametrize("max_batch_size", [2, 64, 128])
def test_other_largest_batches_are_proved_too(max_batch_size, tmp_path):
    """A proof with another largest batch size tells dependent and independent rows apart, too."""
    mixing = next(entry for entry in ZOO if entry.name == "centred_rows").build(tmp_path)
    plain = next(entry for entry in ZOO if entry.name == "affine").build(tmp_path)

    assert not row_independence.prove(
        mixing, signature_of(mixing), max_batch_size=max_batch_size
    ).independent
    assert row_independence.prove(
        plain, signature_of(plain), max_batch_size=max_batch_size
    ).independent


class OrderSensitive:
    """Stands in for a graph whose answers are right as long as rows keep their order.

    No small ONNX graph can do that: it would have to remember the previous batch.
    """

    def __init__(self) -> None:
        self._whole = np.zeros((0, 3), np.float32)

    def run(self, _outputs, feeds, _control):
        """Return the rows; add one if they are the whole batch in another order."""
        (rows,) = feeds.values()
        starts = range(len(self._whole) - len(rows) + 1)
        if any(np.array_equal(self._whole[start : start + len(rows)], rows) for start in starts):
            return [rows]
        if len(rows) == len(self._whole) and np.array_equal(
            np.sort(rows, axis=0), np.sort(self._whole, axis=0)
        ):
            return [rows + 1]
        self._whole = rows
        return [rows]


def test_a_graph_that_depends_on_the_order_of_rows_is_not_proved(tmp_path):
    """A graph whose answers change only with the order of rows is not proved independent."""
    file = tiny_models.identity(tmp_path) / "model.onnx"

    verdict = row_independence.prove(file, signature_of(file), runtime=OrderSensitive())

    assert not verdict.independent
    assert "the rows in another order" in verdict.evidence


def test_a_graph_that_differs_from_itself_is_not_proved(tmp_path):
    """A graph that answers the same batch differently is not proved independent.

    Random numbers are such a case: the proof asks for the same batch twice.
    """
    file = tiny_models.identity(tmp_path) / "model.onnx"

    class Noisy:
        def __init__(self) -> None:
            self._random = np.random.default_rng(0)

        def run(self, _outputs, feeds, _control):
            (rows,) = feeds.values()
            return [rows + self._random.normal(size=rows.shape).astype(np.float32)]

    verdict = row_independence.prove(file, signature_of(file), runtime=Noisy())

    assert not verdict.independent
    assert "the same rows, asked again" in verdict.evidence


def test_a_signature_that_asks_less_is_not_probed_again(tmp_path, monkeypatch):
    """A signature with the same inputs and a part of the outputs shares the other's verdict."""
    file = arithmetic_models.calculator(tmp_path) / "model.onnx"
    whole = signature_of(file)
    asked = []
    prove = row_independence.prove
    monkeypatch.setattr(
        row_independence, "prove", lambda *a, **k: asked.append(a) or prove(*a, **k)
    )
    alias = next(iter(whole.outputs))
    part = replace(whole, outputs={alias: whole.outputs[alias]})

    verdicts = row_independence.prove_each(file, {"whole": whole, "part": part})

    assert len(asked) == 1
    assert verdicts["whole"] == verdicts["part"]
    assert verdicts["part"].independent


def test_a_graph_that_refuses_made_up_inputs_is_not_proved(tmp_path):
    """A graph that fails on made-up inputs is not proved; the evidence has the graph's error."""
    graph = Graph(x=(INT64, ["batch"]))
    graph.op("Reshape", "x", np.array([-1, 7], np.int64), into="y")
    file = graph.save(tmp_path, "sevens", y=(INT64, ["rows", "columns"])) / "model.onnx"

    verdict = row_independence.prove(file, signature_of(file))

    assert not verdict.independent
    assert "the graph refuses made-up inputs" in verdict.evidence


def test_waveforms_are_asked_with_a_second_of_sound(tmp_path):
    """A signature of waveforms is probed with one second of sound and proved independent.

    Its filter of 400 samples refuses all small sizes.
    """
    tensor = onnx.helper.make_tensor_value_info
    tiny_models.save(
        tmp_path / "model.onnx",
        [
            onnx.helper.make_node("Unsqueeze", ["wave", "axis"], ["column"]),
            onnx.helper.make_node("Conv", ["column", "filter"], ["y"], strides=[160]),
        ],
        [tensor("wave", onnx.TensorProto.FLOAT, ["batch", "samples"])],
        [tensor("y", onnx.TensorProto.FLOAT, ["batch", 1, "windows"])],
        [
            onnx.helper.make_tensor("axis", onnx.TensorProto.INT64, [1], [1]),
            onnx.helper.make_tensor("filter", onnx.TensorProto.FLOAT, [1, 1, 400], [0.01] * 400),
        ],
    )
    file = tmp_path / "model.onnx"

    verdict = row_independence.prove(file, signature_of(file))

    assert verdict.independent, verdict.evidence


def test_a_signature_of_constants_alone_has_independent_rows():
    """No graph is needed to see that."""
    names = TensorSpec(
        dtype=DataType.DT_STRING, shape=(-1, 2), tensor="", graph_name="", constant=("a", "b")
    )
    signature = Signature(
        method_name=PREDICT_METHOD_NAME, file="model.onnx", inputs={}, outputs={"names": names}
    )

    assert row_independence.prove(None, signature, max_batch_size=8) == Verdict(
        independent=True, evidence="no output is computed: all are constant", max_batch_size=8
    )


def test_a_run_that_would_end_too_late_is_not_begun(tmp_path):
    """As the last run took so long for each row."""
    file = tiny_models.add(tmp_path) / "model.onnx"
    graph = Runtime(file, RuntimeConfig(device="cpu"))
    probe = row_independence._Probe(graph, signature_of(file), 1000)
    inputs = {name: np.arange(4) for name in ("a", "b")}

    assert probe._run(inputs, 4)["sum"].tolist() == [0, 2, 4, 6]
    assert 0 < probe._row_seconds < 10
    probe._row_seconds = 300

    assert probe._run(inputs, 1)["sum"].tolist() == [0, 2, 4, 6]
    with pytest.raises(row_independence._NotProvedError, match="1000"):
        probe._run(inputs, 4)

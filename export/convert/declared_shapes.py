"""The input shapes that an ONNX graph declares: all shapes that TensorFlow answers.

A TensorFlow session does not check shapes. It passes a tensor of any rank to the operations behind
a placeholder, whatever shape the placeholder or the signature declares, and only the operations
refuse it: a sum takes every shape, a matrix product only matrices of its width. ONNX Runtime
refuses every shape that the graph does not declare. This module therefore runs TensorFlow on shapes
that the placeholders do not declare. If TensorFlow answers some of them, the graph is converted
again with looser declarations. The looser graph replaces the strict one only if nothing else
changes: both have the same nodes, and ONNX Runtime optimizes them to the same graph.
"""

import contextlib
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import tensorflow as tf

from export.convert.frozen_graph import Shape
from export.convert.source import Source
from export.errors import ExportError
from export.gates import answers, random_arrays, random_inputs
from export.gates.random_inputs import Reference
from export.sources.session_process import ProcessEndedError
from serving.tensors.signature import Signature, TensorSpec

_log = logging.getLogger("export")

Arrays = Mapping[str, npt.NDArray[Any]]
Convert = Callable[[Mapping[str, Shape]], onnx.ModelProto]

_ROWS = 2
_RANKS = (2, 1, 3, 4)
# Some inputs end TensorFlow's process; starting it again takes seconds.
_MOST_ENDS = 2
_FREE_SIZE = 4
_MOST_ELEMENTS = 1 << 24


@dataclass(frozen=True, eq=False)
class Answered:
    """Inputs of a shape that no placeholder declares, and TensorFlow's outputs for them."""

    inputs: Arrays
    outputs: Arrays

    @property
    def shapes(self) -> str:
        """The input names and shapes, for messages."""
        return ", ".join(f"{alias} {array.shape}" for alias, array in self.inputs.items())


def loosen(
    strict: onnx.ModelProto, reference: Reference, source: Source, convert: Convert
) -> onnx.ModelProto:
    """Choose the graph that accepts the most shapes of those that TensorFlow answers.

    A signature that takes tf.Examples keeps the strict graph: its inputs have known shapes.

    Args:
        strict: Graph that declares the shapes of the placeholders.
        reference: TensorFlow with the SavedModel.
        source: The signature and the TensorFlow graph that the ONNX graphs are converted from.
        convert: Function that makes a graph from the shapes to declare, by alias.

    Returns:
        The first of three graphs that answers everything that TensorFlow answers: the strict graph,
        a graph with all sizes free, a graph with any rank. If none does, the graph that answers
        most. The looser graphs are candidates only if their nodes equal those of the strict graph.
    """
    shapes = source.shapes
    if source.signature.feature_spec:
        return strict
    asked = list(_answered(reference, source.signature, shapes))
    if not asked:
        return strict
    best, open_ = strict, list(_unanswered(strict, source.signature, asked))
    for looser in _candidates(shapes, open_):
        model = _converted(convert, looser, shapes)
        if model is None:
            continue
        left = open_
        with contextlib.suppress(Exception):  # ONNX Runtime cannot load the model
            left = list(_unanswered(model, source.signature, asked))
        gained = len(left) < len(open_) and all(question in open_ for question in left)
        if gained and _is_as_good(model, strict):
            best, open_ = model, left
        if not open_:
            break
    for question in open_:
        _log.info("TensorFlow answers %s, which this graph does not take", question.shapes)
    return best


def first_that_converts(convert: Convert, shapes: Mapping[str, Shape]) -> onnx.ModelProto:
    """Convert with the shapes that TensorFlow declares; add a rank if tf2onnx needs one.

    Args:
        convert: Function that makes a graph from the shapes to declare, by alias.
        shapes: Shapes of the placeholders by alias; None for an unknown rank.

    Raises:
        ExportError: no conversion succeeds.
    """
    try:
        return convert(shapes)
    except ExportError:
        if None not in shapes.values():
            raise
        for rank in _RANKS:
            with contextlib.suppress(ExportError):
                return convert(
                    {
                        alias: (-1,) * rank if shape is None else shape
                        for alias, shape in shapes.items()
                    }
                )
        raise


def documented(signature: Signature, model: onnx.ModelProto) -> Signature:
    """The signature, with the ONNX graph's shape wherever the two shapes contradict each other.

    Args:
        signature: The signature as the SavedModel describes it. In old SavedModels the description
            may contradict the graph.
        model: The signature's ONNX graph. A tensor without a declared shape contradicts nothing.
    """
    declared = {info.name: _of_info(info) for info in (*model.graph.input, *model.graph.output)}

    def specs(known: Mapping[str, TensorSpec]) -> dict[str, TensorSpec]:
        return {
            alias: replace(spec, shape=declared[spec.tensor])
            if spec.tensor in declared and _contradict(spec.shape, declared[spec.tensor])
            else spec
            for alias, spec in known.items()
        }

    return replace(signature, inputs=specs(signature.inputs), outputs=specs(signature.outputs))


def _of_info(info: onnx.ValueInfoProto) -> Shape:
    if not info.type.tensor_type.HasField("shape"):
        return None
    return tuple(
        size.dim_value if size.HasField("dim_value") else -1
        for size in info.type.tensor_type.shape.dim
    )


def _contradict(shape: Shape, other: Shape) -> bool:
    if shape is None or other is None:
        return False
    return len(shape) != len(other) or any(
        -1 not in pair and pair[0] != pair[1] for pair in zip(shape, other, strict=True)
    )


def _converted(
    convert: Convert, looser: Mapping[str, Shape], shapes: Mapping[str, Shape]
) -> onnx.ModelProto | None:
    """Convert with looser shapes; None if tf2onnx needs a rank that is not known.

    If tf2onnx fails on an unknown rank, this function converts with one dimension more than usual
    and then removes the shapes. `_is_as_good` accepts that graph only if its nodes equal those of
    the usual rank; such a graph works for any rank.
    """
    try:
        return convert(looser)
    except ExportError:
        if None not in looser.values():
            return None
    try:
        model = convert({alias: (-1,) * (len(shape or ()) + 1) for alias, shape in shapes.items()})
    except ExportError:
        return None
    for info in (*model.graph.input, *model.graph.output):
        info.type.tensor_type.ClearField("shape")
    return model


def _candidates(shapes: Mapping[str, Shape], open_: list[Answered]) -> Iterator[dict[str, Shape]]:
    """Looser declarations that cover the unanswered questions, the strictest first."""
    ranks = {alias: None if shape is None else len(shape) for alias, shape in shapes.items()}
    same_rank = [
        all(ranks[alias] in {None, array.ndim} for alias, array in question.inputs.items())
        for question in open_
    ]
    if any(same_rank):
        yield {
            alias: None if shape is None else (-1,) * len(shape) for alias, shape in shapes.items()
        }
    if not all(same_rank):
        yield dict.fromkeys(shapes)


def _answered(
    reference: Reference, signature: Signature, shapes: Mapping[str, Shape]
) -> Iterator[Answered]:
    """Run TensorFlow on shapes that the placeholders do not declare; yield what it answers."""
    random = np.random.default_rng(random_inputs.SEED)
    usual = {alias: _sizes(shape) for alias, shape in shapes.items()}
    questions = [
        usual,
        *({alias: change(sizes) for alias, sizes in usual.items()} for change in _CHANGES),
    ]
    if len(usual) > 1:  # also one input of another shape with the usual shapes of the others
        questions += [
            {**usual, alias: change(sizes)} for alias, sizes in usual.items() for change in _CHANGES
        ]
    seen: list[dict[str, tuple[int, ...]]] = []
    ends = 0
    for question in questions:
        if question in seen or max(map(_elements, question.values())) > _MOST_ELEMENTS:
            continue
        seen.append(question)
        inputs = {
            alias: random_arrays.random_array(
                replace(signature.inputs[alias], shape=sizes), random, rows=1, free_size=1
            )
            for alias, sizes in question.items()
        }
        try:
            answer = reference.ask(signature, inputs)
        except ProcessEndedError:
            ends += 1
            if ends == _MOST_ENDS:
                return
        except tf.errors.OpError:
            pass
        else:
            yield Answered(inputs, answer)


def _sizes(shape: Shape) -> tuple[int, ...]:
    """A shape without free sizes that fits the given one: 2 rows, 4 for other free sizes."""
    return tuple(
        size if size != -1 else (_FREE_SIZE if position else _ROWS)
        for position, size in enumerate(shape or ())
    )


def _elements(sizes: tuple[int, ...]) -> int:
    return int(np.prod(sizes))


# Ways in which clients change the usual shape: other sizes, a scalar, a vector, a column, no first
# or last dimension, one dimension more at the end or at the start, flattened rows.
_CHANGES: tuple[Callable[[tuple[int, ...]], tuple[int, ...]], ...] = (
    lambda sizes: tuple(size + 1 for size in sizes),
    lambda sizes: tuple(2 * size for size in sizes),
    lambda sizes: (sizes[0] + 1, *sizes[1:]) if sizes else (),
    lambda sizes: (*sizes[:1], *(1 for _ in sizes[1:])),
    lambda _: (),
    lambda _: (3,),
    lambda _: (3, 1),
    lambda sizes: sizes[1:],
    lambda sizes: sizes[:-1],
    lambda sizes: (*sizes, 1),
    lambda sizes: (1, *sizes),
    lambda sizes: (*sizes[:1], _elements(sizes[1:])),
)


def _unanswered(
    model: onnx.ModelProto, signature: Signature, asked: list[Answered]
) -> Iterator[Answered]:
    """The questions that a graph refuses or answers differently from TensorFlow."""
    session = answers.session(model.SerializeToString())
    for question in asked:
        feeds = {signature.inputs[alias].tensor: array for alias, array in question.inputs.items()}
        tensors = [signature.outputs[alias].tensor for alias in question.outputs]
        try:
            arrays = session.run(tensors, feeds)
        except Exception:  # noqa: BLE001  ONNX Runtime has no base class for what it raises
            yield question
            continue
        expected = question.outputs.values()
        if not all(map(random_inputs.agree, expected, arrays)):
            yield question


def _is_as_good(model: onnx.ModelProto, strict: onnx.ModelProto) -> bool:
    """Whether two graphs differ only in declared shapes, before and after optimization."""
    return _nodes(model) == _nodes(strict) and _optimized(model) == _optimized(strict)


def _nodes(model: onnx.ModelProto) -> list[bytes]:
    parts = (*model.graph.node, *model.graph.initializer)
    return [part.SerializeToString(deterministic=True) for part in parts]


def _optimized(model: onnx.ModelProto) -> list[tuple[str, list[bytes]]]:
    """Types and attributes of the nodes of a graph after ONNX Runtime has optimized it."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "optimized.onnx"
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(file)
        options.log_severity_level = 3  # no warning that the file may not suit other machines
        onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        made = onnx.load(file)
    return [
        (
            node.op_type,
            sorted(item.SerializeToString(deterministic=True) for item in node.attribute),
        )
        for node in made.graph.node
    ]

"""Which shapes an ONNX graph declares for its inputs: those that TensorFlow answers.

A session of TensorFlow checks no shape. Whatever a placeholder or a signature says, a tensor of any
rank goes to the operations behind it, and those refuse it or not: a sum takes every shape, a matrix
product but matrices of its width. ONNX Runtime refuses what a graph does not declare. So TensorFlow
is asked, and where it answers more than its placeholders say, the graph is converted again with
looser declarations. The looser graph is taken if nothing is lost by it: its nodes are the same, and
ONNX Runtime makes the same of them.
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
# TensorFlow is started again after a question that ends it, which takes seconds.
_MOST_ENDS = 2
_FREE_SIZE = 4
_MOST_ELEMENTS = 1 << 24


@dataclass(frozen=True, eq=False)
class Answered:
    """A question of a shape that no placeholder declares, and TensorFlow's answer."""

    inputs: Arrays
    outputs: Arrays

    @property
    def shapes(self) -> str:
        """The shapes asked, for messages."""
        return ", ".join(f"{alias} {array.shape}" for alias, array in self.inputs.items())


def loosen(
    strict: onnx.ModelProto, reference: Reference, source: Source, convert: Convert
) -> onnx.ModelProto:
    """The graph that declares no more than TensorFlow asks for, if it is as good as the strict one.

    Args:
        strict: Declares the shapes of the placeholders.
        reference: Answers.
        source: What both are made of. Inputs of one that takes tf.Examples have known shapes.
        convert: Makes a graph that declares other shapes, by alias.

    Returns:
        The first of these that answers all that TensorFlow answers: the strict one, one with all
        sizes free, one with any rank. If none does, the one that answers most.
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
        with contextlib.suppress(Exception):  # ONNX Runtime cannot load it
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
    """The graph with the declarations of TensorFlow, and a rank where tf2onnx needs one.

    Args:
        convert: Makes a graph of the shapes it is given, by alias.
        shapes: Of the placeholders.

    Raises:
        ExportError: there is none.
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
    """The signature with shapes of its graph, where its own contradict it; None: of any rank.

    Args:
        signature: As TensorFlow describes it. Old models describe what their graph never was.
        model: Its ONNX graph.
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
    """A graph that declares looser shapes; None if tf2onnx needs to know more.

    What it makes of an unknown rank is a guess, at times a wrong one. Then it is asked for one
    dimension more; if that is the graph of the usual rank again, it is one of any rank.
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
    """Looser declarations that the open questions ask for, the tightest first."""
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
    """Ask TensorFlow with shapes that the placeholders do not declare."""
    random = np.random.default_rng(random_inputs.SEED)
    usual = {alias: _sizes(shape) for alias, shape in shapes.items()}
    questions = [
        usual,
        *({alias: change(sizes) for alias, sizes in usual.items()} for change in _CHANGES),
    ]
    if len(usual) > 1:  # one input of another shape beside usual ones, too
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
    """A shape that fits."""
    return tuple(
        size if size != -1 else (_FREE_SIZE if position else _ROWS)
        for position, size in enumerate(shape or ())
    )


def _elements(sizes: tuple[int, ...]) -> int:
    return int(np.prod(sizes))


# Other shapes than the usual one, as clients send them: other sizes, a value, a row, a column, rows
# without their last dimension or with one more, flat rows.
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
    """The questions to which a graph gives another answer than TensorFlow, or none."""
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
    """Whether two graphs differ in what they declare alone, before and after optimization."""
    return _nodes(model) == _nodes(strict) and _optimized(model) == _optimized(strict)


def _nodes(model: onnx.ModelProto) -> list[bytes]:
    parts = (*model.graph.node, *model.graph.initializer)
    return [part.SerializeToString(deterministic=True) for part in parts]


def _optimized(model: onnx.ModelProto) -> list[tuple[str, list[bytes]]]:
    """What ONNX Runtime makes of a graph: types and attributes of its nodes."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "optimized.onnx"
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(file)
        options.log_severity_level = 3  # it warns that such a file fits this machine alone
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

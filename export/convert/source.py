"""A signature prepared for tf2onnx: its flat graph, without the parsing of tf.Examples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import tensorflow as tf

from export.convert import example_cut, lookup_tables
from export.convert.frozen_graph import FrozenGraph, Shape, freeze
from export.convert.lookup_tables import Lookups
from export.sources import saved_model
from export.sources.serving_session import ServingSession
from serving.tensors.signature import Signature


@dataclass(frozen=True, kw_only=True)
class Source:
    """A signature and the TensorFlow graph that tf2onnx converts.

    Attributes:
        signature: The signature to publish; has a feature spec if it takes serialized tf.Examples.
        graph: The TensorFlow graph that computes the signature.
        placeholders: Names of the graph's placeholders, by alias of `signature.model_inputs`.
        batch: Placeholders of shape (1,) that take the number of examples; cutting out the parsing
            may leave some, see `example_cut.Cut`.
        lookups: Conversion of the table lookups.
    """

    signature: Signature
    graph: FrozenGraph
    placeholders: Mapping[str, str]
    batch: Sequence[str]
    lookups: Lookups

    @property
    def shapes(self) -> dict[str, Shape]:
        """The shape of each placeholder as TensorFlow declares it, by alias."""
        return {alias: self.graph.shape(name) for alias, name in self.placeholders.items()}

    def function(self, shapes: Mapping[str, Shape]) -> "Function":
        """The function that tf2onnx converts.

        Args:
            shapes: The shape to declare for each input, by alias.
        """
        return Function(self, shapes)

    def interface(self, shapes: Mapping[str, Shape], outputs: Mapping[str, Shape]) -> Signature:
        """The inputs and outputs of the ONNX graph.

        ParseExample stays outside the graph: the inputs are features instead of serialized
        examples, and constant outputs are left out.

        Args:
            shapes: The declared shape of each input, by alias.
            outputs: The inferred shape of each output, by alias. If the inputs are declared as
                TensorFlow declares them, the signature's shape is used instead, because it may fix
                more sizes, unless its rank is unknown or differs from the inferred rank.
        """
        own = dict(shapes) == self.shapes
        computed = {
            alias: spec
            if own and _fits(spec.shape, outputs[alias])
            else replace(spec, shape=outputs[alias])
            for alias, spec in self.signature.outputs.items()
            if not spec.constant
        }
        inputs = {
            alias: replace(spec, shape=shapes[alias])
            for alias, spec in self.signature.model_inputs.items()
        }
        return replace(
            self.signature, inputs=inputs, outputs=computed, feature_spec={}, defaults={}
        )


class Function:
    """A part of a TensorFlow graph as a function of keyword arguments.

    Attributes:
        outputs: The shape of each output that TensorFlow infers, by alias.
    """

    def __init__(self, source: Source, shapes: Mapping[str, Shape]) -> None:
        self._source = source
        graph = source.graph
        self._aliases = [
            alias for alias, spec in source.signature.outputs.items() if not spec.constant
        ]
        inputs = {source.placeholders[alias]: shape for alias, shape in shapes.items()}
        self._pruned = graph.function(
            inputs | dict.fromkeys(source.batch, (1,)),
            [graph.outputs[alias] for alias in self._aliases],
        )
        self.outputs: dict[str, Shape] = {
            alias: None
            if tensor.shape.rank is None
            else tuple(-1 if size is None else int(size) for size in tensor.shape.as_list())
            for alias, tensor in zip(self._aliases, self._pruned.outputs, strict=True)
        }

    def __call__(self, **tensors: Any) -> dict[str, Any]:  # noqa: ANN401  symbolic tensors
        """The outputs by alias."""
        source = self._source
        arguments = [tensors[alias] for alias in source.placeholders]
        # Features come after the other inputs and have one row for each example, so the last
        # argument gives the number of examples.
        sizes = [
            tf.cast(tf.shape(arguments[-1])[:1], source.graph.cuts[name]) for name in source.batch
        ]
        answer = self._pruned(*arguments, *sizes)
        return dict(zip(self._aliases, answer, strict=True))


def read(session: ServingSession, signature: Signature) -> Source:
    """Freeze a signature's graph and cut out the parsing of tf.Examples.

    Args:
        session: The SavedModel.
        signature: A signature from saved_model.read_signatures.

    Raises:
        ExportError: see frozen_graph.freeze and example_cut.cut.
    """
    graph = freeze(session, signature)
    lookups = lookup_tables.find(session, graph)
    if saved_model.takes_examples(signature):
        parsed = example_cut.cut(graph, signature)
        return Source(
            signature=parsed.signature,
            graph=graph,
            placeholders=parsed.placeholders,
            batch=parsed.batch,
            lookups=lookups,
        )
    return Source(
        signature=signature, graph=graph, placeholders=graph.inputs, batch=(), lookups=lookups
    )


def _fits(shape: Shape, other: Shape) -> bool:
    """Whether the first shape has a known rank that does not contradict the second shape."""
    return shape is not None and (other is None or len(shape) == len(other))

"""Convert a SavedModel to ONNX: one graph for each signature, with the same bytes every time.

The steps are TensorFlow graph -> tf2onnx -> onnxslim -> canonical names -> unused taps cut off.
The published SavedModel is converted, not the Keras model: both artefacts then have the same
origin, and SavedModels from elsewhere go through the same steps.

Tests check equal bytes for trained models. Bytes may differ for a function that returns an input
as an output, because TensorFlow may then sort its graph in another order.
"""

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import onnx
import onnxslim
import tensorflow as tf
import tf2onnx

from export.convert import declared_shapes, operations
from export.convert import source as sources
from export.convert.frozen_graph import Shape
from export.convert.lookup_tables import Lookups
from export.convert.source import Function, Source
from export.errors import ExportError
from export.failures import WITH_TENSORFLOW, no_counterpart, reason
from export.gates.random_inputs import Reference
from export.graphs import canonical_names, unused_taps
from export.sources.serving_session import ServingSession
from serving.tensors.signature import Signature, TensorSpec

_log = logging.getLogger("export")

# The highest opset that tf2onnx 1.17 is tested with. ONNX Runtime supports it since 1.14 (2023).
# Graphs of opset 15 were measured and are no faster.
OPSET = 18
BATCH = "batch"
_PRODUCER = "onnx-serving"
_LIMIT_BYTES = 2**31 - 1  # largest protobuf message


def write(
    folder: Path,
    signatures: Mapping[str, Signature],
    *,
    model_name: str,
    class_names: tuple[str, ...] = (),
    reference: Reference | None = None,
) -> dict[str, Signature]:
    """Convert the signatures of the SavedModel in a folder and write their graphs beside it.

    Args:
        folder: Folder of saved_model.pb; each signature's ONNX file is written there.
        signatures: Signatures from saved_model.read_signatures, by name.
        model_name: Name of the ONNX graph, also written into its metadata.
        class_names: Class names, written into the metadata as a JSON list.
        reference: TensorFlow with the SavedModel. The graphs then accept all shapes that it
            answers, if that costs no speed (see declared_shapes). With None the graphs accept only
            the shapes of the placeholders.

    Returns:
        The signatures by name; those that take serialized tf.Examples have a feature spec. Two
        signatures whose graphs are equal share one file, as `serve` and `serving_default` of a
        model that Keras has exported.

    Raises:
        ExportError: a graph cannot be converted, or is larger than 2 GB; the message names the
            signature.
    """
    with ServingSession(folder) as session:
        written: dict[str, Signature] = {}
        files: dict[bytes, str] = {}  # by the digest of the graph
        for name, signature in signatures.items():
            facts = {"model_name": model_name, "signature_name": name}
            if class_names:
                facts["class_names"] = json.dumps(list(class_names))
            try:
                model, documented = _convert_one(
                    session, signature, facts=facts, reference=reference
                )
            except ExportError as error:
                msg = f"signature {name!r}: {error}"
                raise ExportError(msg) from error
            file = files.setdefault(_digest(model), signature.file)
            if file == signature.file:
                (folder / file).write_bytes(model.SerializeToString(deterministic=True))
            written[name] = replace(documented, file=file)
        return written


def _digest(model: onnx.ModelProto) -> bytes:
    """Return the SHA-256 of a model without inner names and metadata, which name the signature."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.metadata_props[:]
    canonical_names.number(bare.graph)
    return hashlib.sha256(bare.SerializeToString(deterministic=True)).digest()


def _convert_one(
    session: ServingSession,
    signature: Signature,
    *,
    facts: Mapping[str, str],
    reference: Reference | None,
) -> tuple[onnx.ModelProto, Signature]:
    """Convert one signature; return its model, and the signature as the graph declares it."""
    source = sources.read(session, signature)

    def to_onnx(shapes: Mapping[str, Shape]) -> onnx.ModelProto:
        return convert(source, shapes, name=facts["model_name"], facts=facts)

    model = declared_shapes.first_that_converts(to_onnx, source.shapes)
    if reference is not None:
        model = declared_shapes.loosen(model, reference, source, to_onnx)
    return model, declared_shapes.documented(source.signature, model)


def convert(
    source: Source, shapes: Mapping[str, Shape], *, name: str, facts: Mapping[str, str]
) -> onnx.ModelProto:
    """Convert one signature.

    Args:
        source: The signature and its TensorFlow graph.
        shapes: The shape that the ONNX graph declares for each input, by alias. A first dimension
            of -1 becomes `batch`, any other -1 becomes `<alias>_<position>`. None declares no
            shape, not even a rank.
        name: Name of the graph.
        facts: Entries for the model's metadata.

    Returns:
        A checked model whose inputs and outputs have the names and types of the signature.

    Raises:
        ExportError: see write.
    """
    try:
        function = source.function(shapes)
    except ValueError as error:  # an operation's shape inference refuses the shapes
        msg = f"TensorFlow refuses inputs of shapes {dict(shapes)} ({reason(error)})"
        raise ExportError(msg) from error
    signature = source.interface(shapes, function.outputs)
    converted = _with_tf2onnx(function, signature, source.lookups)
    _set_interface(converted.graph, signature)
    model = _slimmed(converted)
    if len(model.graph.input) < len(converted.graph.input):
        # onnxslim drops inputs that no node reads, but clients still send them.
        del model.graph.input[:]
        model.graph.input.extend(converted.graph.input)
    # Remove the intermediate shapes that onnxslim leaves behind; ONNX Runtime infers them.
    del model.graph.value_info[:]
    canonical_names.rename(model.graph)
    _declare_loop_counters(model.graph)  # renaming drops the shapes in subgraphs
    _drop_unused_opsets(model)
    model.graph.name = name
    model.producer_name = _PRODUCER
    model.producer_version = _project_version()
    onnx.helper.set_model_props(model, dict(facts))
    if model.ByteSize() > _LIMIT_BYTES:
        msg = (
            f"the graph of {name} has {model.ByteSize():,} bytes, at most {_LIMIT_BYTES:,} fit an "
            "ONNX file; split the model, or quantise its weights first"
        )
        raise ExportError(msg)
    unused_taps.crop(model)
    _check(model)
    return model


def _slimmed(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph simplified by onnxslim; the graph unchanged, only slower, if onnxslim fails."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    try:
        slim: onnx.ModelProto = onnxslim.slim(copy)
    except Exception as error:  # noqa: BLE001  onnxslim raises whatever its passes run into
        told = f"{type(error).__name__}: {reason(error)}"
        _log.info("onnxslim cannot simplify the graph (%s): it stays as tf2onnx made it", told)
        return model
    return slim


def _check(model: onnx.ModelProto) -> None:
    infos = (*model.graph.input, *model.graph.output)
    try:
        if all(info.type.tensor_type.HasField("shape") for info in infos):
            onnx.checker.check_model(model, full_check=True)
        else:
            # The checker requires a rank of every input and output; ONNX Runtime does not. Shape
            # inference checks all the rest.
            onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        msg = f"the graph that tf2onnx made is not valid ONNX ({reason(error)}); {WITH_TENSORFLOW}"
        raise ExportError(msg) from error


def _with_tf2onnx(function: Function, signature: Signature, lookups: Lookups) -> onnx.ModelProto:
    # Aliases may hold characters that TensorFlow refuses in names, so the tensors are numbered here
    # and renamed afterwards. tf.function sorts dicts by key; the numbers keep the order.
    specs = [
        tf.TensorSpec(
            None if spec.shape is None else [None if size == -1 else size for size in spec.shape],
            tf.dtypes.as_dtype(spec.dtype.value),
            name=f"input_{position:03}",
        )
        for position, spec in enumerate(signature.inputs.values())
    ]

    def positional(*tensors: Any) -> dict[str, Any]:  # noqa: ANN401  symbolic tensors
        answer = function(**dict(zip(signature.inputs, tensors, strict=True)))
        # With tf.identity, an output that equals another output or an input gets its own name.
        return {
            f"output_{position:03}": tf.identity(answer[alias])
            for position, alias in enumerate(signature.outputs)
        }

    model: onnx.ModelProto
    with _unsupported_operations() as unsupported:
        try:
            model, _ = tf2onnx.convert.from_function(
                tf.function(positional),
                input_signature=specs,
                opset=OPSET,
                custom_op_handlers={**operations.handlers(), **lookups.handlers},
            )
        except Exception as error:
            # tf2onnx passes on any error of its handlers of operations.
            told = reason(error)
            msg = f"tf2onnx cannot convert this graph ({type(error).__name__}: {told}); "
            msg += WITH_TENSORFLOW
            raise ExportError(msg) from error
    if lookups.refusals:
        raise ExportError(lookups.refusals[0])
    if unsupported:
        raise no_counterpart(unsupported)
    operations.check(model)
    return model


@contextmanager
def _unsupported_operations() -> Iterator[list[str]]:
    """Collect the operations that tf2onnx cannot convert: it only logs them and continues.

    tf2onnx's warnings are dropped. They are about shapes that it cannot infer, which does not
    affect the finished graph.
    """
    logger = logging.getLogger("tf2onnx")
    found: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            # "Tensorflow op [<name>: <type>] is not supported"
            match = re.fullmatch(
                r"Tensorflow op \[.*: (\w+)\] is not supported", record.getMessage()
            )
            if match and match[1] not in found:
                found.append(match[1])

    collector, propagate, level = Collector(), logger.propagate, logger.level
    logger.addHandler(collector)
    logger.propagate = False
    logger.setLevel(logging.ERROR)  # also clears logging's cache of enabled levels
    try:
        yield found
    finally:
        logger.removeHandler(collector)
        logger.propagate = propagate
        logger.setLevel(level)


def _set_interface(graph: onnx.GraphProto, signature: Signature) -> None:
    """Give the graph's inputs and outputs the names and shapes of the signature."""
    names: dict[str, str] = {}
    for kind, infos, specs in (
        ("input", graph.input, signature.inputs),
        ("output", graph.output, signature.outputs),
    ):
        by_name = {info.name.removesuffix(":0"): info for info in infos}
        ordered = [by_name[f"{kind}_{position:03}"] for position in range(len(specs))]
        for info, (alias, spec) in zip(ordered, specs.items(), strict=True):
            names[info.name] = spec.tensor
            _set_shape(info, alias, spec)
        del infos[:]
        infos.extend(ordered)
    canonical_names.replace_names(graph, names)


def _set_shape(info: onnx.ValueInfoProto, alias: str, spec: TensorSpec) -> None:
    info.type.tensor_type.ClearField("shape")
    if spec.shape is None:
        return
    shape = info.type.tensor_type.shape
    shape.SetInParent()  # a scalar has a shape, without any dimension
    for position, size in enumerate(spec.shape):
        if size == -1:
            shape.dim.add().dim_param = f"{alias}_{position}" if position else BATCH
        else:
            shape.dim.add().dim_value = size


def _declare_loop_counters(graph: onnx.GraphProto) -> None:
    """Declare the counter and the condition of each loop as scalars: ONNX Runtime requires it."""
    for node in canonical_names.nodes(graph):
        if node.op_type == "Loop":
            body = next(item.g for item in node.attribute if item.name == "body")
            for info in body.input[:2]:
                info.type.tensor_type.shape.SetInParent()


def _drop_unused_opsets(model: onnx.ModelProto) -> None:
    used = {node.domain for node in canonical_names.nodes(model.graph)}
    kept = [opset for opset in model.opset_import if not opset.domain or opset.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)


def _project_version() -> str:
    try:
        return metadata.version(_PRODUCER)
    except metadata.PackageNotFoundError:  # the source tree is not installed
        return "unknown"

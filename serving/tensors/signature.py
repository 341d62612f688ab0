"""Signatures: which tensors a model takes and gives, by name, dtype and shape.

A signature is TensorFlow Serving's `SignatureDef` without TensorFlow: it maps the names that
clients use (aliases) to the tensors of the ONNX graph. `signature.json` in a model folder holds
them::

    {"signatures": {"serving_default": {
        "method_name": "tensorflow/serving/predict",
        "file": "model.onnx",
        "inputs": {"images": {"dtype": "DT_UINT8", "shape": [-1, 32, 32, 3],
                              "tensor": "images", "graph_name": "serving_default_images:0"}},
        "outputs": {...}}},
     "class_names": ["airplane", ...]}

A signature that takes serialized tf.Examples also has a `feature_spec` (see that module). Its
inputs are what clients see, one of them DT_STRING of shape [-1] or of unknown rank. The graph's own
inputs stand in the feature spec; those other than the examples go to the graph as they are. An
output with `constant` is computed by no graph. `row_independence` holds a verdict for each graph
that was asked, by its SHA-256 (see `verdict`), `defaults` what stands in for inputs that a request
leaves out (see `default_value`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NoReturn

import numpy as np

from serving.errors import InvalidInput
from serving.tensors import default_value
from serving.tensors.bfloat16 import BFLOAT16
from serving.tensors.feature_spec import FeatureSpec
from serving.tensors.tensor_spec import DataType, TensorSpec
from serving.tensors.verdict import Verdict

__all__ = [
    "CLASSIFY_METHOD_NAME",
    "DEFAULT_SIGNATURE_NAME",
    "PREDICT_METHOD_NAME",
    "REGRESS_METHOD_NAME",
    "DataType",
    "Signature",
    "TensorSpec",
]

DEFAULT_SIGNATURE_NAME = "serving_default"
PREDICT_METHOD_NAME = "tensorflow/serving/predict"
CLASSIFY_METHOD_NAME = "tensorflow/serving/classify"
REGRESS_METHOD_NAME = "tensorflow/serving/regress"


@dataclass(frozen=True, kw_only=True)
class Signature:
    """A named function of a model: what to feed, what comes out.

    Attributes:
        method_name: TensorFlow Serving's method, `tensorflow/serving/predict` for Predict.
        file: ONNX file in the model folder that computes it.
        inputs: Tensor specs by the alias that clients use.
        outputs: Likewise.
        feature_spec: How the graph's inputs are read from tf.Examples, by their alias; empty if
            `inputs` are the graph's.
        verdicts: Whether the rows are independent, by the SHA-256 of the graph that was asked: each
            precision has its own.
        defaults: What stands in for inputs that a request leaves out, by their alias; read-only.
    """

    method_name: str
    file: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    feature_spec: Mapping[str, FeatureSpec] = field(default_factory=dict)
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    # Arrays cannot be compared as a dataclass compares its fields.
    defaults: Mapping[str, np.ndarray] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        """Check that a feature spec has an input to read from, and a default an input to fill.

        Raises:
            ValueError: there is none, or two, or an alias is taken; or a default is of another
                dtype.
        """
        self._check_defaults()
        if not self.feature_spec:
            return
        examples = [spec for spec in self.inputs.values() if spec.dtype is DataType.DT_STRING]
        if len(examples) != 1 or examples[0].shape not in {(-1,), None}:
            msg = (
                "a signature with a feature_spec needs one DT_STRING input of shape [-1] or of "
                "unknown rank, got "
                f"{[(spec.dtype.name, spec.shape) for spec in self.inputs.values()]}"
            )
            raise ValueError(msg)
        if taken := sorted(self.feature_spec.keys() & self.inputs.keys() - {self.example_input}):
            msg = f"feature_spec has aliases that are inputs too: {', '.join(taken)}"
            raise ValueError(msg)

    def _check_defaults(self) -> None:
        for alias, array in self.defaults.items():
            dtype = DataType.from_numpy(array.dtype)
            if alias not in self.inputs or self.inputs[alias].dtype is not dtype:
                known = ", ".join(f"{name} {spec.dtype.name}" for name, spec in self.inputs.items())
                msg = f'default of {dtype.name} for "{alias}", expected one for an input: {known}'
                raise ValueError(msg)

    @cached_property
    def required_inputs(self) -> frozenset[str]:
        """Aliases of the inputs that every request must have: those without a default."""
        return frozenset(self.inputs.keys() - self.defaults.keys())

    @cached_property
    def example_input(self) -> str:
        """Alias of the input that takes serialized tf.Examples; empty if there is none."""
        strings = (a for a, spec in self.inputs.items() if spec.dtype is DataType.DT_STRING)
        return next(strings) if self.feature_spec else ""

    @cached_property
    def model_inputs(self) -> Mapping[str, TensorSpec]:
        """The graph's inputs by alias: tf.Examples replaced by what is read from them."""
        if not self.feature_spec:
            return self.inputs
        others = {a: spec for a, spec in self.inputs.items() if a != self.example_input}
        features = {alias: spec.tensor for alias, spec in self.feature_spec.items()}
        return others | {alias: spec for alias, spec in features.items() if spec.tensor}

    @cached_property
    def has_rows(self) -> bool:
        """Whether the signature describes every tensor with a free first dimension.

        It may then count rows; whether these are independent of each other it does not say. What
        the graph takes besides is no matter here.
        """
        # Each tf.Example is a row, even where its placeholder has no rank, as in TensorFlow 1.
        others = [spec for alias, spec in self.inputs.items() if alias != self.example_input]
        specs = [*others, *self.model_inputs.values(), *self.outputs.values()]
        return bool(self.inputs) and all((spec.shape or ())[:1] == (-1,) for spec in specs)

    def is_batch(self, arrays: Mapping[str, np.ndarray]) -> bool:
        """Whether arrays are rows as this signature describes them, and as many of each.

        Rows were shown to be independent of each other for such arrays alone: those of any other
        shape that a graph may take run by themselves.

        Args:
            arrays: By model input alias.
        """
        specs = self.model_inputs
        return have_equal_rows(arrays) and all(
            specs[alias].accepts_shape(array.shape) for alias, array in arrays.items()
        )

    def check_inputs(
        self,
        arrays: Mapping[str, np.ndarray],
        declared: Mapping[str, TensorSpec],
        servable: object,
    ) -> bool:
        """Refuse tensors that the model cannot take, before they get near the model.

        The signature's own shapes are documentation, as they are in TensorFlow Serving: what the
        graph takes is answered.

        Args:
            arrays: The tensors as received, by input alias.
            declared: The inputs with the shapes that the graph declares.
            servable: Prints as `name/version`, for the message.

        Returns:
            Whether every shape is as the signature describes it.

        Raises:
            InvalidInput: a dtype, rank or dimension differs, or there is no tf.Example.
        """
        is_described = True
        for alias, array in arrays.items():
            spec, taken = self.inputs[alias], declared[alias]
            if array.dtype != spec.numpy_dtype:
                self._refuse_dtype(alias, array, servable)
            if not taken.accepts_shape(array.shape):
                _refuse_shape(alias, array.shape, taken.known_shape, servable)
            if taken is not spec and not spec.accepts_shape(array.shape):
                is_described = False
        if self.feature_spec and not len(arrays[self.example_input]):
            # TensorFlow Serving's words to Classify and Regress.
            msg = (
                f'Input is empty. Expected at least one tf.Example in "{self.example_input}" of '
                f"{servable}"
            )
            raise InvalidInput(msg)
        return is_described

    def _refuse_dtype(self, alias: str, array: np.ndarray, servable: object) -> NoReturn:
        spec = self.inputs[alias]
        dtype = DataType.from_numpy(array.dtype)
        position = sorted(self.inputs).index(alias)
        numpy = (
            "ml_dtypes.bfloat16" if spec.numpy_dtype == BFLOAT16 else repr(spec.numpy_dtype.name)
        )
        # The first clause is TensorFlow's own wording, which clients may match on.
        msg = (
            f"Expects arg[{position}] to be {spec.dtype.label} but {dtype.label} is provided: "
            f'input "{alias}" of {servable} takes {spec.dtype.name} {spec.shape_text}; '
            f"convert it with .astype({numpy}), or set the tensor's dtype"
        )
        raise InvalidInput(msg)

    def check_input_names(self, names: list[str]) -> None:
        """Refuse a request whose inputs are not those of the signature.

        Messages are TensorFlow Serving's (servables/tensorflow/predict_util.cc, and GetInputValues
        in TensorFlow's cc/saved_model/util.cc): names sorted and joined by commas.

        Args:
            names: Of the inputs sent, each once.

        Raises:
            InvalidInput: one is unknown, or one without a default is missing.
        """
        if len(names) == len(self.inputs) and all(name in self.inputs for name in names):
            return
        sent, expected = sorted(names), sorted(self.inputs)
        if len(sent) > len(expected) or (len(sent) < len(expected) and not self.defaults):
            extra = ",".join(name for name in sent if name not in self.inputs)
            missing = ",".join(name for name in expected if name not in names)
            msg = (
                f"input size does not match signature: {len(sent)}!={len(expected)} "
                f"len({{{','.join(sent)}}}) != len({{{','.join(expected)}}}). "
                f"Sent extra: {{{extra}}}. Missing but required: {{{missing}}}. {self._takes()}"
            )
            raise InvalidInput(msg)
        absent = next((name for name in expected if name not in {*names, *self.defaults}), None)
        if absent is not None:
            msg = (
                f"Signature input alias: {absent}(feed name: {self.inputs[absent].graph_name}) "
                "not found in request and no default value provided. Inputs expected to be in the "
                f"request {{{','.join(sent)}}}, or default input alias set: "
                f"{','.join(sorted(self.defaults))}. {self._takes()}"
            )
            raise InvalidInput(msg)
        used = [name for name in sent if name in self.inputs]
        if len(used) < len(sent):
            msg = (
                f"Inputs contains invalid name. Used request inputs: {','.join(used)}, request "
                f"input: {','.join(sent)}. {self._takes()}"
            )
            raise InvalidInput(msg)

    def _takes(self) -> str:
        """The inputs of this signature, for messages."""
        inputs = ", ".join(
            f"{alias} {spec.dtype.name} {spec.shape_text}"
            + (" (optional)" if alias in self.defaults else "")
            for alias, spec in sorted(self.inputs.items())
        )
        return f"This signature takes {inputs or 'no input'}"

    def select_outputs(self, output_filter: list[str]) -> list[str]:
        """The aliases to compute: those asked for, or all of them.

        Raises:
            InvalidInput: an alias is unknown or asked for twice.
        """
        if not output_filter:
            return list(self.outputs)
        for position, alias in enumerate(output_filter):
            if alias not in self.outputs:
                msg = (
                    f"output tensor alias not found in signature: {alias} Outputs expected to be "
                    f"in the set {{{','.join(sorted(self.outputs))}}}."
                )
                raise InvalidInput(msg)
            if alias in output_filter[:position]:
                msg = f"duplicate output tensor alias: {alias}"
                raise InvalidInput(msg)
        return output_filter

    def to_json(self) -> dict[str, Any]:
        """The entry of this signature in signature.json."""
        entry: dict[str, Any] = {
            "method_name": self.method_name,
            "file": self.file,
            "inputs": {alias: spec.to_json() for alias, spec in self.inputs.items()},
            "outputs": {alias: spec.to_json() for alias, spec in self.outputs.items()},
        }
        if self.feature_spec:
            entry["feature_spec"] = {
                alias: spec.to_json() for alias, spec in self.feature_spec.items()
            }
        if self.verdicts:
            entry["row_independence"] = {
                digest: verdict.to_json() for digest, verdict in self.verdicts.items()
            }
        if self.defaults:
            entry["defaults"] = {
                alias: default_value.to_json(array) for alias, array in self.defaults.items()
            }
        return entry

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "Signature":
        """Read an entry of signature.json.

        Raises:
            KeyError, TypeError, ValueError: a field is missing or of the wrong kind.
        """
        return cls(
            method_name=str(entry["method_name"]),
            file=str(entry["file"]),
            inputs={alias: TensorSpec.from_json(spec) for alias, spec in entry["inputs"].items()},
            outputs={alias: TensorSpec.from_json(spec) for alias, spec in entry["outputs"].items()},
            feature_spec={
                alias: FeatureSpec.from_json(spec)
                for alias, spec in entry.get("feature_spec", {}).items()
            },
            verdicts={
                str(digest): Verdict.from_json(verdict)
                for digest, verdict in entry.get("row_independence", {}).items()
            },
            defaults={
                alias: default_value.from_json(value)
                for alias, value in entry.get("defaults", {}).items()
            },
        )


def have_equal_rows(arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether arrays have the same first dimension, and it is not zero."""
    sizes = {array.shape[:1] for array in arrays.values()}
    return len(sizes) == 1 and sizes.pop() > (0,)


def _refuse_shape(
    alias: str, shape: tuple[int, ...], expected: tuple[int, ...], servable: object
) -> NoReturn:
    msg = f'input "{alias}" of {servable} has shape {shape}, expected {expected}'
    if len(shape) == len(expected) - 1 and all(
        known in {-1, size} for known, size in zip(expected[1:], shape, strict=True)
    ):
        msg += "; add the batch dimension, for example with array[None]"
    raise InvalidInput(msg)

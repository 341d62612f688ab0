"""Signatures: the inputs and outputs of a model, by name, dtype and shape.

A signature is TensorFlow Serving's `SignatureDef` without TensorFlow: it maps the names that
clients use (aliases) to the tensors of the ONNX graph. `signature.json` in a version folder holds
the signatures::

    {"signatures": {"serving_default": {
        "method_name": "tensorflow/serving/predict",
        "file": "model.onnx",
        "inputs": {"images": {"dtype": "DT_UINT8", "shape": [-1, 32, 32, 3],
                              "tensor": "images", "graph_name": "serving_default_images:0"}},
        "outputs": {...}}},
     "class_names": ["airplane", ...]}

A signature that takes serialized tf.Examples also has a `feature_spec` (see that module). `inputs`
then holds the inputs that clients see: one of them, DT_STRING of shape [-1] or of unknown rank,
takes the tf.Examples, and the others are fed to the graph unchanged. The graph inputs that are
parsed from the tf.Examples are in the feature spec. An output with `constant` is not computed by
the graph. `row_independence` holds the verdict of each graph that was probed, by its SHA-256 (see
`verdict`). `defaults` holds the values of inputs that a request may omit (see `default_value`).
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
    """The inputs and outputs of one function of a model.

    Attributes:
        method_name: TensorFlow Serving's method name, `tensorflow/serving/predict` for Predict.
        file: Name of the graph's file in the version folder, without a precision.
        inputs: Input specs by the alias that clients use.
        outputs: Output specs by the alias that clients use.
        feature_spec: How graph inputs are read from tf.Examples, by alias; empty if the signature
            takes no tf.Examples.
        verdicts: Whether the rows are independent, by the SHA-256 of the graph that was probed: the
            graph of each precision has its own verdict.
        defaults: Read-only default values of inputs that a request may omit, by alias.
    """

    method_name: str
    file: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    feature_spec: Mapping[str, FeatureSpec] = field(default_factory=dict)
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    # Left out of `==`, because comparing arrays gives no single truth value.
    defaults: Mapping[str, np.ndarray] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        """Check the feature spec and the defaults against the inputs.

        Raises:
            ValueError: there is a feature spec, but not exactly one input for tf.Examples; or the
                feature spec has the alias of another input; or a default has no input of its alias
                and dtype.
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
        """Specs of the graph's inputs by alias: those parsed from tf.Examples, and the others."""
        if not self.feature_spec:
            return self.inputs
        others = {a: spec for a, spec in self.inputs.items() if a != self.example_input}
        features = {alias: spec.tensor for alias, spec in self.feature_spec.items()}
        return others | {alias: spec for alias, spec in features.items() if spec.tensor}

    @cached_property
    def has_rows(self) -> bool:
        """Whether every input and output of the signature has a free first dimension.

        The first dimension may then count rows, which are not necessarily independent of each
        other. The shapes that the graph declares are not considered.
        """
        # The input of tf.Examples is skipped: each tf.Example is a row, even if the placeholder has
        # no rank, as in TensorFlow 1.
        others = [spec for alias, spec in self.inputs.items() if alias != self.example_input]
        specs = [*others, *self.model_inputs.values(), *self.outputs.values()]
        return bool(self.inputs) and all((spec.shape or ())[:1] == (-1,) for spec in specs)

    def is_batch(self, arrays: Mapping[str, np.ndarray]) -> bool:
        """Return whether all arrays have the signature's shapes and the same number of rows.

        Only for such arrays are rows proved independent. Arrays of other shapes that the graph
        accepts must run alone.

        Args:
            arrays: Arrays by model input alias.
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
        """Check the dtypes and shapes of a request's tensors before the model runs.

        Shapes are checked against those that the graph declares. The signature's own shapes are
        documentation, as in TensorFlow Serving.

        Args:
            arrays: The received tensors by input alias.
            declared: Specs of the inputs by alias, with the shapes that the graph declares.
            servable: The servable, whose `str` is `name/version`, for messages.

        Returns:
            Whether all shapes also fit the signature's shapes.

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
            # The first sentence is TensorFlow Serving's message for Classify and Regress.
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
        # The first clause is TensorFlow's message, which clients may match.
        msg = (
            f"Expects arg[{position}] to be {spec.dtype.label} but {dtype.label} is provided: "
            f'input "{alias}" of {servable} takes {spec.dtype.name} {spec.shape_text}; '
            f"convert it with .astype({numpy}), or set the tensor's dtype"
        )
        raise InvalidInput(msg)

    def check_input_names(self, names: list[str]) -> None:
        """Check that a request has the inputs of the signature.

        Messages are TensorFlow Serving's (servables/tensorflow/predict_util.cc, and GetInputValues
        in TensorFlow's cc/saved_model/util.cc), with names sorted and joined by commas.

        Args:
            names: Names of the request's inputs, without duplicates.

        Raises:
            InvalidInput: an input is unknown, or an input without a default is missing.
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
        """Return a sentence about the inputs of this signature, for error messages."""
        inputs = ", ".join(
            f"{alias} {spec.dtype.name} {spec.shape_text}"
            + (" (optional)" if alias in self.defaults else "")
            for alias, spec in sorted(self.inputs.items())
        )
        return f"This signature takes {inputs or 'no input'}"

    def select_outputs(self, output_filter: list[str]) -> list[str]:
        """Return the output aliases to compute: the filter, or all outputs if the filter is empty.

        Raises:
            InvalidInput: an alias is unknown or occurs twice.
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
        """Return the entry of this signature in signature.json."""
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
            KeyError, TypeError, ValueError: a field is missing or invalid.
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
    """Return whether all arrays have the same first dimension, and it is not zero."""
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

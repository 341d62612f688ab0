"""Requests independent of the transport: the model and signature, and the checks before a run."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from serving.engine.servable import Servable
from serving.errors import FailedPrecondition, InvalidInput
from serving.tensors.admission import Account, Admit, TensorAdmission
from serving.tensors.signature import DataType, Signature, have_equal_rows

WireTensor = TypeVar("WireTensor")
# Converts a tensor from the transport's form to an array; calls `Admit` before it takes memory.
Decode = Callable[[WireTensor, Admit], np.ndarray]


class ModelSpec(NamedTuple):
    """The model, version and signature that a request names.

    Attributes:
        name: Model name.
        version: Version number; None for the latest.
        version_label: Label of a version, instead of its number; None if the request has no label.
        signature_name: Name of the signature; empty for `serving_default`.
    """

    name: str
    version: int | None = None
    version_label: str | None = None
    signature_name: str = ""


class Prediction(NamedTuple):
    """The outputs of a run, and the servable and signature that computed them.

    Attributes:
        servable: The version that answered.
        signature_name: The signature that ran.
        outputs: Arrays by output alias.
    """

    servable: Servable
    signature_name: str
    outputs: Mapping[str, np.ndarray]


class CheckedRequest(NamedTuple):
    """A request that has passed the checks.

    Attributes:
        arrays: All inputs of the signature by alias, with default values for missing inputs.
        outputs: The output aliases to compute.
        batched: Whether the request may share a run with other requests, and may be split: the
            signature's rows are independent, and the request consists of such rows.
        is_whole: Whether the request has all inputs, so that no default value is used.
    """

    arrays: dict[str, np.ndarray]
    outputs: list[str]
    batched: bool
    is_whole: bool


def check_request(
    servable: Servable,
    signature_name: str,
    inputs: Mapping[str, WireTensor],
    decode: Decode[WireTensor],
    output_filter: Sequence[str] = (),
    *,
    max_rows: int | None = None,
    account: Account | None = None,
) -> CheckedRequest:
    """Decode a request, and check all that can be checked before the model runs.

    Args:
        servable: The model version that answers.
        signature_name: Name of the signature to run.
        inputs: Tensors in the transport's form, by input alias.
        decode: Converts a tensor to an array; asks for admission first.
        output_filter: Output aliases to compute; empty for all.
        max_rows: Most rows of the request, if its signature has rows; None for no limit.
        account: Counts the decoded bytes; None disables counting.

    Raises:
        ServingError: the request is refused; the error has the gRPC code and a message for the
            caller.
    """
    signature = _find_signature(servable, signature_name)
    signature.check_input_names(list(inputs))
    batched = servable.batched[signature_name]
    has_rows = batched or bool(signature.feature_spec)
    admit = TensorAdmission(account, max_rows if has_rows else None).admit
    arrays = {alias: _decode(alias, tensor, decode, admit) for alias, tensor in inputs.items()}
    is_whole = len(arrays) == len(signature.inputs)
    if not is_whole:
        arrays = {**signature.defaults, **arrays}
    outputs = signature.select_outputs(list(output_filter))
    is_described = signature.check_inputs(arrays, servable.declared[signature_name], servable)
    joins = batched and is_described and have_equal_rows(arrays)
    return CheckedRequest(arrays, outputs, joins, is_whole)


def as_it_is(array: np.ndarray, admit: Admit) -> np.ndarray:
    """Admit an array and return it: the `decode` of `check_request` for inputs that are arrays."""
    admit(array.shape, DataType.from_numpy(array.dtype))
    return array


def _find_signature(servable: Servable, name: str) -> Signature:
    signature = servable.signatures.get(name)
    if signature is None:
        available = ", ".join(sorted(servable.signatures))
        msg = f'Serving signature key "{name}" not found. Signatures of {servable}: {available}'
        raise FailedPrecondition(msg)
    return signature


def _decode(alias: str, tensor: WireTensor, decode: Decode[WireTensor], admit: Admit) -> np.ndarray:
    try:
        return decode(tensor, admit)
    except InvalidInput as error:
        msg = f"tensor parsing error: {alias}: {error.message}"
        raise InvalidInput(msg) from error

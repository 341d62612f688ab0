"""A request without a transport: which function of which model, and the checks before it runs."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from serving.engine.servable import Servable
from serving.errors import FailedPrecondition, InvalidInput
from serving.tensors.admission import Account, Admit, TensorAdmission
from serving.tensors.signature import DataType, Signature, have_equal_rows

WireTensor = TypeVar("WireTensor")
# Turns a tensor as it arrived into an array; asks before it takes memory for that.
Decode = Callable[[WireTensor, Admit], np.ndarray]


class ModelSpec(NamedTuple):
    """Which function of which model is meant.

    Attributes:
        name: Model name.
        version: Version number; None for the latest.
        version_label: A label instead of a version; None for none.
        signature_name: Empty for `serving_default`.
    """

    name: str
    version: int | None = None
    version_label: str | None = None
    signature_name: str = ""


class Prediction(NamedTuple):
    """An answer, and who gave it.

    Attributes:
        servable: The version that answered.
        signature_name: The signature that ran.
        outputs: Arrays by output alias.
    """

    servable: Servable
    signature_name: str
    outputs: Mapping[str, np.ndarray]


class CheckedRequest(NamedTuple):
    """A request that may run.

    Attributes:
        arrays: Every input of the signature by alias, defaults included.
        outputs: The output aliases to compute.
        batched: Whether it may share a run with others, and be split: the signature's rows are
            independent and this request is made of such rows.
        is_whole: Whether it has every input itself, so that no default stands in.
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
    """Everything of a request that can be checked before the model sees any of it.

    Args:
        servable: Who is to answer.
        signature_name: Name of one of its signatures.
        inputs: Tensors as they arrived, by input alias.
        decode: Turns one of them into an array, once it is admitted.
        output_filter: Output aliases to compute; empty for all.
        max_rows: Most rows, if the signature has rows to count; None for any number.
        account: Counts the decoded bytes; None: nobody does.

    Raises:
        ServingError: with the gRPC code and a message for the caller.
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
    """`check_request`'s `decode` for tensors that are arrays already."""
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

"""The predictor: from a model spec and named tensors to named tensors, whatever the transport."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from serving.errors import FailedPrecondition, InvalidInput
from serving.manager import Manager
from serving.servable import Servable
from serving.signature import DEFAULT_SIGNATURE_NAME, Signature

WireTensor = TypeVar("WireTensor")


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


class Predictor:
    """Checks requests against signatures and runs them."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager

    def servable(self, spec: ModelSpec) -> Servable:
        """The servable that a request is for.

        Raises:
            InvalidInput: the name is empty.
            InvalidInput, NotFound, Unavailable: see `Manager.servable`.
        """
        if not spec.name:
            msg = "ModelSpec has no name specified."
            raise InvalidInput(msg)
        return self._manager.servable(spec.name, spec.version, spec.version_label)

    async def predict(
        self,
        spec: ModelSpec,
        inputs: Mapping[str, WireTensor],
        decode: Callable[[WireTensor], np.ndarray],
        *,
        output_filter: Sequence[str] = (),
        deadline: float | None = None,
    ) -> Prediction:
        """Run one request. Everything is checked before the model sees any of it.

        The order of the checks is TensorFlow Serving's: signature, input names, tensors, output
        filter; then dtypes and shapes, which it leaves to the graph.

        Args:
            spec: Model, version and signature.
            inputs: Tensors as they arrived, by input alias.
            decode: Turns one of them into an array.
            output_filter: Output aliases to compute; empty for all.
            deadline: `time.monotonic()` after which nobody waits for the answer; None for never.

        Raises:
            ServingError: with the gRPC code and a message for the caller.
        """
        servable = self.servable(spec)
        signature_name = spec.signature_name or DEFAULT_SIGNATURE_NAME
        signature = _find_signature(servable, signature_name)
        signature.check_input_names(list(inputs))
        arrays = {alias: _decode(alias, tensor, decode) for alias, tensor in inputs.items()}
        outputs = signature.select_outputs(list(output_filter))
        for alias, array in arrays.items():
            signature.check_input(alias, array, servable)
        signature.check_batch(arrays)
        answer = await servable.predict(signature_name, arrays, outputs, deadline=deadline)
        return Prediction(servable=servable, signature_name=signature_name, outputs=answer)


def _find_signature(servable: Servable, name: str) -> Signature:
    signature = servable.signatures.get(name)
    if signature is None:
        available = ", ".join(sorted(servable.signatures))
        msg = f'Serving signature key "{name}" not found. Signatures of {servable}: {available}'
        raise FailedPrecondition(msg)
    return signature


def _decode(
    alias: str, tensor: WireTensor, decode: Callable[[WireTensor], np.ndarray]
) -> np.ndarray:
    try:
        return decode(tensor)
    except InvalidInput as error:
        msg = f"tensor parsing error: {alias}: {error.message}"
        raise InvalidInput(msg) from error

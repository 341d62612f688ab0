"""The predictor: from a model spec and named tensors to named tensors, whatever the transport."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np

from serving.engine.manager import Manager
from serving.engine.runtime import available_cores
from serving.engine.servable import Servable
from serving.errors import FailedPrecondition, InvalidInput, Unavailable
from serving.tensors.signature import DEFAULT_SIGNATURE_NAME, Signature

WireTensor = TypeVar("WireTensor")

# tf.Examples that may be parsed or wait for it; more are refused at once, like rows in the batcher.
MAX_EXAMPLES = 10_000


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


def check_request(
    servable: Servable,
    signature_name: str,
    inputs: Mapping[str, WireTensor],
    decode: Callable[[WireTensor], np.ndarray],
    output_filter: Sequence[str] = (),
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Everything of a request that can be checked before the model sees any of it.

    Args:
        servable: Who is to answer.
        signature_name: Name of one of its signatures.
        inputs: Tensors as they arrived, by input alias.
        decode: Turns one of them into an array.
        output_filter: Output aliases to compute; empty for all.

    Returns:
        Arrays by input alias, and the output aliases to compute.

    Raises:
        ServingError: with the gRPC code and a message for the caller.
    """
    signature = _find_signature(servable, signature_name)
    signature.check_input_names(list(inputs))
    arrays = {alias: _decode(alias, tensor, decode) for alias, tensor in inputs.items()}
    outputs = signature.select_outputs(list(output_filter))
    for alias, array in arrays.items():
        signature.check_input(alias, array, servable)
    signature.check_batch(arrays)
    return arrays, outputs


class Predictor:
    """Checks requests against signatures and runs them."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        # Pictures take up to a second to decode: too long for the event loop. Its own threads,
        # because the loop's default ones may all be waiting for servables to close.
        self._parsing = ThreadPoolExecutor(available_cores(), thread_name_prefix="examples")
        self._examples = 0  # in those threads or waiting for them; counted in the event loop alone

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

    def predict(
        self,
        spec: ModelSpec,
        inputs: Mapping[str, WireTensor],
        decode: Callable[[WireTensor], np.ndarray],
        *,
        output_filter: Sequence[str] = (),
        deadline: float | None = None,
    ) -> Awaitable[Prediction]:
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
        # Not async itself: a coroutine less on the way of every request.
        return self.predict_on(
            self.servable(spec),
            spec.signature_name or DEFAULT_SIGNATURE_NAME,
            inputs,
            decode,
            output_filter=output_filter,
            deadline=deadline,
        )

    async def predict_on(
        self,
        servable: Servable,
        signature_name: str,
        inputs: Mapping[str, WireTensor],
        decode: Callable[[WireTensor], np.ndarray],
        *,
        output_filter: Sequence[str] = (),
        deadline: float | None = None,
    ) -> Prediction:
        """Run one request on a servable that the caller has just found, or holds.

        Args:
            servable: Who is to answer.
            signature_name: Name of one of its signatures.
            inputs: See `predict`, like all the rest.
            decode: Likewise.
            output_filter: Likewise.
            deadline: Likewise.

        Raises:
            ServingError: with the gRPC code and a message for the caller.
        """
        arrays, outputs = check_request(servable, signature_name, inputs, decode, output_filter)
        if servable.signatures[signature_name].feature_spec:
            with servable.hold():
                arrays = await self._parse(servable, signature_name, arrays, deadline)
                answer = await servable.predict(signature_name, arrays, outputs, deadline=deadline)
        else:
            answer = await servable.predict(signature_name, arrays, outputs, deadline=deadline)
        return Prediction(servable=servable, signature_name=signature_name, outputs=answer)

    async def _parse(
        self,
        servable: Servable,
        signature_name: str,
        arrays: Mapping[str, np.ndarray],
        deadline: float | None,
    ) -> dict[str, np.ndarray]:
        """Replace serialized tf.Examples by the arrays that the graph takes."""
        signature, parser = servable.signatures[signature_name], servable.parsers[signature_name]
        serialized = arrays[signature.example_input].tolist()
        others = {alias: arrays[alias] for alias in arrays if alias != signature.example_input}
        if parser.is_quick(serialized):
            return others | parser.parse(serialized, deadline=deadline)
        if self._examples and self._examples + len(serialized) > MAX_EXAMPLES:
            msg = (
                f"{self._examples} examples wait to be parsed, at most {MAX_EXAMPLES} may; retry "
                "with backoff, or add servers"
            )
            raise Unavailable(msg)
        self._examples += len(serialized)
        try:
            parse = partial(parser.parse, serialized, deadline=deadline)
            parsed = await asyncio.get_running_loop().run_in_executor(self._parsing, parse)
        finally:
            self._examples -= len(serialized)
        return others | parsed


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

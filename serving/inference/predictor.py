"""The predictor: runs a model on named tensors, independent of the transport."""

from collections import Counter
from collections.abc import Awaitable, Hashable, Mapping, Sequence
from functools import partial

import numpy as np

from serving.access import flow
from serving.engine.catalog import Catalog
from serving.engine.machine import available_cores
from serving.engine.servable import Servable
from serving.errors import InternalError, InvalidInput, Unavailable
from serving.inference.fair_turns import FairTurns
from serving.inference.request import Decode, ModelSpec, Prediction, WireTensor, check_request
from serving.tensors.admission import Account
from serving.tensors.signature import (
    CLASSIFY_METHOD_NAME,
    DEFAULT_SIGNATURE_NAME,
    PREDICT_METHOD_NAME,
    REGRESS_METHOD_NAME,
)

# Most tf.Examples of one client that are being parsed or wait for it; further ones are refused at
# once, like rows in the batcher. The byte budget limits those of all clients.
MAX_EXAMPLES = 10_000
# The method names that a signature run by Predict may have.
_METHOD_NAMES = (PREDICT_METHOD_NAME, CLASSIFY_METHOD_NAME, REGRESS_METHOD_NAME)
# A request's examples are parsed for this time before other callers have their turn.
_TURN_SECONDS = 0.05


class Predictor:
    """Checks requests against signatures and runs them.

    Attributes:
        check_method_names: Whether a signature must have a method name that fits the call
            (`--enable_signature_method_name_check`).
    """

    def __init__(
        self, catalog: Catalog, *, max_rows: int = MAX_EXAMPLES, check_method_names: bool = False
    ) -> None:
        """Prepare.

        Args:
            catalog: Finds the servables.
            max_rows: Most rows of one request (`--max_rows_per_request`), if its signature has
                rows; 0 for as many as the servable's queue holds.
            check_method_names: See the attribute.
        """
        self._catalog = catalog
        self._max_rows = max_rows
        self.check_method_names = check_method_names
        # Pictures take up to a second to decode, which is too long for the event loop. They have
        # threads of their own, because the loop's default threads may all be waiting for servables
        # to close.
        self._parsing = FairTurns(available_cores(), "examples")
        # Those that are in or wait for these threads, by flow; changed only by the event loop.
        self._examples: Counter[Hashable] = Counter()

    def max_rows(self, servable: Servable) -> int:
        """Return the most rows that one request to a servable may have."""
        return self._max_rows or servable.max_rows

    def check_method_name(self, servable: Servable, signature_name: str) -> None:
        """If method names are checked, refuse a signature whose method Predict cannot run.

        Raises:
            InternalError: the signature has a method name other than that of Predict, Classify or
                Regress.
        """
        signature = servable.signatures.get(signature_name)
        if self.check_method_names and signature and signature.method_name not in _METHOD_NAMES:
            msg = (
                "Expected prediction signature method_name to be one of "
                f"{{{', '.join(_METHOD_NAMES)}}}. Was: {signature.method_name}"
            )
            raise InternalError(msg)

    def servable(self, spec: ModelSpec) -> Servable:
        """Find the servable that a model spec names.

        Raises:
            InvalidInput: the model name is empty.
            InvalidInput, NotFound, Unavailable: see `Catalog.servable`.
        """
        if not spec.name:
            msg = "ModelSpec has no name specified."
            raise InvalidInput(msg)
        return self._catalog.servable(spec.name, spec.version, spec.version_label)

    def predict(
        self,
        spec: ModelSpec,
        inputs: Mapping[str, WireTensor],
        decode: Decode[WireTensor],
        *,
        output_filter: Sequence[str] = (),
        deadline: float | None = None,
        account: Account | None = None,
    ) -> Awaitable[Prediction]:
        """Run one request. All checks come before the model runs.

        The order of the checks is TensorFlow Serving's: signature, input names, tensors, output
        filter. Then dtypes are checked and the shapes that the graph declares, which TensorFlow
        Serving leaves to the graph.

        Args:
            spec: Model, version and signature.
            inputs: Tensors in the transport's form, by input alias.
            decode: Converts a tensor to an array; asks for admission first.
            output_filter: Output aliases to compute; empty for all.
            deadline: `time.monotonic()` at which the caller stops waiting; None for no deadline.
            account: Counts the decoded bytes; None disables counting.

        Raises:
            ServingError: the request was refused or failed; the error has the gRPC code and a
                message for the caller.
        """
        # Not an async function: this saves a coroutine in every request.
        return self.predict_on(
            self.servable(spec),
            spec.signature_name or DEFAULT_SIGNATURE_NAME,
            inputs,
            decode,
            output_filter=output_filter,
            deadline=deadline,
            account=account,
        )

    async def predict_on(
        self,
        servable: Servable,
        signature_name: str,
        inputs: Mapping[str, WireTensor],
        decode: Decode[WireTensor],
        *,
        output_filter: Sequence[str] = (),
        deadline: float | None = None,
        account: Account | None = None,
    ) -> Prediction:
        """Run one request on a servable.

        The caller must hold the servable, or have found it in the same step of the event loop (no
        `await` in between); otherwise it may be closed.

        Args:
            servable: The model version that answers.
            signature_name: Name of the signature to run.
            inputs: See `predict`.
            decode: See `predict`.
            output_filter: See `predict`.
            deadline: See `predict`.
            account: See `predict`.

        Raises:
            ServingError: see `predict`.
        """
        if self.check_method_names:
            self.check_method_name(servable, signature_name)
        request = check_request(
            servable,
            signature_name,
            inputs,
            decode,
            output_filter,
            max_rows=self._max_rows or servable.max_rows,
            account=account,
        )
        arrays, outputs, batched = request.arrays, request.outputs, request.batched
        if servable.signatures[signature_name].feature_spec:
            with servable.hold():
                arrays = await self._parse(servable, signature_name, arrays, deadline, account)
                answer = await servable.predict(
                    signature_name, arrays, outputs, batched=batched, deadline=deadline
                )
        else:
            answer = await servable.predict(
                signature_name, arrays, outputs, batched=batched, deadline=deadline
            )
        return Prediction(servable=servable, signature_name=signature_name, outputs=answer)

    async def _parse(
        self,
        servable: Servable,
        signature_name: str,
        arrays: Mapping[str, np.ndarray],
        deadline: float | None,
        account: Account | None,
    ) -> dict[str, np.ndarray]:
        """Replace the serialized tf.Examples among the inputs by the arrays that the graph takes.

        Examples that are quick to parse are parsed in the event loop, others in threads.

        Raises:
            Unavailable: too many examples wait to be parsed.
            ServingError: see `Account.take` and `Parsing.work`.
        """
        signature, parser = servable.signatures[signature_name], servable.parsers[signature_name]
        serialized = arrays[signature.example_input].tolist()
        others = {alias: arrays[alias] for alias in arrays if alias != signature.example_input}
        if account is not None:
            account.take(parser.byte_count(len(serialized)))
        if parser.is_quick(serialized):
            return others | parser.parse(serialized, deadline=deadline)
        most = max(MAX_EXAMPLES, self.max_rows(servable))
        client = flow.CURRENT.get()
        if self._examples[client] + len(serialized) > most:
            msg = (
                f"{self._examples[client]} examples of this client wait to be parsed, at most "
                f"{most} may; retry with backoff, or add servers"
            )
            raise Unavailable(msg)
        self._examples[client] += len(serialized)
        try:
            parsing = parser.begin(serialized, deadline=deadline)
            while not await self._parsing.run(client, partial(parsing.work, _TURN_SECONDS)):
                pass  # between two pieces, other clients may have their turn
        finally:
            self._examples[client] -= len(serialized)
            if not self._examples[client]:
                del self._examples[client]
        return others | parsing.arrays

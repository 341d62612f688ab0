"""The predictor: from a model spec and named tensors to named tensors, whatever the transport."""

from collections.abc import Awaitable, Mapping, Sequence
from functools import partial

import numpy as np

from serving.engine.catalog import Catalog
from serving.engine.machine import available_cores
from serving.engine.servable import Servable
from serving.errors import InvalidInput, Unavailable
from serving.inference.fair_turns import FairTurns
from serving.inference.request import Decode, ModelSpec, Prediction, WireTensor, check_request
from serving.tensors.admission import Account
from serving.tensors.signature import DEFAULT_SIGNATURE_NAME

# tf.Examples that may be parsed or wait for it; more are refused at once, like rows in the batcher.
MAX_EXAMPLES = 10_000
# Parsing goes on for so long before others have their turn.
_TURN_SECONDS = 0.05


class Predictor:
    """Checks requests against signatures and runs them.

    Attributes:
        max_rows: Most rows of one request.
    """

    def __init__(self, catalog: Catalog, *, max_rows: int = MAX_EXAMPLES) -> None:
        """Prepare.

        Args:
            catalog: Knows the versions.
            max_rows: Most rows of one request (`--max_rows_per_request`), where rows are counted.
        """
        self._catalog = catalog
        self.max_rows = max_rows
        # Pictures take up to a second to decode: too long for the event loop. Its own threads,
        # because the loop's default ones may all be waiting for servables to close.
        self._parsing = FairTurns(available_cores(), "examples")
        self._examples = 0  # in those threads or waiting for them; counted in the event loop alone

    def servable(self, spec: ModelSpec) -> Servable:
        """The servable that a request is for.

        Raises:
            InvalidInput: the name is empty.
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
        """Run one request. Everything is checked before the model sees any of it.

        The order of the checks is TensorFlow Serving's: signature, input names, tensors, output
        filter; then dtypes and the shapes that the graph declares, which it leaves to the graph.

        Args:
            spec: Model, version and signature.
            inputs: Tensors as they arrived, by input alias.
            decode: Turns one of them into an array, once it is admitted.
            output_filter: Output aliases to compute; empty for all.
            deadline: `time.monotonic()` after which nobody waits for the answer; None for never.
            account: Counts the decoded bytes; None: nobody does.

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
        """Run one request on a servable that the caller has just found, or holds.

        Args:
            servable: Who is to answer.
            signature_name: Name of one of its signatures.
            inputs: See `predict`, like all the rest.
            decode: Likewise.
            output_filter: Likewise.
            deadline: Likewise.
            account: Likewise.

        Raises:
            ServingError: with the gRPC code and a message for the caller.
        """
        request = check_request(
            servable,
            signature_name,
            inputs,
            decode,
            output_filter,
            max_rows=self.max_rows,
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
        """Replace serialized tf.Examples by the arrays that the graph takes."""
        signature, parser = servable.signatures[signature_name], servable.parsers[signature_name]
        serialized = arrays[signature.example_input].tolist()
        others = {alias: arrays[alias] for alias in arrays if alias != signature.example_input}
        if account is not None:
            account.take(parser.byte_count(len(serialized)))
        if parser.is_quick(serialized):
            return others | parser.parse(serialized, deadline=deadline)
        most = max(MAX_EXAMPLES, self.max_rows)
        if self._examples + len(serialized) > most:
            msg = (
                f"{self._examples} examples wait to be parsed, at most {most} may; retry with "
                "backoff, or add servers"
            )
            raise Unavailable(msg)
        self._examples += len(serialized)
        try:
            parsing = parser.begin(serialized, deadline=deadline)
            caller = account.caller if account is not None else None
            while not await self._parsing.run(caller, partial(parsing.work, _TURN_SECONDS)):
                pass  # others may come between
        finally:
            self._examples -= len(serialized)
        return others | parsing.arrays

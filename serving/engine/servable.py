"""A servable: one loaded version of a model with its signatures."""

import logging
import threading
import time
from collections.abc import Awaitable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from serving.engine import graph_tensors, verdicts
from serving.engine.batching.batch_report import OnBatch
from serving.engine.batching.batcher import Batcher
from serving.engine.batching.batching_config import BatchingConfig
from serving.engine.batching.prepared_runs import PreparedRuns
from serving.engine.binding import version_binding
from serving.engine.binding.version_binding import VersionBinding, describe_cuda
from serving.engine.devices.gpu_turns import TURNS
from serving.engine.loading import graphs, progress, warming
from serving.engine.machine import return_freed_memory
from serving.engine.runtime import (
    CUDA,
    FAILED,
    REFUSED,
    GraphRuntime,
    RuntimeConfig,
    SessionControl,
    TextError,
)
from serving.errors import InvalidInput, ServingError
from serving.repository.model_folder import Precision
from serving.tensors.example_parser import ExampleParser
from serving.tensors.signature import Signature, TensorSpec
from serving.tensors.verdict import Verdict

logger = logging.getLogger(__name__)


class Servable:
    """A loaded version of a model that answers requests.

    Attributes:
        name: Model name.
        version: Version number.
        precision: Precision of the loaded graphs.
        signatures: The signatures by name.
        verdicts: Whether the rows of each signature are independent, by signature name.
        batched: Whether requests to a signature share runs, by signature name.
        declared: By signature name, the specs of the inputs by alias, with the shapes that the
            graph declares.
        instances: Number of runs at the same time.
        max_rows: Limit of the rows that wait or run, and so the limit of one request's rows.
        class_names: Names of the classes in output order; empty if the model has none.
        parsers: Parsers of the signatures that take tf.Examples, by signature name.
        predict_group: Runs checked inputs whose group is known, see `Batcher.run_group`.
        warm_up_seconds: Duration of the warm-up at loading, in seconds.
        load_bytes: Growth of the resident memory of the process while it was loaded, in bytes.
    """

    warm_up_seconds = 0.0
    load_bytes = 0

    def __init__(
        self,
        *,
        name: str,
        version: int,
        precision: Precision,
        signatures: Mapping[str, Signature],
        row_verdicts: Mapping[str, Verdict],
        runtimes: Mapping[str, GraphRuntime],
        class_names: tuple[str, ...],
        instances: int,
        batching: BatchingConfig,
        binding: VersionBinding | None = None,
    ) -> None:
        self.name = name
        self.version = version
        self.precision = precision
        self.signatures = signatures
        self.verdicts = row_verdicts
        self.batched = verdicts.batched(signatures, row_verdicts, batching)
        self.declared = {
            signature_name: graph_tensors.declared(
                signature,
                runtimes[signature.file].inputs,
                needs_ranks=runtimes[signature.file].needs_ranks,
            )
            for signature_name, signature in signatures.items()
        }
        self.instances = instances
        self.max_rows = batching.max_enqueued_rows
        self.class_names = class_names
        self.parsers = {
            signature_name: ExampleParser(signature.feature_spec)
            for signature_name, signature in signatures.items()
            if signature.feature_spec
        }
        self._held = 0
        self._released = threading.Condition()
        self._runtimes = runtimes
        self._binding = binding
        self._refusals_told: set[str] = set()
        self._batcher = Batcher(
            self.run,
            batching,
            workers=instances,
            name=str(self),
            make_control=SessionControl,
            prepare=None if binding is None else partial(self._prepare, binding),
        )
        self.predict_group = self._batcher.run_group

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"

    @classmethod
    def load(
        cls,
        name: str,
        version: int,
        path: Path,
        config: RuntimeConfig,
        batching: BatchingConfig,
        *,
        warm_up: bool = True,
    ) -> "Servable":
        """Read a version folder, load its graphs and warm them up.

        Args:
            name: Model name.
            version: Version number.
            path: The version's folder.
            config: See `RuntimeConfig`.
            batching: See `BatchingConfig`.
            warm_up: Whether to run each signature on made-up inputs.

        Returns:
            The servable, with its worker threads started.

        Raises:
            DataLoss: files are missing, altered or not readable as graphs, or the signatures do not
                fit the graphs.
            Unsupported: an input or output of a graph has a type that cannot be served.
            FailedPrecondition: the version lacks the configured precision, or is a SavedModel and
                TensorFlow is not installed.
            DeviceError: the configured device cannot be used.
        """
        started = time.perf_counter()
        folder, signatures, runtimes = graphs.load(path, config)
        on_cuda = CUDA in {runtime.provider for runtime in runtimes.values()}
        if on_cuda:
            batching = batching.for_cuda(verdicts.proved_rows(folder, signatures))
        progress.note("proving row independence")
        for signature_name, signature in signatures.items():
            graph = runtimes[signature.file]
            graph_tensors.check_signature(signature_name, signature, graph.inputs, graph.outputs)
        row_verdicts = verdicts.find(folder, signatures, runtimes, batching)
        binding = version_binding.plan(
            f"{name}/{version}",
            signatures,
            runtimes,
            batched=verdicts.batched(signatures, row_verdicts, batching),
            config=config,
            sizes=batching.in_powers_of_two().allowed_batch_sizes,
            warm_up=warm_up,
        )
        progress.note("warming up")
        warming_since = time.perf_counter()
        servable = cls(
            name=name,
            version=version,
            precision=folder.precision,
            signatures=signatures,
            row_verdicts=row_verdicts,
            runtimes=runtimes,
            class_names=folder.class_names,
            instances=config.instances,
            batching=batching,
            binding=binding if warm_up else None,
        )
        try:
            if warm_up:
                servable._warm_up_all(batching)
        except BaseException:
            servable.close()  # ends its worker threads
            raise
        return_freed_memory()
        servable.warm_up_seconds = time.perf_counter() - warming_since
        logger.info(
            "loaded %s as %s on %s in %.0f ms",
            servable,
            servable.precision,
            servable.provider,
            1000 * (time.perf_counter() - started),
        )
        if binding is not None:
            chosen = f"{describe_cuda(config, folder.precision)}; " if on_cuda else ""
            logger.info("%s: %s%s", servable, chosen, binding.describe())
        verdicts.log(str(servable), servable.verdicts, servable.batched, batching)
        return servable

    @property
    def provider(self) -> str:
        """Name of the execution provider that the graphs run on."""
        return next(iter(self._runtimes.values())).provider

    @property
    def platform(self) -> str:
        """Platform name in KServe's model metadata."""
        return next(iter(self._runtimes.values())).platform

    @property
    def batching(self) -> BatchingConfig:
        """The settings of the batcher."""
        return self._batcher.config

    @property
    def closed(self) -> bool:
        """Whether the servable is unloaded or is being unloaded."""
        return self._batcher.closed

    @property
    def rows_in_progress(self) -> int:
        """Number of rows that wait or run."""
        return self._batcher.rows

    @property
    def queued_requests(self) -> int:
        """Number of requests, or parts of split requests, that no worker thread has taken yet."""
        return self._batcher.queued_requests

    def report_batches(self, on_batch: OnBatch) -> None:
        """Call `on_batch` in the event loop after every batch."""
        self._batcher.report_batches(on_batch)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep the graphs loaded while a request is prepared, until it is in the queue.

        Call this in the same event-loop step that looked the servable up (no `await` in between);
        otherwise the servable may be closed.
        """
        with self._released:
            self._held += 1
        try:
            yield
        finally:
            with self._released:
                self._held -= 1
                self._released.notify_all()

    def predict(
        self,
        signature_name: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        *,
        batched: bool | None = None,
        deadline: float | None = None,
    ) -> Awaitable[Mapping[str, np.ndarray]]:
        """Run a signature on checked inputs, in a batch with other requests if that is possible.

        Args:
            signature_name: Name of a signature in `signatures`.
            inputs: Arrays by model input alias (`Signature.model_inputs`).
            outputs: Output aliases to compute.
            batched: Whether the request may share a run and be split. None: `batched` of the
                signature and `Signature.is_batch` decide.
            deadline: `time.monotonic()` after which the request is dropped; None: no deadline.

        Returns:
            An awaitable of the arrays by output alias.

        Raises:
            ServingError: see `Batcher.run`.
        """
        if batched is None:
            signature = self.signatures[signature_name]
            batched = self.batched[signature_name] and signature.is_batch(inputs)
        batcher = self._batcher  # not `async def`: this saves every request a coroutine
        return batcher.run(signature_name, inputs, outputs, batched=batched, deadline=deadline)

    def run(
        self,
        signature_name: str,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        control: SessionControl | None = None,
    ) -> dict[str, np.ndarray]:
        """Run a signature at once, without the queue. Blocks; may be called from several threads.

        Args:
            signature_name: Name of a signature in `signatures`.
            inputs: Arrays by model input alias.
            outputs: Output aliases to compute.
            control: Terminates the run from another thread; None: the run cannot be terminated.

        Returns:
            Arrays by output alias.

        Raises:
            InvalidInput, InternalError: see `Runtime.run`.
        """
        signature = self.signatures[signature_name]
        specs = signature.model_inputs
        feeds = {specs[alias].tensor: array for alias, array in inputs.items()}
        computed = [alias for alias in outputs if not signature.outputs[alias].constant]
        if len(computed) == len(outputs):
            tensors = [signature.outputs[alias].tensor for alias in outputs]
            try:
                arrays = self._runtimes[signature.file].run(tensors, feeds, control)
            except ServingError as error:
                raise _explained(error, specs, inputs) from error
            return dict(zip(outputs, arrays, strict=True))
        answer = self.run(signature_name, inputs, computed, control) if computed else {}
        shape = next(iter(inputs.values())).shape
        rows = shape[0] if shape else 1
        constants = (alias for alias in outputs if alias not in answer)
        return answer | {alias: signature.outputs[alias].constant_rows(rows) for alias in constants}

    def _warm_up_all(self, batching: BatchingConfig) -> None:
        """Warm up in this thread or, if the runs are bound, in the worker threads; blocks."""
        if self._binding is None:
            self.warm_up(batching.allowed_batch_sizes or (1,))
            return
        self._batcher.await_preparation()
        if sizes := self._binding.sizes:
            self._batcher.change_batches(batching.limited_to(sizes))

    def warm_up(
        self, batch_sizes: Sequence[int] = (1,), *, without: Collection[str] = ()
    ) -> frozenset[str]:
        """Run signatures on zeros, because first runs allocate memory and select kernels.

        Args:
            batch_sizes: See `warming.run_on_zeros`.
            without: Names of signatures that are not run.

        Returns:
            Names of the signatures that took no zeros.
        """
        specs = {
            name: signature.model_inputs
            for name, signature in self.signatures.items()
            if name not in without
        }
        return warming.run_on_zeros(self, specs, batch_sizes, self._refusals_told)

    def _prepare(self, binding: VersionBinding) -> PreparedRuns:
        """Warm up and prepare the bound runs, in the worker thread that calls this."""
        first, *others = binding.planned_sizes
        with binding.turn:
            refused = self.warm_up((first,))
            bound = binding.prepare(refused, self.run)
            self.warm_up(others, without=refused | {name for name, _ in bound})
        return bound

    def may_end_the_process(self, name: str) -> bool:
        """Return whether an input declares no rank and a wrong rank may end the process."""
        runtime = self._runtimes[self.signatures[name].file]
        unknown = any(spec.shape is None for spec in self.declared[name].values())
        return runtime.needs_ranks and unknown

    def close(self) -> None:
        """Finish the accepted requests and free the graphs; blocks.

        Call this in another thread than the event loop's: the requests need the loop to finish.
        """
        with self._released:
            self._released.wait_for(lambda: not self._held)
        self._batcher.close()
        with TURNS.shared():  # this frees memory of the GPU
            self._runtimes, self._binding = {}, None
        return_freed_memory()


def _explained(
    error: ServingError, specs: Mapping[str, TensorSpec], inputs: Mapping[str, np.ndarray]
) -> ServingError:
    """Return the error of a run, with aliases in place of tensor names where that is possible.

    If the request has another shape than the signature describes, the graph may refuse the request.
    The error is then InvalidInput, whether ONNX Runtime reported a failure or an invalid argument.
    """
    if isinstance(error, TextError):
        alias = next(alias for alias, spec in specs.items() if spec.tensor == error.tensor)
        return InvalidInput(f'input "{alias}" {error.reason}')
    odd = [
        f'"{alias}" has shape {array.shape}, the signature says {specs[alias].shape}'
        for alias, array in inputs.items()
        if not specs[alias].accepts_shape(array.shape)
    ]
    # TensorFlow's messages have neither prefix; callers get them unchanged.
    if odd and error.message.startswith((FAILED, REFUSED)):
        reason = error.message.removeprefix(FAILED).removeprefix(REFUSED)
        return InvalidInput(f"{REFUSED}{reason}; input {', '.join(odd)}")
    return error

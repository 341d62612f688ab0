"""The bound runs of one graph: how they run, and which batch sizes worker threads have prepared."""

import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from serving.engine.batching.prepared_runs import RunBatch
from serving.engine.binding.bound_run import BoundRun, BoundSignature
from serving.engine.devices.cuda_options import share_of_memory
from serving.engine.devices.graph_sessions import GraphSessions
from serving.engine.devices.library import onnxruntime

logger = logging.getLogger(__name__)

BoundRuns = dict[tuple[str, int], BoundRun]


@dataclass(frozen=True)
class Way:
    """How the batches of a graph run.

    Attributes:
        label: Text for the log, before the batch sizes.
        session: Returns the session for a batch size.
        captures: Whether the session captures a CUDA graph for each batch size.
    """

    label: str
    session: Callable[[int], onnxruntime.InferenceSession]
    captures: bool = False


class SessionsBySize:
    """One session for each batch size: each keeps the cuDNN plans of its convolutions.

    ONNX Runtime's convolution remembers the plan of its last input shape only, so a session that
    runs several batch sizes makes new plans at every change.
    """

    def __init__(self, sessions: GraphSessions, mem_limit_bytes: int) -> None:
        """Open no session yet.

        Args:
            sessions: Opens the sessions.
            mem_limit_bytes: Memory limit of each session; 0: no limit.
        """
        self._sessions, self._limit = sessions, mem_limit_bytes
        self._opened: dict[int, onnxruntime.InferenceSession] = {}

    def of(self, rows: int) -> onnxruntime.InferenceSession:
        """Return the session for a batch size; opens it when it is asked for the first time."""
        if rows not in self._opened:
            self._opened[rows] = self._sessions.open(self._limit)
        return self._opened[rows]


class GraphBinding:
    """Prepares the bound runs of one graph in each worker thread.

    The first thread decides how they run: the first way of `ways` in which a batch size works.

    Attributes:
        sizes: Batch sizes that all threads have prepared so far, ascending; empty if none works.
        reasons: Why better ways are not used.
    """

    def __init__(
        self,
        servable: str,
        sessions: GraphSessions,
        signatures: Sequence[BoundSignature],
        sizes: Sequence[int],
        *,
        on_cuda: bool,
    ) -> None:
        """Prepare nothing yet.

        Args:
            servable: The version, as `name/version`, for the log.
            sessions: The graph's sessions.
            signatures: The graph's signatures that can run on fixed buffers.
            sizes: Batch sizes, ascending.
            on_cuda: Whether the graph runs on CUDA.
        """
        self._servable, self._sessions, self._signatures = servable, sessions, signatures
        self.sizes = tuple(sizes)
        self.reasons: list[str] = []
        self._ways = self._possible_ways() if on_cuda else iter([self._plainly()])
        self._way: Way | None = None
        self._has_chosen = False

    def prepare(self, refused: Collection[str], unbound: RunBatch) -> BoundRuns:
        """Prepare the bound runs of the calling thread; call it in one thread after another.

        Args:
            refused: Names of signatures that do not take inputs of zeros.
            unbound: Runs a batch without fixed buffers.

        Returns:
            The bound runs by signature name and batch size; empty if no batch size works.
        """
        signatures = [each for each in self._signatures if each.name not in refused]
        if not self._has_chosen:
            self._has_chosen = True
            return self._choose(signatures, unbound)
        return {} if self._way is None else self._bind(self._way, signatures, unbound)[0]

    def _choose(self, signatures: Sequence[BoundSignature], unbound: RunBatch) -> BoundRuns:
        """Return the bound runs in the first way that works."""
        for way in self._ways if signatures else ():
            bound, failure = self._bind(way, signatures, unbound)
            if bound:
                self._way = way
                return bound
            self.reasons.append(f"not {way.label} ({failure})")
            if way.captures:
                self._sessions.reopen_main(failure)
        self.sizes = ()
        return {}

    def _bind(
        self, way: Way, signatures: Sequence[BoundSignature], unbound: RunBatch
    ) -> tuple[BoundRuns, str]:
        """Return the bound runs in a way, and the failure that ended them; keep the sizes."""
        bound: BoundRuns = {}
        for position, rows in enumerate(self.sizes):
            try:
                bound |= {
                    (signature.name, rows): BoundRun(
                        way.session(rows),
                        signature,
                        rows,
                        unbound,
                        graph_id=number if way.captures else 0,
                    )
                    for number, signature in enumerate(signatures, 1 + position * len(signatures))
                }
            except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no base class
                failure = " ".join(str(error).split())
                if bound:
                    self._keep(self.sizes[:position], rows, failure)
                return bound, failure
        return bound, ""

    def _keep(self, sizes: tuple[int, ...], failed: int, failure: str) -> None:
        logger.warning(
            "%s: batches of %d rows cannot be prepared (%s); batches have at most %d rows",
            self._servable,
            failed,
            failure,
            sizes[-1],
        )
        self.sizes = sizes

    def _possible_ways(self) -> Iterator[Way]:
        """Yield the ways to run on CUDA, the best first; notes why a way is not possible."""
        sessions = self._sessions
        if sessions.captures:
            yield Way("CUDA graphs", lambda _rows: sessions.main, captures=True)
        else:
            self.reasons.append(f"not CUDA graphs ({sessions.no_graphs})")
        number = len(self.sizes) + 1  # the main session, too
        share = share_of_memory(
            sessions.mem_limit_bytes, sessions=number, graph_bytes=sessions.file_bytes
        )
        if share is None:
            self.reasons.append(
                f"not a session for each batch size ({number} sessions do not fit in "
                f"--gpu_mem_limit_bytes={sessions.mem_limit_bytes})"
            )
        else:
            if share:
                sessions.reopen_main(sessions.no_graphs, share)
            yield Way("a session for each batch size", SessionsBySize(sessions, share).of)
            if share:
                sessions.reopen_main(sessions.no_graphs)
        yield self._plainly()

    def _plainly(self) -> Way:
        return Way("fixed buffers on one session", lambda _rows: self._sessions.main)

    def describe(self) -> str:
        """Return how the batches run, as a text for the log."""
        if self._way is None:
            return "; ".join(["no fixed buffers", *self.reasons])
        label = f"{self._way.label} ({', '.join(map(str, self.sizes))} rows)"
        return "; ".join([label, *self.reasons])

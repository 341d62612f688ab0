"""A replay: the requests of recorded traffic, sent again at the same times or faster.

Nothing is drawn: the same file and speed give the same schedule.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from loadtest.load import recorded_traffic
from loadtest.load.arrivals import Arrivals
from loadtest.load.recorded_traffic import RecordedTraffic
from loadtest.rows.images import Queries
from loadtest.settings.config import UsageError

_NS_PER_SECOND = 1_000_000_000


@dataclass(frozen=True, eq=False, kw_only=True)
class Replay:
    """The requests of one model and one batch size, as a run sends them.

    Attributes:
        source: Name of the file.
        sha256: Digest of the file.
        speed: How many times faster than recorded.
        due_ns: int64, shape (n,), ascending: times from the first request of the file, recorded
            times divided by the speed.
        batch: Images in a request; None if the file does not say.
        images: int64, shape (n, batch): test images of each request, -1 at unused places; None if
            the file does not say.
        left_out: Requests of the file with another model or batch, or after the end.
    """

    source: str
    sha256: str
    speed: float
    due_ns: npt.NDArray[np.int64]
    batch: int | None
    images: npt.NDArray[np.int64] | None
    left_out: int

    @property
    def seconds(self) -> float:
        """Time from the first to the last request."""
        return float(self.due_ns[-1] - self.due_ns[0]) / _NS_PER_SECOND

    @property
    def mean_rate(self) -> float:
        """Requests a second between the first and the last one; of a single request 1."""
        return (len(self.due_ns) - 1) / self.seconds if self.seconds else 1.0

    @property
    def peak_rate(self) -> float:
        """The mean rate: a recording has no rate of its own at any moment."""
        return self.mean_rate

    @property
    def words(self) -> str:
        """The replay in words."""
        left_out = f" ({self.left_out:,} others left out)" if self.left_out else ""
        speed = "their speed" if self.speed == 1 else f"{self.speed:g} times their speed"
        return (
            f"replay of {len(self.due_ns):,} requests of {self.source}{left_out} at {speed}, "
            f"{self.mean_rate:,.4g} requests/s on average"
        )

    def arrivals(self, seed: int) -> Arrivals:  # noqa: ARG002 - nothing is drawn
        """Return the arrivals; the seed does not change them."""
        return Arrivals(np.arange(len(self.due_ns), dtype=np.int64), self.due_ns)


@dataclass(frozen=True)
class RecordedQueries(Queries):
    """The queries of recorded requests: request i sends query i; images may be repeated.

    Attributes:
        order: int64, shape (n * batch,): the images of all queries, -1 at unused places.
        batch: Places in a query.
    """

    def image_ids(self, query: int) -> npt.NDArray[np.int64]:
        """See Queries."""
        row = self.table[query]
        return np.asarray(row[row >= 0])

    @cached_property
    def table(self) -> npt.NDArray[np.int64]:
        """See Queries."""
        return self.order.reshape(-1, self.batch)


def read(
    path: Path,
    *,
    speed: float,
    model: str,
    batch: int | None,
    requests: int | None = None,
    duration_seconds: float | None = None,
) -> Replay:
    """Read the requests that a run replays.

    Args:
        path: The file, see `recorded_traffic.read`.
        speed: How many times faster than recorded.
        model: Model of the run; requests of other models are left out.
        batch: Images in a request; requests with another number are left out. None to use the
            file's, which must be the same for all requests.
        requests: Number of requests to send; None for all.
        duration_seconds: Time after which no request is due; None for no limit.

    Raises:
        UsageError: The file cannot be read, or has no such requests, or requests with several
            batch sizes although `batch` is None.
    """
    traffic = recorded_traffic.read(path)
    chosen = _with_batch(traffic, _of_model(traffic, path, model), path, batch)
    due_ns = np.rint(traffic.times_ns[chosen] / speed).astype(np.int64)
    if duration_seconds is not None:
        due_ns = due_ns[due_ns < duration_seconds * _NS_PER_SECOND]
        if not len(due_ns):
            msg = f"--replay {path} has no request in the first {duration_seconds:g} seconds"
            raise UsageError(msg)
    due_ns = due_ns[:requests]
    chosen = chosen[: len(due_ns)]
    sizes = traffic.batches[chosen]
    images = None
    if traffic.images is not None:
        images = traffic.images[chosen, : int(sizes.max())]
    return Replay(
        source=traffic.source,
        sha256=traffic.sha256,
        speed=speed,
        due_ns=due_ns,
        batch=int(sizes.max()) or None,
        images=images,
        left_out=len(traffic.times_ns) - len(chosen),
    )


def _of_model(traffic: RecordedTraffic, path: Path, model: str) -> npt.NDArray[np.int64]:
    """Return the places of a model's requests; of all if the file names no model."""
    if traffic.models is None:
        return np.arange(len(traffic.times_ns))
    mine = np.flatnonzero(traffic.models == model)
    if not len(mine):
        msg = (
            f"--replay {path} has no request of the model {model!r}, only of "
            f"{', '.join(sorted(set(traffic.models.tolist())))}"
        )
        raise UsageError(msg)
    return mine


def _with_batch(
    traffic: RecordedTraffic, places: npt.NDArray[np.int64], path: Path, batch: int | None
) -> npt.NDArray[np.int64]:
    """Return the places with a number of images; all places if the file does not say it."""
    sizes = traffic.batches[places]
    known = np.unique(sizes).tolist()
    if batch is None and len(known) > 1:
        msg = (
            f"--replay {path} has requests with {', '.join(map(str, known))} images; choose one "
            "with --batch, or send all with `python -m loadtest mix --replay`"
        )
        raise UsageError(msg)
    if batch is None or known == [0]:
        return places
    if batch not in known:
        msg = (
            f"--replay {path} has no request with {batch} images, only with "
            f"{', '.join(map(str, known))}"
        )
        raise UsageError(msg)
    return np.asarray(places[sizes == batch])

"""Measures the goodput of one cell: right answers within the bound, in requests a second.

A number of callers, each waiting for its answer, keep the server busy: a closed loop. Its rate is
the server's own, so every short measurement is a number, whereas an open loop says only whether the
server keeps up with one rate. The number of callers belongs to the cell: short probes raise or
lower it until the percentile of latency is a little below the bound, because more callers fill
larger batches, and too many make answers late.

Bias: callers that wait send no bursts. With random arrivals the rate within the bound is lower, for
every cell. `rate` measures that. Noise: the number of callers differs a little between
measurements; near saturation the rate hardly depends on it.
"""

import time
from dataclasses import dataclass, field, replace

import numpy as np

from loadtest.generator.event_loop import run_event_loop
from loadtest.load.plan import Progress
from loadtest.load.scenarios import settle
from loadtest.rows.dataset import Source
from loadtest.servers.local import LocalServer
from loadtest.session import first_request
from loadtest.session.session import Measurement, Session, open_session
from loadtest.settings.config import LoadTestConfig, UsageError
from loadtest.tune.cells import Cell
from loadtest.tune.document import Measured, Phase
from loadtest.tune.server_pool import ServerPool

# Callers have connections of their own up to this number, so that all workers get some.
CONNECTIONS = 64
# Callers of the first probe, and the most of all.
_FIRST_USERS, _MOST_USERS = 8, 1024
# Where the percentile should be, as a share of the bound.
_AIM = 0.9
# The shortest measurement, and of which a second try has a multiple if nothing was sent in the
# first: a generator needs some of the time to begin.
_LEAST_SECONDS, _LONGER = 0.3, 4.0
# One probe changes the number of callers by at most this factor.
_MOST_CHANGE = 4.0
# A probe errs, so the number of callers changes only by this power of the factor that seems right.
# After the k-th measurement of a cell the power is divided by the root of k, and the number changes
# by at most the second factor, so that it settles.
_DAMPING, _MOST_DRIFT = 0.5, 1.5
# The number of callers follows the median of the percentiles of blocks of this length. If another
# program has the processor for a moment, only a few blocks have a high percentile.
_BLOCK_SECONDS = 0.1
# Powers of the probes before the first measurement of a cell, and before its later ones. The number
# of callers is known by then, so their one probe only warms the server up.
_PROBES, _WARM_UP = (1.0, 1.0, _DAMPING, _DAMPING), (0.0,)
# Different requests that are sent in turn.
_QUERIES = 1000
WARMUP_REQUESTS = 20
_NS_PER_MS = 1_000_000
_NS_PER_SECOND = 1_000_000_000


class CellFailed(Exception):
    """The cell must not be chosen; the text is the reason."""


class Interrupted(Exception):
    """A signal ends the search; the text names it."""


@dataclass(kw_only=True)
class Meter:
    """Measures cells, and remembers the number of callers of each.

    Attributes:
        config: Settings of every measurement; target, callers and length are replaced.
        source: The test images.
        pool: The servers.
        index: Index of each cell in the document; the search adds them.
        users: Callers of each cell that was measured.
    """

    config: LoadTestConfig
    source: Source
    pool: ServerPool
    index: dict[Cell, int] = field(default_factory=dict)
    users: dict[Cell, int] = field(default_factory=dict)
    _times: dict[Cell, int] = field(default_factory=dict)
    _started: float = field(default_factory=time.monotonic)

    def measure(
        self, cell: Cell, seconds: float, phase: Phase, *, rate: float | None = None
    ) -> Measured:
        """Measure a cell once; start its server if it does not run.

        Args:
            cell: The cell.
            seconds: Length of the measurement without the probes, at least 0.3.
            phase: The part of the search.
            rate: Rate of Poisson arrivals; None for callers that wait.

        Raises:
            CellFailed: The server does not start or ends, or it gives wrong or no answers.
            Interrupted: A signal came.
        """
        seconds = max(seconds, _LEAST_SECONDS)
        try:
            server = self.pool.server(cell)
        except UsageError as error:
            raise CellFailed(str(error)) from error
        config = replace(self.config, target=server.address)
        try:
            measured, users = run_event_loop(self._measure(config, cell, seconds, rate))
        except UsageError as error:
            raise CellFailed(server.end() or str(error)) from error
        self._check(measured, server)
        report = measured.report
        answered = report.requests.answered
        goodput = report.goodput
        latency_ms = measured.scores.latency_ns / _NS_PER_MS
        accuracy = report.accuracy
        return Measured(
            cell=self.index[cell],
            phase=phase,
            at_seconds=round(time.monotonic() - self._started, 3),
            seconds=seconds,
            users=0 if rate is not None else users,
            rate_per_second=rate,
            goodput_per_second=(goodput and goodput.per_second) or 0.0,
            share=(goodput and goodput.share) or 0.0,
            requests_per_second=report.throughput.requests_per_second or 0.0,
            p50_ms=float(np.median(latency_ms)) if answered else None,
            percentile_ms=_percentile_ms(measured),
            answered=answered,
            failed=report.requests.failed,
            wrong=0 if report.mismatches is None else report.mismatches.differing,
            correct=round((accuracy.top1 or 0.0) * accuracy.n),
            images=accuracy.n,
            client_cpu_share=report.client.cpu_share,
        )

    async def _measure(
        self, config: LoadTestConfig, cell: Cell, seconds: float, rate: float | None
    ) -> tuple[Measurement, int]:
        known = self.users.get(cell)
        users = max(known or _FIRST_USERS, config.processes)
        await first_request.prepare(self.source, config)
        opening = settle(replace(config, users=users, requests=_QUERIES), len(self.source))
        async with open_session(config, self.source, opening) as session:
            if rate is not None:
                run = replace(config, rate_per_second=rate, duration_seconds=seconds)
                return await self._run(session, run), users
            for power in _PROBES if known is None else _WARM_UP:
                probe = replace(config, users=users, duration_seconds=_LEAST_SECONDS)
                users = self._next(users, await self._run(session, probe), power, _MOST_CHANGE)
            run = replace(config, users=users, duration_seconds=seconds)
            measured = await self._run(session, run)
            times = self._times[cell] = self._times.get(cell, 0) + 1
            self.users[cell] = self._next(users, measured, _DAMPING / times**0.5, _MOST_DRIFT)
            return measured, users

    def _next(self, users: int, measured: Measurement, power: float, most: float) -> int:
        """Return the number of callers whose percentile should be a little below the bound.

        Latency is about proportional to the number of callers once the server is busy.
        """
        latency_ms, slo_ms = _steady_percentile_ms(measured), self.config.slo_ms or 0.0
        change = (_AIM * slo_ms / latency_ms) ** power if latency_ms else 1 / most
        change = min(max(change, 1 / most), most)
        return min(max(self.config.processes, round(users * change)), _MOST_USERS)

    async def _run(self, session: Session, config: LoadTestConfig) -> Measurement:
        load = settle(config, len(self.source))
        measured = await session.measure(config, load, _ignore)
        if not measured.report.requests.sent and config.duration_seconds is not None:
            # The machine is so busy that the time was over before the generator could begin.
            longer = replace(config, duration_seconds=_LONGER * config.duration_seconds)
            load = settle(longer, len(self.source))
            measured = await session.measure(longer, load, _ignore)
        if measured.report.status == "interrupted":
            raise Interrupted(measured.report.stop_reason or "interrupted")
        return measured

    def _check(self, measured: Measurement, server: LocalServer) -> None:
        """Raise CellFailed if the measurement shows that the cell must not be chosen."""
        report, gates = measured.report, self.config.gates
        if report.status == "aborted" or server.end() is not None:
            raise CellFailed(server.end() or report.stop_reason or "the run was aborted")
        wrong = 0 if report.mismatches is None else report.mismatches.differing
        if wrong > gates.max_wrong_answers:
            msg = (
                f"{wrong:,} answers differ from the record, at most "
                f"{gates.max_wrong_answers:,} allowed"
            )
            raise CellFailed(msg)
        interval = report.accuracy.wilson_95
        if gates.min_accuracy is not None and interval and interval[1] < gates.min_accuracy:
            msg = (
                f"top-1 is at most {100 * interval[1]:.2f} %, at least "
                f"{100 * gates.min_accuracy:g} % wanted"
            )
            raise CellFailed(msg)
        if not report.requests.answered:
            kinds = [f"{kind}: {text}" for kind, (_, text) in measured.scores.errors.items()]
            msg = f"no request was answered ({'; '.join(kinds[:1]) or 'none was sent'})"
            raise CellFailed(msg)


def _percentile_ms(measured: Measurement) -> float | None:
    """Return the latency at the percentile of the bound, also of few answers; None without any."""
    latency_ns = measured.scores.latency_ns
    if not len(latency_ns):
        return None
    percent = measured.report.scenario.slo_percentile
    return float(np.percentile(latency_ns, percent)) / _NS_PER_MS


def _steady_percentile_ms(measured: Measurement) -> float | None:
    """Return the median of the percentiles of all blocks of the run; None without answers."""
    scores, percent = measured.scores, measured.report.scenario.slo_percentile
    if not scores.answered:
        return None
    due_ns = measured.recording.due_ns[scores.rows]
    blocks = (due_ns - due_ns.min()) // int(_BLOCK_SECONDS * _NS_PER_SECOND)
    found = [
        np.percentile(scores.latency_ns[blocks == block], percent) for block in np.unique(blocks)
    ]
    return float(np.median(found)) / _NS_PER_MS


def _ignore(_progress: Progress) -> None:
    pass

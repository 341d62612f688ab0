"""The figures of a run in progress, from the increments of its generator processes."""

from collections import deque
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from msgspec import structs

from loadtest.figures import bounds, sections
from loadtest.figures.percentiles import over_allowed, percentile
from loadtest.figures.published_answers import Record
from loadtest.figures.running import RunningFigures
from loadtest.figures.scoring import Scorer
from loadtest.generator.recording import Integers, Recorder, Recording
from loadtest.load.increment import Increment
from loadtest.report_sections_schema import (
    Accuracy,
    Check,
    Client,
    ErrorKind,
    Latency,
    Requests,
    Slo,
    Throughput,
)
from loadtest.session.watcher import Beginning, Briefing
from loadtest.verdict import validity
from loadtest.verdict.validity import WRONG_ANSWERS

RECENT_SECONDS = 5.0
# Rules that a run cannot meet before its end.
_MET_LATER = frozenset({"requests", "images", "duration", "slo-duration"})
# Rules of a short step of a search; see `capacity.find`.
_STEP_RULES = frozenset({"slo", WRONG_ANSWERS, "client-cpu", "client-lag"})
_FAILED, _ANSWERED, _WRONG = 0, 1, 2
_NS_PER_MS = 1_000_000
_NS_PER_SECOND = 1_000_000_000
_NOTHING = Recorder().recording()


@dataclass(frozen=True, kw_only=True)
class Recent:
    """The last seconds of a run; latencies in milliseconds, None for too few answers.

    Attributes:
        seconds: Their number; less than RECENT_SECONDS at the beginning.
        offered_per_second: Requests sent or missed.
        answered_per_second: Requests answered.
        p50: Median latency.
        p90: 90th percentile.
        p99: 99th percentile.
    """

    seconds: float
    offered_per_second: float
    answered_per_second: float
    p50: float | None
    p90: float | None
    p99: float | None


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The figures of a run at one moment; `report_sections_schema` describes the sections.

    Attributes:
        seconds: Time since the first request was due; None before.
        requests: Counts.
        latency_ms: Latency so far.
        throughput: Rates so far.
        recent: The last seconds.
        accuracy: Accuracy so far.
        unscored: Answers that were not scored, because too many different ones came.
        errors: Failures by kind.
        compared: Whether answers are compared with the record.
        differing: Images whose answer differs from the record.
    """

    seconds: float | None
    requests: Requests
    latency_ms: Latency
    throughput: Throughput
    recent: Recent
    accuracy: Accuracy
    unscored: int
    errors: dict[str, ErrorKind]
    compared: bool
    differing: int


@dataclass(frozen=True, kw_only=True)
class VerdictSoFar:
    """What the rules of validity would say if the run ended now.

    Attributes:
        checks: The rules.
        open: Names of the failed rules that only need more time or requests.
        client: Costs of the load generator so far.
    """

    checks: list[Check]
    open: frozenset[str]
    client: Client

    @property
    def failing(self) -> list[Check]:
        """The rules that are broken already."""
        return [each for each in self.checks if not each.passed and each.name not in self.open]

    @property
    def undecided(self) -> list[Check]:
        """The rules that are not met yet."""
        return [each for each in self.checks if not each.passed and each.name in self.open]


class _Columns:
    """int64 columns that grow; the room doubles when it is full."""

    def __init__(self, columns: int) -> None:
        self._room = np.zeros((columns, 1024), np.int64)
        self._used = 0

    def __len__(self) -> int:
        return self._used

    def extend(self, rows: Integers) -> None:
        """Append rows: int64, shape (columns, n)."""
        end = self._used + rows.shape[1]
        size = self._room.shape[1]
        if end > size:
            more = np.zeros((len(self._room), max(end, 2 * size) - size), np.int64)
            self._room = np.concatenate([self._room, more], axis=1)
        self._room[:, self._used : end] = rows
        self._used = end

    def values(self, since: int = 0) -> Integers:
        """Return the rows from `since` on: int64, shape (columns, n)."""
        return self._room[:, since : self._used]


class Tally:
    """Adds up increments. It holds 32 bytes for each request, and RunningFigures 8 more."""

    def __init__(self, briefing: Briefing, run: Beginning, now_ns: int) -> None:
        """Start a run without answers.

        Args:
            briefing: What the requests ask, and how to read the answers.
            run: The run.
            now_ns: This moment, on the clock of time.monotonic_ns.
        """
        self._briefing = briefing
        self._run = run
        known = briefing.record
        self._record = (
            known if isinstance(known, Record) and known.predictions is not None else None
        )
        self._figures = RunningFigures(
            Scorer(briefing.api, briefing.queries, briefing.labels, briefing.agreement),
            images=briefing.rows,
            class_names=briefing.class_names,
            sent_queries=briefing.sent_queries,
            predictions=None if self._record is None else self._record.predictions,
            with_histogram=False,
        )
        self._no_scores = self._figures.add(_NOTHING)
        self._rows = _Columns(4)  # due, sent and end time, and _FAILED, _ANSWERED or _WRONG
        self._missed = _Columns(1)
        self._responses: dict[int, list[bytes | None]] = {}
        self._errors: dict[int, list[tuple[str, str]]] = {}
        self._sent: dict[int, int] = {}
        self._cpu_seconds: dict[int, float] = {}
        self._unscored = 0
        self._wrong = 0
        self._first_due_ns: int | None = None
        # (moment, finished requests, requests sent or missed) after each increment of late.
        self._marks = deque([(now_ns, 0, 0)])

    def add(self, increment: Increment, now_ns: int) -> None:
        """Add an increment; its process' former increments must have been added before.

        Args:
            increment: The increment.
            now_ns: This moment, on the clock of time.monotonic_ns.
        """
        process = increment.process
        self._responses.setdefault(process, []).extend(increment.responses)
        self._errors.setdefault(process, []).extend(increment.errors)
        self._sent[process] = increment.sent
        self._cpu_seconds[process] = increment.cpu_seconds
        scored, unscored, kept = self._split(increment)
        scores = self._figures.add(scored)
        self._figures.add_unscored(unscored)
        self._unscored += unscored.finished
        self._wrong += int(scores.wrong.sum())
        what = np.where(kept, _FAILED, _ANSWERED)
        what[np.flatnonzero(kept)[scores.rows]] = np.where(scores.wrong, _WRONG, _ANSWERED)
        _, due_ns, sent_ns, end_ns, _ = increment.rows
        self._rows.extend(np.stack([due_ns, sent_ns, end_ns, what]))
        self._missed.extend(increment.missed_due_ns[None])
        due_ns = np.concatenate([due_ns, increment.missed_due_ns])
        if len(due_ns):
            first = int(due_ns.min())
            if self._first_due_ns is None:
                self._first_due_ns = first
                self._marks = deque([(first, 0, 0)])  # the time of the warm-up does not count
            self._first_due_ns = min(first, self._first_due_ns)
        self._marks.append((now_ns, len(self._rows), self._due))
        while len(self._marks) > 1 and now_ns - self._marks[1][0] > RECENT_SECONDS * _NS_PER_SECOND:
            self._marks.popleft()

    def snapshot(self, now_ns: int) -> Snapshot:
        """Return the figures so far.

        Args:
            now_ns: This moment, on the clock of time.monotonic_ns.
        """
        first = self._first_due_ns
        return Snapshot(
            seconds=None if first is None else max(0, now_ns - first) / _NS_PER_SECOND,
            requests=self._requests(),
            latency_ms=self._figures.latency(),
            throughput=self._figures.throughput(open_loop=self._is_open),
            recent=self._recent(now_ns),
            accuracy=self._figures.accuracy(),
            unscored=self._unscored,
            errors=self._figures.errors(),
            compared=self._is_compared,
            differing=self._differing,
        )

    def verdict(self) -> VerdictSoFar:
        """Apply the rules of validity to the run so far; this looks at all requests."""
        due_ns, sent_ns, end_ns, what = self._rows.values()
        rows = np.flatnonzero(what != _FAILED)
        wrong = (what[rows] == _WRONG) & self._is_compared
        recording = replace(
            _NOTHING,
            numbers=due_ns,  # only their count matters
            due_ns=due_ns,
            sent_ns=sent_ns,
            end_ns=end_ns,
            missed_due_ns=self._missed.values()[0],
            cpu_seconds=tuple(self._cpu_seconds.values()) or (0.0,),
        )
        scores = replace(
            self._no_scores,
            rows=rows,
            latency_ns=(end_ns - due_ns)[rows],
            differs=wrong[:, None],
        )
        load, config = self._run.load, self._briefing.config
        bound = None
        if config.slo_ms is not None:
            bound = bounds.slo(recording, scores, config.slo_ms, load.percentile)
        if bound is not None and not self._run.correlated:
            bound = _independent(bound)
        client = sections.client(recording, open_loop=self._is_open)
        differing = self._differing
        if self._run.step is not None and differing <= config.gates.max_wrong_answers:
            differing = 0
        judged = validity.judge(
            load,
            stop_reason=None,
            images=self._briefing.rows,
            unit=self._briefing.unit,
            requests=self._requests(),
            latency=self._figures.latency(),
            throughput=self._figures.throughput(open_loop=self._is_open),
            accuracy=self._figures.accuracy(),
            slo=bound,
            client=client,
            thirds=sections.thirds(recording, scores),
            wrong_images=differing,
        )
        undecided = {"slo"} if bound is not None and bound.over_allowed is None else set()
        return VerdictSoFar(
            checks=[
                check
                for check in judged.checks
                if self._run.correlated or check.name in _STEP_RULES
            ],
            open=_MET_LATER | undecided,
            client=client,
        )

    @property
    def _is_open(self) -> bool:
        return self._run.load.loop == "open"

    @property
    def _due(self) -> int:
        return sum(self._sent.values()) + len(self._missed)

    @property
    def _is_compared(self) -> bool:
        """Whether there are recorded answers, of no other version than the one that answers."""
        if self._briefing.agreement is not None:
            return True
        return self._record is not None and set(self._figures.versions) <= {
            self._record.version,
            None,
        }

    @property
    def _differing(self) -> int:
        return self._figures.differing if self._is_compared else 0

    def _requests(self) -> Requests:
        sent = sum(self._sent.values())
        return Requests(
            scheduled=self._due,
            sent=sent,
            missed=len(self._missed),
            answered=self._figures.answered,
            failed=self._figures.failed,
            unfinished=sent - len(self._rows),
            wrong=self._wrong if self._is_compared else 0,
            warmup=0,
            warmup_failed=0,
        )

    def _recent(self, now_ns: int) -> Recent:
        then_ns, finished, due = self._marks[0]
        seconds = (now_ns - then_ns) / _NS_PER_SECOND
        due_ns, _, end_ns, what = self._rows.values(finished)
        latency_ns = (end_ns - due_ns)[what != _FAILED]
        per_second = 1 / seconds if seconds else 0.0

        def milliseconds(percent: float) -> float | None:
            value = percentile(latency_ns, percent)
            return None if value is None else value / _NS_PER_MS

        return Recent(
            seconds=seconds,
            offered_per_second=(self._due - due) * per_second,
            answered_per_second=len(latency_ns) * per_second,
            p50=milliseconds(50),
            p90=milliseconds(90),
            p99=milliseconds(99),
        )

    def _split(self, increment: Increment) -> tuple[Recording, Recording, npt.NDArray[np.bool_]]:
        """Return the rows to score, those whose answer was not handed on, and a mask of the former.

        The answers have new numbers in the recordings, so that each holds only its own.
        """
        responses = self._responses[increment.process]
        answered = increment.rows[4] >= 0
        used, places = np.unique(increment.rows[4][answered], return_inverse=True)
        bodies = [responses[number] for number in used.tolist()]
        here = np.array([body is not None for body in bodies], np.bool_)
        kept = ~answered
        outcomes = increment.rows[4].copy()
        if len(used):
            kept[answered] = here[places]
            outcomes[answered] = places
        numbers, due_ns, sent_ns, end_ns, _ = increment.rows

        def part(mask: npt.NDArray[np.bool_]) -> Recording:
            return replace(
                _NOTHING,
                numbers=numbers[mask],
                due_ns=due_ns[mask],
                sent_ns=sent_ns[mask],
                end_ns=end_ns[mask],
                outcomes=outcomes[mask],
                responses=tuple(body or b"" for body in bodies),
                errors=tuple(self._errors[increment.process]),
            )

        scored = replace(part(kept), missed_due_ns=increment.missed_due_ns)
        return scored, part(~kept), kept


def _independent(slo: Slo) -> Slo:
    """Return a bound's section as it is for independent requests."""
    allowed = over_allowed(slo.n, slo.percentile)
    met = allowed is not None and slo.over <= allowed
    return structs.replace(slo, over_allowed=allowed, met=met, inflation=None)

"""Availability of the server during a run: share of good answers, outages, time to recover.

Availability is the aggregate one of Google's SRE book (chapter "Embracing Risk"): successful
requests over all requests. A request is successful if it was answered before its deadline and the
answer is not wrong. Outages and the time to recover are read from the times of these answers.
"""

from dataclasses import dataclass

import numpy as np

from loadtest.figures.scoring import Scores
from loadtest.generator.recording import Integers, Recording
from loadtest.report_sections_schema import Availability, Outage

# The shortest time without success that counts as an outage. A slow server needs a longer time: so
# many times the median time between a request and the next success.
OUTAGE_SECONDS = 0.5
OUTAGE_MEDIANS = 5
# The server has recovered when no request that is due within this time fails.
STABLE_SECONDS = 1.0
_NS_PER_SECOND = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class Events:
    """Times of a run in nanoseconds from its first due request, each array in ascending order.

    Attributes:
        due: int64, shape (n,): due times of all finished and missed requests.
        bad_due: int64, shape (b,): due times of those that failed, were missed or were answered
            wrongly.
        good_end: int64, shape (g,): times of the good answers.
        end: End of the run.
    """

    due: Integers
    bad_due: Integers
    good_end: Integers
    end: int


def availability(recording: Recording, scores: Scores, *, open_loop: bool) -> Availability:
    """Return share of good answers, outages and time to recover."""
    scheduled = recording.sent + len(recording.missed_due_ns)
    return availability_of(_events(recording, scores), scheduled, open_loop=open_loop)


def availability_of(events: Events, scheduled: int, *, open_loop: bool) -> Availability:
    """Return share of good answers, outages and time to recover.

    An outage begins with the first request that is due after the last good answer, and ends with
    the next good answer. In a closed loop, callers that wait send fewer requests than they would
    have sent; these are added to all requests, so that waiting does not hide an outage.

    Args:
        events: Times of the run.
        scheduled: Number of requests, unfinished ones included.
        open_loop: Whether requests were sent at times set beforehand.
    """
    starts, ends = _gaps(events)
    lengths = np.append(ends, events.end)[: len(starts)] - starts
    usual = float(np.median(lengths[: len(ends)])) if len(ends) else 0.0
    threshold_ns = max(OUTAGE_SECONDS * _NS_PER_SECOND, OUTAGE_MEDIANS * usual)
    outages = [
        (int(starts[place]), int(ends[place]) if place < len(ends) else None)
        for place in np.flatnonzero(lengths >= threshold_ns)
    ]
    out_ns = sum((events.end if end is None else end) - start for start, end in outages)
    withheld = 0 if open_loop else _withheld(events, outages, out_ns)
    requests = scheduled + withheld
    described = [
        Outage(
            start_seconds=start / _NS_PER_SECOND,
            end_seconds=None if end is None else end / _NS_PER_SECOND,
            seconds=((events.end if end is None else end) - start) / _NS_PER_SECOND,
        )
        for start, end in outages
    ]
    recoveries = _recoveries(events, outages)
    recovered = None not in recoveries
    known = [recovery for recovery in recoveries if recovery is not None]
    return Availability(
        good=len(events.good_end),
        requests=requests,
        withheld=withheld,
        share=len(events.good_end) / requests if requests else None,
        outage_threshold_seconds=threshold_ns / _NS_PER_SECOND,
        outages=described,
        outage_seconds=out_ns / _NS_PER_SECOND,
        longest_outage=max(described, key=lambda outage: outage.seconds, default=None),
        time_to_recover_seconds=max(known) / _NS_PER_SECOND if recovered and known else None,
        recovered=recovered,
    )


def _events(recording: Recording, scores: Scores) -> Events:
    good = np.zeros(recording.finished, np.bool_)
    good[scores.rows[~scores.wrong]] = True
    missed = recording.missed_due_ns
    due = np.sort(np.concatenate([recording.due_ns, missed]))
    origin = int(due.min(initial=np.iinfo(np.int64).max)) if len(due) else 0
    last = max(int(due.max(initial=origin)), int(recording.end_ns.max(initial=origin)))
    return Events(
        due=due - origin,
        bad_due=np.sort(np.concatenate([recording.due_ns[~good], missed])) - origin,
        good_end=np.sort(recording.end_ns[good]) - origin,
        end=last - origin,
    )


def _gaps(events: Events) -> tuple[Integers, Integers]:
    """Return the times in which requests waited and none succeeded: their starts and ends.

    There is a gap after the beginning and after each good answer, unless no request is due before
    the next one. The last gap has a start without an end if no request succeeded after it.
    """
    before = np.concatenate([[0], events.good_end])
    places = np.searchsorted(events.due, before)
    far = np.iinfo(np.int64).max
    starts = np.append(events.due, far)[places]
    last = [starts[-1]] if starts[-1] != far else []
    real = starts[:-1] < events.good_end
    return np.append(starts[:-1][real], last).astype(np.int64), events.good_end[real]


def _withheld(events: Events, outages: list[tuple[int, int | None]], out_ns: int) -> int:
    """Return the requests that callers would have sent in outages at their rate outside of them."""
    inside = sum(
        int(np.searchsorted(events.due, events.end + 1 if end is None else end))
        - int(np.searchsorted(events.due, start))
        for start, end in outages
    )
    up_ns = events.end - out_ns
    if up_ns <= 0:
        return 0
    return max(0, round((len(events.due) - inside) / up_ns * out_ns) - inside)


def _recoveries(events: Events, outages: list[tuple[int, int | None]]) -> list[int | None]:
    """Return the time from each first failure to the stable success after it.

    It is None, and the last one, if there is no stable success until the end of the run.
    """
    good, stable_ns = events.good_end, round(STABLE_SECONDS * _NS_PER_SECOND)
    # Each trouble with the earliest time of the success that may end it.
    troubles = [(due, due) for due in events.bad_due.tolist()]
    troubles += [(start, events.end + 1 if end is None else end) for start, end in outages]
    troubles.sort()
    found: list[int | None] = []
    place = 0
    while place < len(troubles):
        first, ends = troubles[place]
        while True:
            number = int(np.searchsorted(good, ends))
            if number == len(good):
                return [*found, None]
            success = int(good[number])
            place += 1
            # Troubles before this success are part of the same one.
            while place < len(troubles) and troubles[place][1] <= success:
                place += 1
            if place == len(troubles) or troubles[place][0] > success + stable_ns:
                break
            ends = troubles[place][1]
        found.append(success - first)
    return found

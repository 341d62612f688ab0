import numpy as np
import pytest

from loadtest.generator.recording import Recorder, Recording, merge


def record(*rows: tuple[int, bytes | tuple[str, str]], start_ns: int = 0) -> Recording:
    """Return a recording of requests; each outcome is an answer's bytes or a failure."""
    recorder = Recorder()
    for number, outcome in rows:
        recorder.sent += 1
        sent_ns = start_ns + 10 * number
        if isinstance(outcome, bytes):
            recorder.answer(number, sent_ns - 1, sent_ns, sent_ns + 5, outcome)
        else:
            recorder.error(number, sent_ns - 1, sent_ns, sent_ns + 7, outcome)
    return recorder.recording(in_flight_max=2, cpu_seconds=0.5, warmup=(3, 1))


def outcomes(recording: Recording) -> dict[int, bytes | tuple[str, str]]:
    """Return the answer or failure of each request, by number."""
    return {
        int(number): recording.responses[outcome] if outcome >= 0 else recording.errors[~outcome]
        for number, outcome in zip(recording.numbers, recording.outcomes, strict=True)
    }


def test_equal_answers_are_kept_once():
    """A thousand equal answers are stored as one entry, to which all rows refer."""
    recording = record(*((number, b"same") for number in range(999)), (999, b"other"))

    assert recording.responses == (b"same", b"other")
    assert outcomes(recording)[998] == b"same"
    assert outcomes(recording)[999] == b"other"


def test_the_first_message_of_each_kind_of_failure_is_kept():
    """Each kind of failure keeps its first message only; rows refer to the kind."""
    recording = record(
        (0, ("UNAVAILABLE", "first")), (1, ("NOT_FOUND", "no")), (2, ("UNAVAILABLE", "later"))
    )

    assert recording.errors == (("UNAVAILABLE", "first"), ("NOT_FOUND", "no"))
    assert recording.outcomes.tolist() == [-1, -2, -1]


def test_failures_to_reach_the_server_in_a_row_end_with_any_answer():
    """An error answer from the server resets the count of connection failures."""
    recorder = Recorder()
    counts = []
    for kind in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "INVALID_ARGUMENT", "UNAVAILABLE", None):
        if kind is None:
            recorder.answer(0, 0, 0, 1, b"yes")
        else:
            recorder.error(0, 0, 0, 1, (kind, ""))
        counts.append(recorder.connection_failures_in_a_row)

    assert counts == [1, 2, 0, 1, 0]


def test_merged_recordings_lose_nothing():
    """Three recordings that share answers and errors merge; every request keeps its outcome."""
    parts = [
        record((0, b"a"), (3, ("UNAVAILABLE", "x")), (6, b"shared")),
        record((1, b"shared"), (4, b"b"), (7, ("NOT_FOUND", "y")), (10, ("UNAVAILABLE", "z"))),
        record((2, b"c")),
    ]
    expected = {}
    for part in parts:
        expected |= outcomes(part)

    merged = merge(parts)

    assert merged.finished == sum(part.finished for part in parts)
    found = outcomes(merged)
    kinds = {
        number: value if isinstance(value, bytes) else value[0] for number, value in found.items()
    }
    assert kinds == {
        number: value if isinstance(value, bytes) else value[0]
        for number, value in expected.items()
    }
    assert merged.errors == (("UNAVAILABLE", "x"), ("NOT_FOUND", "y"))
    assert len(set(merged.responses)) == len(merged.responses) == 4
    assert (np.diff(merged.end_ns) >= 0).all()
    latencies = np.sort(np.concatenate([part.end_ns - part.due_ns for part in parts]))
    assert np.sort(merged.end_ns - merged.due_ns).tolist() == latencies.tolist()
    assert merged.sent == 8
    assert merged.in_flight_max == 6
    assert merged.cpu_seconds == (0.5, 0.5, 0.5)
    assert (merged.warmup_sent, merged.warmup_failed) == (9, 3)


def test_requests_without_an_end_keep_their_numbers_and_times_when_merged():
    """Missed and unfinished requests of several processes are in order of their due times."""
    recorders = Recorder(), Recorder()
    for number, due_ns in ((4, 40), (0, 10), (3, 30), (1, 20)):
        recorder = recorders[number % 2]
        recorder.miss(number, due_ns)
        recorder.give_up(number + 10, due_ns + 100, due_ns + 103)

    merged = merge([recorder.recording() for recorder in recorders])

    assert merged.missed_numbers.tolist() == [0, 1, 3, 4]
    assert merged.missed_due_ns.tolist() == [10, 20, 30, 40]
    assert merged.unfinished_numbers.tolist() == [10, 11, 13, 14]
    assert merged.unfinished_due_ns.tolist() == [110, 120, 130, 140]
    assert merged.unfinished_sent_ns.tolist() == [113, 123, 133, 143]
    assert merged.finished == 0


def test_merging_nothing_but_empty_recordings_is_empty():
    """Merging the recordings of a run that was stopped before its first request gives no rows."""
    merged = merge([record(), record()])

    assert merged.finished == 0
    assert merged.responses == merged.errors == ()


def test_texts_of_the_server_stay_with_their_requests_when_merged():
    """If one process has timing texts and the other none, rows without a text get an empty one."""
    recorder = Recorder()
    recorder.answer(5, 0, 0, 50, b"late")
    recorder.timing("queue;dur=5")
    merged = merge([recorder.recording(), record((1, b"early"))])

    assert merged.numbers.tolist() == [1, 5]
    assert merged.timings == ("", "queue;dur=5")


def test_a_recording_survives_the_way_to_another_machine():
    """to_bytes and from_bytes keep numbers, times, answers and errors, also empty answers."""
    sent = record((0, b"a"), (1, b""), (2, ("UNAVAILABLE", "ä")), (3, b"\x00\xff"), start_ns=10**18)

    got = Recording.from_bytes(sent.to_bytes())

    assert outcomes(got) == outcomes(sent)
    for name in ("due_ns", "sent_ns", "end_ns"):
        assert getattr(got, name).tolist() == getattr(sent, name).tolist()
    assert got.sent == 4


def test_bytes_that_are_no_recording_are_refused():
    """from_bytes raises ValueError for other bytes and never unpickles."""
    with pytest.raises(ValueError, match="allow_pickle"):
        Recording.from_bytes(b"something else")


def test_late_answers_are_counted_once():
    """answered_late counts only answers over the limit that come after the first `since` rows."""
    recorder = Recorder()
    for latency_ns in (5, 15, 25):
        recorder.answer(0, 0, 0, latency_ns, b"")
    recorder.error(0, 0, 0, 99, ("UNAVAILABLE", ""))

    assert recorder.answered_late(10, since=0) == 2
    assert recorder.answered_late(10, since=2) == 1

import numpy as np

from loadtest.generator import increments
from loadtest.generator.increments import Increments
from loadtest.generator.recording import Recorder


def record(recorder: Recorder, numbers: range) -> None:
    for number in numbers:
        recorder.sent += 1
        if number % 5 == 4:
            recorder.error(number, number, number + 1, number + 2, (f"KIND_{number % 3}", "why"))
        else:
            recorder.answer(number, number, number + 1, number + 2, b"%d" % (number % 17))
        if number % 7 == 6:
            recorder.miss(number + 1000, number)


def test_increments_add_up_to_the_recording():
    """Rows, missed requests, answers and errors of all increments are those of the recording."""
    recorder = Recorder()
    taker = Increments(recorder, 3)
    taken = [taker.take(0.0)]
    for begin, end in ((0, 1), (1, 40), (40, 40), (40, 100)):
        record(recorder, range(begin, end))
        taken.append(taker.take(end / 100))

    whole = recorder.recording()
    rows = np.concatenate([increment.rows for increment in taken], axis=1)
    columns = (whole.numbers, whole.due_ns, whole.sent_ns, whole.end_ns, whole.outcomes)
    assert rows.tolist() == [column.tolist() for column in columns]
    missed = np.concatenate([increment.missed_due_ns for increment in taken])
    assert missed.tolist() == whole.missed_due_ns.tolist()
    assert sum((increment.responses for increment in taken), ()) == whole.responses
    assert sum((increment.errors for increment in taken), ()) == whole.errors
    assert [increment.sent for increment in taken] == [0, 1, 40, 40, 100]
    assert [increment.rows.shape[1] for increment in taken] == [0, 1, 39, 0, 60]
    assert {increment.process for increment in taken} == {3}
    assert taken[-1].cpu_seconds == 1.0


def test_too_many_new_answers_are_not_handed_on(monkeypatch):
    """Beyond a number and a size answers are None; later ones keep their places."""
    monkeypatch.setattr(increments, "MOST_RESPONSES", 3)
    monkeypatch.setattr(increments, "MOST_BYTES", 10)
    recorder = Recorder()
    taker = Increments(recorder, 0)
    for number, body in enumerate((b"1", b"22", b"333", b"4444", b"55555")):
        recorder.answer(number, 0, 0, 1, body)
    many = taker.take(0.0)
    for number, body in enumerate((b"a" * 8, b"b" * 3, b"1"), 5):
        recorder.answer(number, 0, 0, 1, body)
    large = taker.take(0.0)

    assert many.responses == (b"1", b"22", b"333", None, None)
    assert large.responses == (b"a" * 8, None)
    assert large.rows[4].tolist() == [5, 6, 0]


def test_an_increment_is_a_copy():
    """The recorder can grow while an increment is in use."""
    recorder = Recorder()
    recorder.answer(0, 0, 0, 1, b"")
    increment = Increments(recorder, 0).take(0.0)
    record(recorder, range(100))

    assert increment.rows.shape == (5, 1)

import io
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from sample_results.made_up_runs import MS, MadeUpRun, answer, made_up

from loadtest.figures.agreement import RecordedClasses
from loadtest.figures.published_answers import Record
from loadtest.live import screen
from loadtest.live.screen import Picture
from loadtest.live.tally import Tally

SECOND = 1_000 * MS


def picture_of(run: MadeUpRun, *, seconds: float = 20, steps: tuple[str, ...] = ()) -> Picture:
    """Return the picture of a made-up run at a moment."""
    tally = Tally(run.briefing, run.beginning, 0)
    for increment in run.increments():
        tally.add(increment, int(seconds * SECOND))
    return Picture(
        config=run.config,
        run=run.beginning,
        snapshot=tally.snapshot(int(seconds * SECOND)),
        verdict=tally.verdict(),
        steps=steps,
    )


def drawn(picture: Picture, columns: int = 80, lines: int = 24) -> list[str]:
    """Return the lines of a picture without colours and without spaces at their ends."""
    stream = io.StringIO()
    console = Console(file=stream, width=columns, height=lines, color_system=None)
    console.print(screen.render(picture, columns, lines))
    return [line.rstrip() for line in stream.getvalue().splitlines()]


def row(lines: list[str], label: str) -> str:
    """Return the text after a label."""
    (found,) = [line for line in lines if line.startswith(f"{label} ")]
    return found.removeprefix(label).strip()


def test_a_run_is_shown_with_all_its_figures():
    """Time, rates, percentiles, errors, accuracy and costs are on a screen of 80 by 24."""
    run = made_up(slo_ms=15)
    run.send(1_900)
    run.send(60, body=answer(4))
    run.send(20, error="UNAVAILABLE")
    run.send(5, error="HTTP_500")
    run.miss(15)
    lines = drawn(picture_of(run))

    assert len(lines) <= 24
    assert lines[0].startswith("simcnn on localhost:8500, tfs-grpc")
    assert lines[0].endswith("0:20 of 1:00")
    assert lines[1] == "open loop, Poisson arrivals at 100 requests/s, batch 1, 60 seconds"
    assert lines[2].endswith("0:40 left")
    assert lines[3].startswith("verdict so far: INVALID: failed, missed")
    assert row(lines, "requests") == "1,985 finished, 0 under way, 15 missed"
    assert row(lines, "errors") == "UNAVAILABLE 20, HTTP_500 5"
    assert row(lines, "accuracy") == "top-1 96.94 % of 1,960"
    assert row(lines, "client") == "p99 sent 0.000 ms late, 1 % of a core"
    assert row(lines, "offered/s").split()[1] == "100.0"
    assert row(lines, "answered/s").split()[1] == "98.8"
    assert row(lines, "p50 ms").split()[1] == "2.047"
    (failed,) = [line for line in lines if line.startswith("fails        failed:")]
    assert failed.endswith("25 of 2,000 requests failed, at most 0.1 %")
    assert any(line.startswith("open         duration: 19.") for line in lines)
    assert lines[-1].startswith("ok           complete, ")


def test_a_percentile_without_enough_answers_says_what_it_needs():
    """100 answers give p90, and p99 needs 662."""
    run = made_up()
    run.send(100)
    picture = picture_of(run, seconds=1)
    lines, narrow = drawn(picture), drawn(picture, columns=40)

    assert row(lines, "p90 ms").split()[1].startswith("2.0")
    assert row(lines, "p99 ms") == "n/a (needs 662)  n/a (needs 662)"
    assert row(narrow, "p99 ms").split("  ")[-1].strip() == "needs 662"


def test_wrong_answers_are_counted():
    """With a record, the number of answers that differ is shown."""
    known = {"file": None, "sha256": None, "bytes": None, "data_variant": None}
    record = Record(
        version=1, precision="fp32", top1=1, n=24, same_images=True, predictions=None, **known
    )
    run = made_up(record=record)
    run.send(10, body=answer(4))
    without = drawn(picture_of(run))
    run = made_up(record=replace(record, predictions=RecordedClasses(np.zeros(24, np.int64))))
    run.send(10, body=answer(4))
    compared = drawn(picture_of(run))

    assert not [line for line in without if line.startswith("answers ")]
    assert row(compared, "answers") == "10 differ from the record"
    assert compared[3] == "verdict so far: INVALID: wrong-answers, client-cpu"


@pytest.mark.parametrize(("columns", "size"), [(80, 24), (40, 24), (20, 8), (200, 60)])
def test_every_size_is_drawn_within_its_width(columns, size):
    """No line is wider than the terminal, and the most important lines come first."""
    run = made_up(slo_ms=15)
    run.send(1_000, late_ms=1)
    run.send(100, error="A_LONG_NAME_OF_AN_ERROR_THAT_NO_TERMINAL_HAS_ROOM_FOR")
    lines = drawn(picture_of(run, steps=("probe: 1 request", "  passed")), columns, size)

    assert max(map(len, lines)) <= columns
    assert lines[0].startswith("simcnn")
    assert lines[3].startswith("verdict so")
    assert any("answered/s" in line for line in lines[:8])


def test_a_closed_loop_ends_about_when_its_requests_are_sent():
    """After 200 of 1,000 requests in 4 s, the run takes about 20 s; it offers no rate."""
    run = made_up(rate_per_second=None, users=2, duration_seconds=None, requests=1_000)
    run.send(200)
    lines = drawn(picture_of(run, seconds=4))

    assert lines[0].endswith("0:04 of about 0:20")
    assert lines[2].endswith("about 0:16 left")
    assert not [line for line in lines if line.startswith("offered/s")]
    assert "missed" not in row(lines, "requests")


def test_what_has_not_begun_is_said():
    """Before the first run and during its warm-up the screen says what it waits for."""
    run = made_up()
    before = Picture(config=run.config, run=None, snapshot=None, verdict=None)
    floor = Picture(config=made_up(floor=True).config, run=None, snapshot=None, verdict=None)

    assert drawn(before)[-1] == "preparing the first run"
    assert drawn(floor)[-1] == "measuring the null server first"
    assert "warming up" in drawn(picture_of(run))


def test_a_step_of_a_search_is_named_and_the_last_steps_listed():
    """The head names the step; a small terminal lists the newest four lines."""
    run = made_up(slo_ms=15, step="bisect: 1,000 requests at 100.0/s")
    run.send(100)
    steps = tuple(f"line {number}" for number in range(9))
    picture = picture_of(run, steps=steps)
    lines, tall = drawn(picture), drawn(picture, lines=60)

    assert lines[1] == "bisect: 1,000 requests at 100.0/s, batch 1"
    assert [line for line in lines if line.startswith("line ")] == list(steps[-4:])
    assert [line for line in tall if line.startswith("line ")] == list(steps)


def test_a_line_of_a_log_has_percentiles_and_accuracy():
    """The text names missing percentiles and, if there are some, wrong answers."""
    run = made_up()
    nothing = screen.line(picture_of(run).snapshot)
    run.send(90)
    run.send(10, body=answer(4))
    text = screen.line(picture_of(run).snapshot)

    assert nothing == ""
    assert text.startswith("p50 2.0")
    assert text.endswith(" ms, p99 n/a (needs 662), top-1 90.00 % of 100")

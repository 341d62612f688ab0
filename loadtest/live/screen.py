"""The full screen of a run in progress: a title, the verdict, figures, steps and rules.

The order is that of importance, because a small terminal shows only the upper part.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from loadtest.figures import correlation
from loadtest.figures.percentiles import samples_needed
from loadtest.live.tally import RECENT_SECONDS, Snapshot, VerdictSoFar
from loadtest.session.watcher import Beginning
from loadtest.settings.config import LoadTestConfig

# Smaller terminals get no empty lines, and shorter texts.
_COMFORTABLE_LINES = 26
_COMFORTABLE_COLUMNS = 56
_LABEL_COLUMNS = 11
_STEPS = 4
_STYLES = {"INVALID": "bold red", "VALID": "bold green", "open": "bold yellow"}


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Everything that a screen shows.

    Attributes:
        config: Settings of the run.
        run: The run; None before the first.
        snapshot: Its figures; None before the first.
        verdict: Its verdict so far; None before the first.
        steps: Lines about the steps of a search, the newest last.
    """

    config: LoadTestConfig
    run: Beginning | None
    snapshot: Snapshot | None
    verdict: VerdictSoFar | None
    steps: Sequence[str] = ()


def render(picture: Picture, columns: int, lines: int) -> RenderableType:
    """Return the screen.

    Args:
        picture: What to show.
        columns: Width of the terminal.
        lines: Its height.
    """
    narrow = columns < _COMFORTABLE_COLUMNS
    gap = [Text()] if lines >= _COMFORTABLE_LINES else []
    parts: list[RenderableType] = [*_head(picture, columns)]
    snapshot = picture.snapshot
    if snapshot is None or snapshot.seconds is None:
        parts += [*gap, Text(_waiting(picture))]
    else:
        parts += [_verdict_line(picture.verdict), *gap]
        parts += [_table(picture, snapshot, narrow=narrow), *gap]
        parts += [*_counts(picture, snapshot, narrow=narrow)]
    if picture.steps:
        room = max(_STEPS, lines - 24 + _STEPS)
        parts += [*gap, *(_cut(Text(step, "dim")) for step in picture.steps[-room:])]
    if picture.verdict is not None:
        parts += [*gap, _rules(picture.verdict)]
    return Group(*parts)


def line(snapshot: Snapshot) -> str:
    """Return the percentiles and the accuracy as text for a line of a log."""
    latency = snapshot.latency_ms
    if not latency.n:
        return ""
    texts = [
        f"{name} {_milliseconds(getattr(latency, name), percent)}"
        + ("" if getattr(latency, name) is None else " ms")
        for name, percent in (("p50", 50), ("p90", 90), ("p99", 99))
    ]
    texts.append(_top1(snapshot))
    if snapshot.differing:
        texts.append(f"{snapshot.differing:,} wrong answers")
    return ", ".join(texts)


def _head(picture: Picture, columns: int) -> Iterable[RenderableType]:
    config, run = picture.config, picture.run
    title = Table.grid(expand=True, padding=(0, 1))
    title.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    title.add_column(no_wrap=True, justify="right")
    elapsed, share, left = _time(picture)
    title.add_row(
        Text.assemble((config.model, "bold"), f" on {config.target}, {config.transport}"),
        Text(elapsed, "bold"),
    )
    yield title
    if run is None:
        return
    load = run.load
    what = f"{load.description}, batch {load.batch}, {load.ends}"
    yield _cut(Text(what if run.step is None else f"{run.step}, batch {load.batch}", "dim"))
    bar = Table.grid(expand=True, padding=(0, 1))
    bar.add_column(ratio=1)
    bar.add_column(no_wrap=True, justify="right")
    bar.add_row(
        ProgressBar(total=1.0, completed=share, width=max(8, columns - len(left) - 2)), left
    )
    yield bar


def _time(picture: Picture) -> tuple[str, float, str]:
    """Return the elapsed time as text, the share of the run that is done, and the time left."""
    run, snapshot = picture.run, picture.snapshot
    if run is None or snapshot is None or snapshot.seconds is None:
        return "", 0.0, ""
    plan, seconds = run.load.plan, snapshot.seconds
    whole = plan.duration_seconds
    about = ""
    if whole is None and plan.requests is not None:
        if plan.rate_per_second is not None:
            whole = plan.requests / plan.rate_per_second
        elif done := snapshot.requests.answered + snapshot.requests.failed:
            whole, about = seconds * plan.requests / done, "about "
    if whole is None:
        return _clock(seconds), 0.0, ""
    left = max(0.0, whole - seconds)
    share = min(1.0, seconds / whole)
    shown = f"{about}{_clock(left)} left" if left else "waiting for the last answers"
    return f"{_clock(seconds)} of {about}{_clock(whole)}", share, shown


def _waiting(picture: Picture) -> str:
    if picture.run is not None:
        return "warming up"
    if picture.config.floor:
        return "measuring the null server first"
    return "preparing the first run"


def _verdict_line(verdict: VerdictSoFar | None) -> Text:
    if verdict is None:
        return Text("so far: nothing to judge yet", "dim")
    word, checks = "VALID", verdict.failing or verdict.undecided
    if checks:
        word = "INVALID" if verdict.failing else "open"
    names = [check.name for check in checks]
    more = f": {', '.join(names)}" if names else ""
    return _cut(Text.assemble("verdict so far: ", (word, _STYLES[word]), more))


def _table(picture: Picture, snapshot: Snapshot, *, narrow: bool) -> Table:
    recent, latency, rates = snapshot.recent, snapshot.latency_ms, snapshot.throughput
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, min_width=_LABEL_COLUMNS, style="cyan")
    for _ in range(2):
        width = 11 if narrow else 15  # of "n/a (needs 662)": columns keep their places
        table.add_column(no_wrap=True, justify="right", min_width=width, overflow="ellipsis")
    table.add_row(
        "", Text(f"last {_recent_seconds(recent.seconds)} s", "dim"), Text("so far", "dim")
    )
    plan = picture.run.load.plan if picture.run is not None else None
    if plan is not None and plan.rate_per_second is not None:
        table.add_row(
            "offered/s",
            f"{recent.offered_per_second:,.1f}",
            _number(rates.offered_requests_per_second),
        )
    table.add_row(
        "answered/s", f"{recent.answered_per_second:,.1f}", _number(rates.requests_per_second)
    )
    if picture.run is not None and picture.run.load.batch > 1:
        table.add_row("images/s", "", _number(rates.images_per_second))
    for name, percent in (("p50", 50), ("p90", 90), ("p99", 99)):
        table.add_row(
            f"{name} ms",
            _milliseconds(getattr(recent, name), percent, narrow=narrow),
            _milliseconds(getattr(latency, name), percent, narrow=narrow),
        )
    return table


def _counts(picture: Picture, snapshot: Snapshot, *, narrow: bool) -> Iterable[RenderableType]:
    requests, verdict = snapshot.requests, picture.verdict
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, min_width=_LABEL_COLUMNS, style="cyan")
    grid.add_column(no_wrap=not narrow, overflow="ellipsis" if not narrow else "fold")
    finished = requests.answered + requests.failed
    missed = Text(f", {requests.missed:,} missed", "red" if requests.missed else "")
    grid.add_row(
        "requests",
        Text.assemble(
            f"{finished:,} finished, {requests.unfinished:,} under way",
            missed if picture.run is not None and picture.run.load.loop == "open" else "",
        ),
    )
    kinds = ", ".join(f"{kind} {error.count:,}" for kind, error in snapshot.errors.items())
    grid.add_row("errors", Text(kinds, "red") if kinds else "none")
    grid.add_row("accuracy", _top1(snapshot))
    if snapshot.compared:
        style = "red" if snapshot.differing else ""
        text = f"{snapshot.differing:,} differ from the record"
        grid.add_row("answers", Text(text, style))
    if verdict is not None:
        client = verdict.client
        lag = client.lag_ms.p99 if client.lag_ms is not None else None
        late = "" if client.lag_ms is None else f"p99 sent {_milliseconds(lag, 99)} ms late, "
        if client.lag_ms is not None and lag is None:
            late = f"lag p99 n/a (needs {samples_needed(99):,}), "
        grid.add_row("client", f"{late}{100 * client.cpu_share:.0f} % of a core")
    yield grid


def _rules(verdict: VerdictSoFar) -> RenderableType:
    """Return the rules: broken ones first, then open ones, then the names of the others."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, min_width=_LABEL_COLUMNS)
    grid.add_column(overflow="fold")
    for word, checks in (
        (Text("fails", "bold red"), verdict.failing),
        (Text("open", "yellow"), verdict.undecided),
    ):
        for check in checks:
            detail = check.detail.replace(f" ({correlation.ASSUMPTION})", "")
            grid.add_row(word, f"{check.name}: {detail}")
    passed = [check.name for check in verdict.checks if check.passed]
    if passed:
        grid.add_row(Text("ok", "green"), ", ".join(passed))
    return grid


def _top1(snapshot: Snapshot) -> str:
    accuracy = snapshot.accuracy
    if accuracy.top1 is None:
        return "top-1 n/a (nothing answered)"
    sample = f" of {accuracy.n:,}"
    if snapshot.unscored:
        sample += " (a sample)"
    return f"top-1 {100 * accuracy.top1:.2f} %{sample}"


def _milliseconds(value: float | None, percent: float, *, narrow: bool = False) -> str:
    if value is not None:
        return f"{value:,.3f}"
    needed = f"needs {samples_needed(percent):,}"
    return needed if narrow else f"n/a ({needed})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"


def _recent_seconds(seconds: float) -> int:
    return max(1, round(min(seconds, RECENT_SECONDS)))


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"


def _cut(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text

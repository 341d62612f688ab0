"""Results grouped by configuration: the same load on the same system under test."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest

from hdrh.histogram import HdrHistogram

from loadtest.report_schema import Report, Result
from loadtest.report_traffic_schema import ReplayedTraffic
from loadtest.reports.measures import MEASURES, Spread
from training.evaluation.accuracy import wilson_interval

UNKNOWN = "unknown"
CAPACITY = "capacity"
_SCENARIO_NAMES = {
    "single-stream": "SingleStream",
    "multi-stream": "MultiStream",
    "server": "Server",
    "offline": "Offline",
    "users": "users",
    CAPACITY: "find-capacity",
}
# The properties of a load that its name leaves out, unless they distinguish it from another one.
_DETAILS = {"loop": "{} loop", "in_flight_cap": "{:,} in flight", "connections": "{:,} connections"}


@dataclass(frozen=True)
class Subject:
    """The system under test; "unknown" where the server reports no value."""

    model: str
    version: str
    precision: str
    provider: str
    transport: str
    target: str


@dataclass(frozen=True)
class LoadKey:
    """The load: what is sent and when; see report_schema.Scenario.

    The kind is the kind of the scenario, or CAPACITY for find-capacity. Its rate is a result and
    therefore None here, and its `bound` is the bound of the search, such as "p99 within 15 ms".
    The rate of a shape or a replay is None, too: it changes. `replay` has digest and speed, so that
    the same name does not stand for two recordings.
    `detail` distinguishes its name from that of another load in the same report.
    """

    kind: str
    loop: str
    batch: int
    rate: float | None
    bound: str | None
    users: int | None
    in_flight_cap: int
    connections: int
    shape: str | None = None
    replay: str | None = None
    stream: str | None = None
    mix: str | None = None
    detail: str = field(default="", compare=False)

    def __str__(self) -> str:
        """Return the load in words: "Server, 500 requests/s", "users 32, batch 8"."""
        text = _SCENARIO_NAMES.get(self.kind, self.kind)
        if self.users is not None:
            text = f"{text} {self.users:,}"
        if self.bound is not None:
            text = f"{text}, {self.bound}"
        if self.rate is not None:
            text = f"{text}, {self.rate:,.6g} requests/s"
        parts = (self.shape, self.replay, self.stream and f"stream {self.stream}")
        text = ", ".join([text, *filter(None, parts)])
        if self.detail:
            text = f"{text}, {self.detail}"
        return text if self.batch == 1 else f"{text}, batch {self.batch}"


@dataclass
class Configuration:
    """Results of the same load on the same subject, in the order in which they were measured."""

    subject: Subject
    load: LoadKey
    results: list[Result] = field(default_factory=list)

    @property
    def reports(self) -> list[Report]:
        """Reports of the results."""
        return [result.report for result in self.results]

    @property
    def valid(self) -> bool:
        """Whether every repeat is VALID."""
        return all(report.validity.valid for report in self.reports)

    @property
    def failed_checks(self) -> list[str]:
        """Names of the rules of validity that repeats broke: "client-lag"."""
        return failed_checks(self.reports)

    @property
    def invalid_repeats(self) -> list[str]:
        """The repeats that are not VALID with their reasons: "repeat 2 of 3: ..."."""
        count = len(self.results)
        texts = []
        for number, report in enumerate(self.reports, 1):
            if not report.validity.valid:
                which = which_repeats([number], count)
                texts.append(f"{which}: {'; '.join(report.validity.reasons)}".removeprefix(": "))
        return texts

    @property
    def requests(self) -> int:
        """Answered requests of all repeats."""
        return sum(report.requests.answered for report in self.reports)

    def spread(self, measure: str) -> Spread | None:
        """Return the spread of one of MEASURES over the repeats; None if no repeat has it."""
        return Spread.of(MEASURES[measure].value(result) for result in self.results)

    def histogram(self) -> HdrHistogram | None:
        """Return the latencies of all repeats in one histogram, in microseconds."""
        return merged_histogram(self.reports)


@dataclass(frozen=True)
class AccuracyOverRuns:
    """Top-1 over several results.

    Attributes:
        top1: Share of right answers.
        low: Lower bound of the 95 % Wilson interval. The number of trials is the number of
            distinct images, because a repeated image adds no information.
        high: Upper bound of the interval.
        distinct_images: Distinct images of each result.
        images: Images answered, repeats included.
    """

    top1: float
    low: float
    high: float
    distinct_images: int
    images: int


def configurations(results: Iterable[Result]) -> list[Configuration]:
    """Group results; configurations are in the order of their first results.

    Different loads on the same subject have different names.
    """
    groups: dict[tuple[Subject, LoadKey], Configuration] = {}
    for result in results:
        key = subject_of(result), load_of(result.report)
        groups.setdefault(key, Configuration(*key)).results.append(result)
    _name_apart(groups.values())
    return list(groups.values())


def subject_of(result: Result) -> Subject:
    """Return the system under test of a result."""
    report = result.report
    model = report.model
    return Subject(
        model=model.name,
        version=_version_text(report),
        precision=model.precision or UNKNOWN,
        provider=model.provider or UNKNOWN,
        transport=transport_text(report),
        target=result.target,
    )


def transport_text(report: Report) -> str:
    """Return the transport of a run in words: "tfs-rest with gzip over TLS"."""
    compression = f" with {report.compression}" if report.compression else ""
    tls = " over TLS" if report.tls else ""
    return f"{report.transport}{compression}{tls}"


def _version_text(report: Report) -> str:
    """Return the versions that answered, with the label that was asked for: "2 (canary)"."""
    model = report.model
    versions = "+".join(model.answers_by_version) or UNKNOWN
    return versions if model.version_label is None else f"{versions} ({model.version_label})"


def load_of(report: Report) -> LoadKey:
    """Return the load of a run."""
    scenario, capacity = report.scenario, report.capacity
    steady = not (capacity or scenario.shape or scenario.replay)
    return LoadKey(
        kind=CAPACITY if capacity else scenario.kind,
        loop=scenario.loop,
        batch=scenario.batch,
        rate=scenario.offered_rate_per_second if steady else None,
        bound=bound_text(capacity.percentile, capacity.slo_ms) if capacity else None,
        users=scenario.users,
        in_flight_cap=scenario.in_flight_cap,
        connections=scenario.connections,
        shape=scenario.shape,
        replay=_replay_text(scenario.replay) if scenario.replay else None,
        stream=scenario.stream,
        mix=scenario.mix,
    )


def _replay_text(replay: ReplayedTraffic) -> str:
    return f"replay of {replay.file} ({replay.sha256[:8]}) at {replay.speed:g} times its speed"


def bound_text(percentile: float, limit_ms: float) -> str:
    """Return a latency bound in words."""
    return f"p{percentile:g} within {limit_ms:g} ms"


def subject_labels(subjects: Sequence[Subject]) -> dict[Subject, str]:
    """Return short unique names: model, precision, and each property that varies, if known."""
    different = list(dict.fromkeys(subjects))
    parts = [
        name
        for name in ("version", "precision", "provider", "transport", "target")
        if len({getattr(subject, name) for subject in different}) > 1
        or (name == "precision" and different[0].precision != UNKNOWN)
    ]
    return {subject: _label(subject, parts) for subject in different}


def _label(subject: Subject, parts: Sequence[str]) -> str:
    values = {name: getattr(subject, name) for name in parts}
    known = [_part(name, value) for name, value in values.items() if value != UNKNOWN]
    return " ".join([subject.model, *known])


def failed_checks(reports: Iterable[Report]) -> list[str]:
    """Return the names of the rules of validity that any of the runs broke, each once."""
    return list(
        dict.fromkeys(
            check.name for report in reports for check in report.validity.checks if not check.passed
        )
    )


def which_repeats(numbers: Sequence[int], count: int) -> str:
    """Return repeats in words: "repeat 2 of 3", "repeats 1 and 3 of 4", "all 3 repeats".

    Args:
        numbers: Numbers of the repeats from 1, ascending.
        count: Repeats of the configuration; the text is empty if there is one.
    """
    if count == 1:
        return ""
    if len(numbers) == count:
        return f"all {count:,} repeats"
    *some, last = map(str, numbers)
    if not some:
        return f"repeat {last} of {count:,}"
    return f"repeats {', '.join(some)} and {last} of {count:,}"


def fullest(reports: Sequence[Report]) -> list[Report]:
    """Return the reports that decide the accuracy, so that no image counts more than another.

    These are the reports with the most distinct images. If some of them sent each image exactly
    once, only those are returned.
    """
    most = max((report.accuracy.distinct_images for report in reports), default=0)
    chosen = [report for report in reports if report.accuracy.distinct_images == most]
    return [report for report in chosen if report.accuracy.n == most] or chosen


def accuracy(reports: Sequence[Report]) -> AccuracyOverRuns | None:
    """Return top-1 over the fullest reports of one subject; None without answers or labels."""
    chosen = fullest([report for report in reports if report.accuracy.top1 is not None])
    images = sum(report.accuracy.n for report in chosen)
    if not images:
        return None
    top1 = sum(report.accuracy.correct for report in chosen) / images
    distinct = chosen[0].accuracy.distinct_images
    low, high = wilson_interval(round(top1 * distinct), distinct)
    return AccuracyOverRuns(top1, low, high, distinct, images)


def unit(reports: Iterable[Report]) -> str:
    """Return what the reports count: "images", "rows" or "images or rows"."""
    return " or ".join(sorted({report.manifest.data.unit for report in reports})) or "images"


def class_names(reports: Iterable[Report]) -> list[str]:
    """Return the names of the classes of all reports, in the order in which they come."""
    return list(dict.fromkeys(name for report in reports for name in report.accuracy.per_class))


def confusion(reports: Sequence[Report]) -> list[list[int]]:
    """Return the sum of the confusion matrices of the fullest reports."""
    matrices = [report.accuracy.confusion for report in fullest(reports)]
    return [
        [sum(cells) for cells in zip_longest(*rows, fillvalue=0)]
        for rows in zip_longest(*matrices, fillvalue=[])
    ]


def merged_histogram(reports: Iterable[Report]) -> HdrHistogram | None:
    """Return the latencies of all reports in one histogram, in microseconds; None without any."""
    merged = None
    for report in reports:
        encoded = report.latency_ms.histogram
        if encoded is None:
            continue
        histogram = HdrHistogram.decode(encoded)
        if merged is None:
            merged = histogram
        else:
            merged.add(histogram)
    return merged


def _name_apart(measured: Iterable[Configuration]) -> None:
    """Add to the names of loads with the same name in what they differ."""
    same: dict[tuple[Subject, str], list[Configuration]] = {}
    for one in measured:
        same.setdefault((one.subject, str(one.load)), []).append(one)
    for group in same.values():
        different = [
            name for name in _DETAILS if len({getattr(one.load, name) for one in group}) > 1
        ]
        for one in group:
            parts = (_DETAILS[name].format(getattr(one.load, name)) for name in different)
            one.load = replace(one.load, detail=", ".join(parts))


def _part(name: str, value: str) -> str:
    if name == "version":
        return f"v{value}"
    return value.removesuffix("ExecutionProvider") if name == "provider" else value

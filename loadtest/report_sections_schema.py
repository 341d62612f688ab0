"""The measured sections of a report, typed: counts, times, accuracy, the client, the verdict.

Units are in the names; times are from the first due request of the run unless a name says UTC. A
value that cannot be known is None, never 0: a percentile of too few requests, for example. Lists
and tuples are JSON arrays. `report_schema` puts the sections together.
"""

from typing import TypedDict


class Requests(TypedDict):
    """Counts of timed requests: scheduled = sent + missed, sent = answered + failed + unfinished.

    Attributes:
        scheduled: Due within the run. In a closed loop: sent.
        sent: Handed to the transport.
        missed: Due, but held back by the in-flight cap and never sent. Open loop only.
        answered: Answered with something that could be scored, wrong answers included.
        failed: Ended as an error.
        unfinished: Neither, because the run was interrupted.
        wrong: Answered requests with at least one image in `mismatches`.
        warmup: Untimed requests before.
        warmup_failed: Those of them that failed.
    """

    scheduled: int
    sent: int
    missed: int
    answered: int
    failed: int
    unfinished: int
    wrong: int
    warmup: int
    warmup_failed: int


class ErrorKind(TypedDict):
    """One kind of error: how often, and the first one's words."""

    count: int
    first_message: str


class Latency(TypedDict):
    """Latency of the answered requests, in milliseconds; see `percentiles` for the definition.

    Open loop: from the moment a request was due to its answer. Closed loop: from its sending.

    Attributes:
        n: Answered requests.
        min: Fastest.
        mean: Arithmetic mean.
        max: Slowest.
        p50: Percentiles of the raw values; None below `requests_needed`.
        p90: Likewise, as are the next ones.
        requests_needed: The fewest answers from which each percentile is given, by its name.
        definition: Of a percentile, in words.
        histogram: All values in microseconds as HdrHistogram, V2 compressed, base64: 1 us to
            1 hour at 3 significant digits. Values below 1 us are recorded as 1. None without
            answers.
    """

    n: int
    min: float | None
    mean: float | None
    max: float | None
    p50: float | None
    p90: float | None
    p95: float | None
    p97: float | None
    p99: float | None
    p99_9: float | None
    requests_needed: dict[str, int]
    definition: str
    histogram: str | None


class Throughput(TypedDict):
    """Rates over the timed window.

    Attributes:
        window_seconds: From the first due request to the last one's end.
        offered_requests_per_second: Scheduled requests over the time they were scheduled in; None
            in a closed loop.
        requests_per_second: Answered requests over the window; None for an empty one.
        images_per_second: Answered images over the window; None for an empty one.
    """

    window_seconds: float
    offered_requests_per_second: float | None
    requests_per_second: float | None
    images_per_second: float | None


class Slo(TypedDict):
    """Whether the latency bound holds for its percentile, by MLPerf's early stopping.

    Attributes:
        limit_ms: The bound.
        percentile: Of which latency.
        n: Scheduled requests.
        over: Those answered later than the bound, failed, wrong or missed.
        over_allowed: The most of n that still leave 99 % confidence that the percentile is within
            the bound; None: n is too small for any verdict.
        met: over <= over_allowed.
    """

    limit_ms: float
    percentile: float
    n: int
    over: int
    over_allowed: int | None
    met: bool


class Goodput(TypedDict):
    """Answers worth having: OK, within the bound and not wrong.

    Attributes:
        slo_ms: The bound.
        per_second: Good answers over the window; None for an empty one.
        share: Good answers of all scheduled requests; None if there were none.
        correct_per_second: Good answers all of whose images were classified as labelled, likewise.
        correct_share: Likewise.
    """

    slo_ms: float
    per_second: float | None
    share: float | None
    correct_per_second: float | None
    correct_share: float | None


class Recorded(TypedDict):
    """The accuracy recorded with the model's files when they were published.

    Attributes:
        version: Model version.
        precision: Of the recorded figures ("fp32").
        artefact_sha256: Of the model file that was recorded; None if the record does not say.
        top1: As recorded, over all test images.
        n: Number of those.
        same_images: Whether the record is of the same images (by SHA-256).
        difference_points: Measured minus recorded top-1, in percentage points; with the recorded
            predictions at hand both sides are taken over the very images that were answered.
    """

    version: int
    precision: str
    artefact_sha256: str | None
    top1: float
    n: int
    same_images: bool
    difference_points: float


class Accuracy(TypedDict):
    """Top-1 of the timed answers, wrong answers included: what a caller got.

    Attributes:
        n: Images answered, repeats included.
        correct: Those answered with their label.
        top1: correct / n; None before the first answer.
        wilson_95: 95 % interval of top1 for as many trials as there are distinct images: a
            repeated image says nothing new. None before the first answer.
        distinct_images: Different images among n.
        per_class: Share of each class' images answered correctly; None without images.
        confusion: Counts; row = label, column = answer, in the order of training's CLASS_NAMES;
            the last column counts answers that are no such class.
        recorded: The record beside it; None without --models-dir or where it is missing.
        recorded_missing: Why there is none although --models-dir was given.
    """

    n: int
    correct: int
    top1: float | None
    wilson_95: tuple[float, float] | None
    distinct_images: int
    per_class: dict[str, float | None]
    confusion: list[list[int]]
    recorded: Recorded | None
    recorded_missing: str | None


class Mismatch(TypedDict):
    """One image whose answer differs from the recorded prediction of the same artefact.

    Attributes:
        request: Number of the request in the run, from 0.
        image: Number of the test image, from 0.
        row: Place of the image in its request, from 0.
        answered: Class that came back.
        recorded: Class predicted offline.
        label: The image's label.
        sent_seconds: When the request was sent.
        same_answer_as: Numbers of the requests under way at the same time (16 at most) that were
            rightly answered with the very same bytes: where a mixed-up answer may have come from.
    """

    request: int
    image: int
    row: int
    answered: int
    recorded: int
    label: int
    sent_seconds: float
    same_answer_as: list[int]


class Mismatches(TypedDict):
    """Answers compared one by one with the recorded predictions; each difference is an error.

    Attributes:
        compared: Images compared, repeats included.
        differing: Images that differ.
        requests: Requests that hold at least one of them.
        examples: The first ones.
    """

    compared: int
    differing: int
    requests: int
    examples: list[Mismatch]


class Quantiles(TypedDict):
    """Median and 99th percentile in milliseconds; None where there are too few values."""

    p50: float | None
    p99: float | None


class ServerTimes(TypedDict):
    """Where the server says the time went, from its server-timing metadata (--server-timing).

    Attributes:
        n: Answers that carried it.
        queue_ms: Waiting for a worker.
        compute_ms: Running in a batch.
        serialise_ms: The rest between the arrival of the headers and the finished answer.
        total_ms: All of it.
    """

    n: int
    queue_ms: Quantiles
    compute_ms: Quantiles
    serialise_ms: Quantiles
    total_ms: Quantiles


class Lag(TypedDict):
    """How late requests left, in milliseconds: sent minus due. Zero in a closed loop."""

    p50: float | None
    p99: float | None
    max: float | None


class Client(TypedDict):
    """The load generator itself over the timed requests.

    Attributes:
        processes: Generator processes.
        lag_ms: Of the requests that were sent; None in a closed loop.
        cpu_seconds: Processor time of all processes and threads.
        cpu_share: Processor time over the window of the busiest process, 1.0 = one core.
        cpu_us_per_request: Processor time of all processes over the finished requests.
        in_flight_max: Most requests under way at once, summed over the processes.
    """

    processes: int
    lag_ms: Lag | None
    cpu_seconds: float
    cpu_share: float
    cpu_us_per_request: float | None
    in_flight_max: int


class Window(TypedDict):
    """One second of the run; requests belong to the second in which they were due.

    Attributes:
        t_seconds: Its beginning.
        scheduled: Requests due in it.
        answered: Those answered.
        errors: Those failed, missed or wrong.
        p50_ms: Latency of the answered ones; None where there are too few, as for p99.
        p99_ms: Likewise.
        max_ms: None without answers.
    """

    t_seconds: float
    scheduled: int
    answered: int
    errors: int
    p50_ms: float | None
    p99_ms: float | None
    max_ms: float | None


class Floor(TypedDict):
    """The same load on a server that answers at once: what client and network cost alone.

    Attributes:
        n: Answered requests.
        failed: Requests without an answer.
        p50_ms: Latency, as are the next two.
        p99_ms: None where there are too few.
        max_ms: Slowest.
        requests_per_second: Answered over its window.
        client_cpu_us_per_request: Processor time of the load generator.
        client_cpu_share: See Client.cpu_share.
    """

    n: int
    failed: int
    p50_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    requests_per_second: float | None
    client_cpu_us_per_request: float | None
    client_cpu_share: float


class Check(TypedDict):
    """One rule of validity or one gate.

    Attributes:
        name: Short and stable ("requests", "client-lag", "slo", "baseline-p99").
        passed: Whether it holds.
        detail: What was measured and what was expected, in words.
    """

    name: str
    passed: bool
    detail: str


class Validity(TypedDict):
    """Whether the figures may be quoted, by MLPerf's rules and the load generator's own limits.

    Attributes:
        valid: Every check passed.
        reasons: The details of those that did not.
        checks: All of them.
    """

    valid: bool
    reasons: list[str]
    checks: list[Check]

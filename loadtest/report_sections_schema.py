"""The measured sections of a report: counts, times, accuracy, the client, the verdict.

Each field is defined once, with its type and its meaning; `report.schema.json` is generated from
them. msgspec encodes the structs to JSON and checks the types when it decodes them.
Units are in the names. Times count from the first due request of the run unless the name says UTC.
A value that cannot be known is None, never 0. `report_schema` puts the sections together.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

DurationClass = Literal["short", "quick", "full"]


def means(text: str) -> Meta:
    """The meaning of a field, for `Annotated`; it is also the `description` in the JSON schema."""
    return Meta(description=text)


class Requests(Struct, frozen=True, kw_only=True):
    """Counts of timed requests.

    scheduled = sent + missed, and sent = answered + failed + unfinished.
    """

    scheduled: Annotated[int, means("Requests due within the run. In a closed loop: those sent.")]
    sent: Annotated[int, means("Requests handed to the transport.")]
    missed: Annotated[
        int,
        means("Due requests that the in-flight cap held back and that were never sent; open loop."),
    ]
    answered: Annotated[
        int, means("Requests whose answer could be scored, wrong answers included.")
    ]
    failed: Annotated[int, means("Requests that ended in an error.")]
    unfinished: Annotated[
        int, means("Requests neither answered nor failed when the run was interrupted.")
    ]
    wrong: Annotated[int, means("Answered requests with an image counted in `mismatches`.")]
    warmup: Annotated[int, means("Untimed requests sent before the run.")]
    warmup_failed: Annotated[int, means("Untimed requests that failed.")]


class ErrorKind(Struct, frozen=True, kw_only=True):
    """One kind of error."""

    count: Annotated[int, means("How often it occurred.")]
    first_message: Annotated[str, means("Message of its first occurrence.")]


class Latency(Struct, frozen=True, kw_only=True):
    """Latency of the answered requests, in milliseconds.

    In an open loop it counts from the moment a request was due, in a closed loop from its sending.
    A percentile is a raw value, and null below the number of answers that `requests_needed` names.
    """

    n: Annotated[int, means("Answered requests.")]
    min: Annotated[float | None, means("Lowest latency.")]
    mean: Annotated[float | None, means("Arithmetic mean.")]
    max: Annotated[float | None, means("Highest latency.")]
    p50: Annotated[float | None, means("Median.")]
    p90: Annotated[float | None, means("90th percentile.")]
    p95: Annotated[float | None, means("95th percentile.")]
    p97: Annotated[float | None, means("97th percentile.")]
    p99: Annotated[float | None, means("99th percentile.")]
    p99_9: Annotated[float | None, means("99.9th percentile.")]
    requests_needed: Annotated[
        dict[str, int], means("The fewest answers for which each percentile is given, by its name.")
    ]
    definition: Annotated[str, means("The definition of a percentile, in words.")]
    histogram: Annotated[
        str | None,
        means(
            "Latencies in microseconds as an HdrHistogram (V2, compressed, base64): 1 us to 1 hour "
            "at 3 significant digits; lower values are recorded as 1. Null without answers."
        ),
    ]

    def percentile(self, percent: float) -> float | None:
        """A percentile in milliseconds by its number, such as 99.9; None if it is not given."""
        value: float | None = getattr(self, f"p{percent:g}".replace(".", "_"), None)
        return value


class Throughput(Struct, frozen=True, kw_only=True):
    """Rates over the timed window."""

    window_seconds: Annotated[
        float, means("Time from the first due request to the end of the last one.")
    ]
    offered_requests_per_second: Annotated[
        float | None,
        means("Scheduled requests over the time they were scheduled in; null in a closed loop."),
    ]
    requests_per_second: Annotated[
        float | None, means("Answered requests over the window; null if the window is empty.")
    ]
    images_per_second: Annotated[
        float | None, means("Answered images over the window; null if the window is empty.")
    ]


class Slo(Struct, frozen=True, kw_only=True):
    """Whether the latency bound holds for its percentile; see `loadtest.figures.correlation`."""

    limit_ms: Annotated[float, means("The latency bound.")]
    percentile: Annotated[float, means("The percentile of latency that the bound applies to.")]
    n: Annotated[int, means("Scheduled requests.")]
    over: Annotated[
        int, means("Requests answered later than the bound, failed, answered wrongly or missed.")
    ]
    over_allowed: Annotated[
        int | None,
        means("The highest `over` that proves the bound with 99 % confidence; null: n too small."),
    ]
    met: Annotated[bool, means("Whether over <= over_allowed.")]
    inflation: Annotated[
        float | None,
        means(
            "How many of the correlated requests count as one independent one (design effect by "
            "batch means, at least 1). Null in reports of older versions, which used 1."
        ),
    ] = None
    duration: Annotated[
        DurationClass | None,
        means(
            '"full" from MLPerf\'s 600 s on, "quick" from 60 s on, else "short", which proves no '
            "bound. Null in reports of older versions."
        ),
    ] = None


class Goodput(Struct, frozen=True, kw_only=True):
    """Rates of good answers: OK, within the latency bound and not wrong."""

    slo_ms: Annotated[float, means("The latency bound.")]
    per_second: Annotated[
        float | None, means("Good answers over the window; null if the window is empty.")
    ]
    share: Annotated[
        float | None, means("Good answers over scheduled requests; null if there were none.")
    ]
    correct_per_second: Annotated[
        float | None,
        means(
            "Good answers that classify all their images as labelled, over the window; null if the "
            "window is empty, or without labels."
        ),
    ]
    correct_share: Annotated[
        float | None, means("The same over scheduled requests; null if there were none.")
    ]


class Outage(Struct, frozen=True, kw_only=True):
    """A time in which requests were due and none succeeded."""

    start_seconds: Annotated[
        float, means("When the first request was due after the last good answer.")
    ]
    end_seconds: Annotated[
        float | None, means("The next good answer; null if there was none until the run's end.")
    ]
    seconds: Annotated[float, means("Its length; until the run's end if it has no end.")]


class Availability(Struct, frozen=True, kw_only=True):
    """Good answers over all requests, and the times without good answers.

    A good answer came before the request's deadline and is not wrong (see `Mismatches`).
    """

    good: Annotated[int, means("Requests with a good answer.")]
    requests: Annotated[int, means("All requests: scheduled and withheld.")]
    withheld: Annotated[
        int,
        means(
            "Closed loop: requests that waiting callers did not send during outages, at their rate "
            "outside of outages; 0 in an open loop, which sends on time."
        ),
    ]
    share: Annotated[float | None, means("good / requests; null if there were none.")]
    outage_threshold_seconds: Annotated[
        float,
        means(
            "Shortest outage: 0.5, or 5 times the median time from a request to the next good "
            "answer if that is longer."
        ),
    ]
    outages: Annotated[list[Outage], means("Every outage, in order.")]
    outage_seconds: Annotated[float, means("Sum of the outages.")]
    longest_outage: Annotated[Outage | None, means("Null without an outage.")]
    time_to_recover_seconds: Annotated[
        float | None,
        means(
            "The longest time from a first failure, or the start of an outage, to the good answer "
            "from which on no request fails that is due within 1 s. Null if nothing failed, or if "
            "the server did not recover."
        ),
    ]
    recovered: Annotated[
        bool, means("Whether the run ended with the server recovered, or nothing had failed.")
    ]


class Recorded(Struct, frozen=True, kw_only=True):
    """The accuracy that was recorded with the model's files when they were published."""

    version: Annotated[int, means("Model version.")]
    precision: Annotated[str, means('Precision of the recorded figures, such as "fp32".')]
    artefact_sha256: Annotated[
        str | None, means("Digest of the recorded model file; null if the record has none.")
    ]
    top1: Annotated[float, means("Recorded top-1 over all test images, 0 to 1.")]
    n: Annotated[int, means("Number of those test images.")]
    same_images: Annotated[
        bool, means("Whether the record is of the same images as the run, by SHA-256.")
    ]
    difference_points: Annotated[
        float,
        means(
            "Measured minus recorded top-1 in percentage points. With recorded predictions, both "
            "are computed over the images that were answered."
        ),
    ]


class Accuracy(Struct, frozen=True, kw_only=True):
    """Top-1 of the timed answers, wrong answers included; null without labels (see `Checked`)."""

    n: Annotated[int, means("Images (or other rows) answered, repeats included.")]
    correct: Annotated[int, means("Images answered with their label.")]
    top1: Annotated[float | None, means("correct / n; null before the first answer.")]
    wilson_95: Annotated[
        tuple[float, float] | None,
        means(
            "95 % Wilson interval of top1 with the distinct images as the number of trials, "
            "because a repeated image adds no information; null before the first answer."
        ),
    ]
    distinct_images: Annotated[int, means("Different images among n.")]
    per_class: Annotated[
        dict[str, float | None],
        means("Share of each class' images answered correctly; null for a class without images."),
    ]
    confusion: Annotated[
        list[list[int]],
        means(
            "Counts; row = label, column = answer, in the order of training's CLASS_NAMES. The "
            "last column counts answers that are none of these classes."
        ),
    ]
    recorded: Annotated[
        Recorded | None,
        means("The recorded accuracy; null without --models-dir or if the record is missing."),
    ]
    recorded_missing: Annotated[
        str | None, means("Why there is no record although --models-dir was given.")
    ]


class Mismatch(Struct, frozen=True, kw_only=True):
    """One image, or other row, whose answer differs from the recorded one."""

    request: Annotated[int, means("Number of the request in the run, from 0.")]
    image: Annotated[int, means("Number of the test image, from 0.")]
    row: Annotated[int, means("Position of the image in its request, from 0.")]
    answered: Annotated[int, means("Class that the server answered; -1 if it is no class.")]
    recorded: Annotated[int, means("Recorded class; -1 if the answers are no classes.")]
    label: Annotated[int, means("The image's label; -1 without labels.")]
    sent_seconds: Annotated[float, means("Time at which the request was sent.")]
    same_answer_as: Annotated[
        list[int],
        means(
            "Numbers of at most 16 requests in flight at the same time whose right answer has the "
            "same bytes: a mixed-up answer may belong to one of them."
        ),
    ]


class Mismatches(Struct, frozen=True, kw_only=True):
    """The comparison of the answers with the recorded ones; each difference is an error."""

    compared: Annotated[int, means("Images compared, repeats included.")]
    differing: Annotated[int, means("Images whose answer differs, near ties left out.")]
    requests: Annotated[int, means("Requests with at least one such image.")]
    examples: Annotated[list[Mismatch], means("The first differing images.")]
    near_ties: Annotated[int, means("Images answered with another class of a near tie.")] = 0


class Quantiles(Struct, frozen=True, kw_only=True):
    """Median and 99th percentile in milliseconds; null where there are too few values."""

    p50: float | None
    p99: float | None


class ServerTimes(Struct, frozen=True, kw_only=True):
    """Server-side durations, from the server-timing metadata of the answers (--server-timing)."""

    n: Annotated[int, means("Answers that carried the metadata.")]
    queue_ms: Annotated[Quantiles, means("Time spent waiting for a worker.")]
    compute_ms: Annotated[Quantiles, means("Time spent running in a batch.")]
    serialise_ms: Annotated[
        Quantiles, means("Total minus queue and compute: decoding and encoding.")
    ]
    total_ms: Annotated[
        Quantiles, means("Time from the arrival of the headers to the finished answer.")
    ]


class Lag(Struct, frozen=True, kw_only=True):
    """How late requests were sent, in milliseconds: sent minus due."""

    p50: float | None
    p99: float | None
    max: float | None


class Client(Struct, frozen=True, kw_only=True):
    """The load generator over the timed requests."""

    processes: Annotated[int, means("Generator processes.")]
    lag_ms: Annotated[Lag | None, means("Lag of the sent requests; null in a closed loop.")]
    cpu_seconds: Annotated[float, means("Processor time of all processes and threads.")]
    cpu_share: Annotated[
        float, means("Processor time of the busiest process over the window; 1.0 is one core.")
    ]
    cpu_us_per_request: Annotated[
        float | None, means("Processor time of all processes over the finished requests.")
    ]
    in_flight_max: Annotated[
        int, means("Most requests in flight at once, summed over the processes.")
    ]


class Window(Struct, frozen=True, kw_only=True):
    """A bucket of the run's time; a request belongs to the bucket in which it was due."""

    t_seconds: Annotated[float, means("Start of the bucket.")]
    scheduled: Annotated[int, means("Requests due in it.")]
    answered: Annotated[int, means("Of these, answered requests.")]
    errors: Annotated[int, means("Of these, requests failed, missed or answered wrongly.")]
    p50_ms: Annotated[
        float | None, means("Median latency of the answered ones; null if they are too few.")
    ]
    p99_ms: Annotated[float | None, means("99th percentile of latency; null if they are too few.")]
    max_ms: Annotated[float | None, means("Highest latency; null without answers.")]
    seconds: Annotated[
        float,
        means(
            "Width of the bucket: 0.25, 0.5 or 1, the same in the whole run. Reports of older "
            "versions have no such field, and their buckets are seconds."
        ),
    ] = 1.0


class Floor(Struct, frozen=True, kw_only=True):
    """The same load on a server that answers at once: the cost of client and network alone."""

    n: Annotated[int, means("Answered requests.")]
    failed: Annotated[int, means("Requests without an answer.")]
    p50_ms: Annotated[float | None, means("Median latency; null if the answers are too few.")]
    p99_ms: Annotated[
        float | None, means("99th percentile of latency; null if the answers are too few.")
    ]
    max_ms: Annotated[float | None, means("Highest latency.")]
    requests_per_second: Annotated[float | None, means("Answered requests over its window.")]
    client_cpu_us_per_request: Annotated[
        float | None, means("Processor time of the load generator over the finished requests.")
    ]
    client_cpu_share: Annotated[float, means("See Client.cpu_share.")]


class Check(Struct, frozen=True, kw_only=True):
    """One rule of validity or one gate."""

    name: Annotated[
        str, means('Short and stable name: "requests", "client-lag", "slo", "baseline-p99".')
    ]
    passed: Annotated[bool, means("Whether the rule holds.")]
    detail: Annotated[str, means("What was measured and what was expected, in words.")]


class Gate(Check, frozen=True, kw_only=True):
    """One gate: a limit that the command line set."""

    measured: Annotated[str, means("What was measured; empty in reports of older versions.")] = ""
    limit: Annotated[str, means("What was expected; empty in reports of older versions.")] = ""


class Validity(Struct, frozen=True, kw_only=True):
    """Whether the figures may be quoted, by MLPerf's rules and the load generator's own limits."""

    valid: Annotated[bool, means("Whether every check passed.")]
    reasons: Annotated[list[str], means("Details of the checks that failed.")]
    checks: Annotated[list[Check], means("All checks.")]

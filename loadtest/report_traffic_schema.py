"""The sections of a report about traffic that is not one steady stream.

`report_sections_schema` has the conventions for units, times and unknown values.
"""

from typing import Annotated

from msgspec import Struct

from loadtest.report_sections_schema import means


class ReplayedTraffic(Struct, frozen=True, kw_only=True):
    """Recorded traffic that a run sent again."""

    file: Annotated[str, means("Name of the file.")]
    sha256: Annotated[str, means("Digest of the file.")]
    speed: Annotated[float, means("How many times faster than recorded.")]
    left_out: Annotated[
        int, means("Requests of the file with another model or batch, or after the end.")
    ]


class LoadPhase(Struct, frozen=True, kw_only=True):
    """A part of a shape, such as a step, or all bursts; a request is in it if it was due in it."""

    name: Annotated[str, means("What it is, with its planned rates.")]
    spans_seconds: Annotated[
        list[tuple[float, float]], means("Its times from the start of the schedule, ascending.")
    ]
    planned_rate_per_second: Annotated[float, means("Mean of the planned rate.")]
    scheduled: Annotated[int, means("Requests due in it.")]
    answered: Annotated[int, means("Of these, answered requests.")]
    failed: Annotated[int, means("Of these, requests that ended in an error.")]
    missed: Annotated[int, means("Of these, requests that the in-flight cap held back.")]
    wrong: Annotated[int, means("Of the answered ones, see Requests.wrong.")]
    p50_ms: Annotated[float | None, means("Median latency; null if the answers are too few.")]
    p90_ms: Annotated[float | None, means("90th percentile; null if the answers are too few.")]
    p99_ms: Annotated[float | None, means("99th percentile; null if the answers are too few.")]
    max_ms: Annotated[float | None, means("Highest latency; null without answers.")]
    goodput_per_second: Annotated[
        float | None, means("Good answers over its time; null without a latency bound.")
    ]
    goodput_share: Annotated[
        float | None,
        means("Good answers over its requests; null without a latency bound or requests."),
    ]
    top1: Annotated[float | None, means("Share of right answers; null without answers.")]


class MixTotals(Struct, frozen=True, kw_only=True):
    """All streams of a mix together, in one repeat."""

    repeat: Annotated[int, means("Number of the repeat from 1.")]
    streams: Annotated[list[str], means("Names of the streams that have a report.")]
    valid: Annotated[bool, means("Whether all streams were measured and are VALID.")]
    invalid_streams: Annotated[list[str], means("Names of the streams that are not.")]
    seconds: Annotated[float, means("Time of the longest stream.")]
    scheduled: Annotated[int, means("See Requests; the sum of the streams, as below.")]
    answered: Annotated[int, means("See Requests.")]
    failed: Annotated[int, means("See Requests.")]
    missed: Annotated[int, means("See Requests.")]
    wrong: Annotated[int, means("See Requests.")]
    requests_per_second: Annotated[float | None, means("Answered requests over `seconds`.")]
    images_per_second: Annotated[float | None, means("Answered images over `seconds`.")]
    client_cores: Annotated[
        float, means("Processor time of all load generators over `seconds`; 1.0 is one core.")
    ]
    server_cores: Annotated[
        float | None,
        means("The same of the server and its workers; null if the mix did not start it."),
    ]

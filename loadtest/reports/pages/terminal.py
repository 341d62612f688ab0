"""One run as text for a terminal: lines with headings, the verdict first."""

from collections.abc import Iterable

from loadtest.report_schema import Report
from loadtest.report_sections_schema import Mismatches, Quantiles
from loadtest.reports import availability, traffic
from loadtest.reports.configurations import transport_text

# Why a figure is missing.
_NONE_ANSWERED = "nothing answered"
_NO_LABELS = "no labels"
_NONE_FINISHED = "no request finished"
_TOO_FEW = "too few requests"


def text(report: Report) -> str:
    """Return the lines of a run; a server's message takes one line."""
    return "\n".join(f"{head:<12}{' '.join(line.split())}" for head, line in lines(report))


def lines(report: Report) -> list[tuple[str, str]]:
    """Return (heading, text) pairs; an empty heading continues the pair before."""
    scenario = report.scenario
    found = [
        ("verdict", "VALID" if report.validity.valid else "INVALID"),
        *(("", reason) for reason in report.validity.reasons),
        ("status", _with(report.status, report.stop_reason)),
        ("scenario", f"{scenario.description}, batch {scenario.batch}, {scenario.plan}"),
        ("model", _model_text(report)),
        ("requests", _requests_text(report)),
        ("latency", _latency_text(report)),
        ("throughput", _throughput_text(report)),
        *(("phase", line) for line in traffic.phase_lines(report)),
        *_optional(report),
        *(("available", availability.line(known)) for known in [report.availability] if known),
        *_checked(report),
        ("top-1", _accuracy_text(report)),
        *_accuracy_details(report),
        *(
            ("error", f"{kind}, {error.count:,} times, first: {error.first_message}")
            for kind, error in report.errors.items()
        ),
        ("client", _client_text(report)),
        *(
            (f"gate {'ok' if gate.passed else 'FAILED'}", f"{gate.name}: {gate.detail}")
            for gate in report.gates
        ),
        *(("warning", warning) for warning in report.warnings),
    ]
    return [*found, *_classes(report)]


def _optional(report: Report) -> Iterable[tuple[str, str]]:
    if (slo := report.slo) is not None:
        allowed = slo.over_allowed
        yield (
            "bound",
            f"p{slo.percentile:g} within {slo.limit_ms:g} ms: "
            f"{'met' if slo.met else 'NOT met'}, {slo.over:,} of {slo.n:,} over it, "
            + ("too few requests to tell" if allowed is None else f"{allowed:,} allowed"),
        )
        if slo.inflation is not None:
            label = f", a {slo.duration} run" if slo.duration else ""
            yield (
                "",
                (
                    f"{slo.inflation:.1f} correlated requests count as one{label}; "
                    "60 equal parts of the run are taken as independent of each other"
                ),
            )
    if (goodput := report.goodput) is not None:
        correct = _number(goodput.correct_per_second, 1, _NONE_FINISHED)
        yield (
            "goodput",
            (
                f"{_number(goodput.per_second, 1, _NONE_FINISHED)} answers/s within "
                f"{goodput.slo_ms:g} ms ({_percent(goodput.share, 1, 'no request was due')})"
                + (f", {correct}/s of them with the right class" if _labelled(report) else "")
            ),
        )
    if (capacity := report.capacity) is not None:
        rate, failed = capacity.rate_per_second, capacity.failed_rate_per_second
        found = "no rate passed" if rate is None else f"{rate:,.1f} requests/s"
        yield (
            "capacity",
            (
                f"{found}{', confirmed' if capacity.confirmed else ', not confirmed'}; lowest "
                f"rate that failed: {'none' if failed is None else f'{failed:,.1f}'}; limited by "
                f"{capacity.limited_by}, {len(capacity.steps)} steps in "
                f"{capacity.seconds:.0f} s"
            ),
        )
    if (server := report.server) is not None:
        parts = (
            ("queue", server.queue_ms),
            ("compute", server.compute_ms),
            ("serialise", server.serialise_ms),
            ("total", server.total_ms),
        )
        texts = [f"{name} {_quantiles_text(quantiles)}" for name, quantiles in parts]
        yield "server", f"{', '.join(texts)} ms (p50 / p99)"
    if (floor := report.floor) is not None:
        yield (
            "floor",
            (
                f"null server: p50 {_number(floor.p50_ms, 3, _TOO_FEW)} ms, p99 "
                f"{_number(floor.p99_ms, 3, _TOO_FEW)} ms, {floor.n:,} requests"
            ),
        )


def _model_text(report: Report) -> str:
    model = report.model
    versions = [
        f"version {version} ({count:,} answers)"
        for version, count in model.answers_by_version.items()
    ]
    label = model.version_label and f"label {model.version_label}"
    known = [model.precision, model.provider, label, *versions]
    parts = ", ".join(part for part in known if part)
    return f"{_with(model.name, parts or None)}; {transport_text(report)} to {report.target}"


def _requests_text(report: Report) -> str:
    requests = report.requests
    missed = f", {requests.missed:,} missed" if report.scenario.loop == "open" else ""
    failed = f" ({requests.warmup_failed:,} failed)" if requests.warmup_failed else ""
    return (
        f"{requests.answered:,} answered, {requests.failed:,} failed{missed}, "
        f"{requests.unfinished:,} unfinished; {requests.warmup:,} before to warm up{failed}"
    )


def _latency_text(report: Report) -> str:
    latency = report.latency_ms
    shown = []
    for name, needed in latency.requests_needed.items():
        title = name.replace("_", ".")
        value = latency.percentile(float(title.removeprefix("p")))
        missing = f"{title} n/a (needs {needed:,})"
        shown.append(missing if value is None else f"{title} {value:.3f} ms")
    shown += [
        f"mean {_number(latency.mean, 3, _NONE_ANSWERED)} ms",
        f"max {_number(latency.max, 3, _NONE_ANSWERED)} ms",
    ]
    return ", ".join(shown)


def _throughput_text(report: Report) -> str:
    throughput = report.throughput
    offered = throughput.offered_requests_per_second
    return (
        f"{_number(throughput.requests_per_second, 1, _NONE_FINISHED)} requests/s, "
        f"{_number(throughput.images_per_second, 1, _NONE_FINISHED)} {report.manifest.data.unit}/s "
        f"over {throughput.window_seconds:.2f} s"
        + ("" if offered is None else f", {offered:,.1f} requests/s offered")
    )


def _accuracy_text(report: Report) -> str:
    accuracy = report.accuracy
    if accuracy.top1 is None or accuracy.wilson_95 is None:
        return f"n/a ({_NONE_ANSWERED if _labelled(report) else _NO_LABELS})"
    low, high = accuracy.wilson_95
    return (
        f"{_share(accuracy.top1, 2)} ({accuracy.correct:,} of {accuracy.n:,}), "
        f"95 % interval {_share(low, 2)} to {_share(high, 2)}"
    )


def _labelled(report: Report) -> bool:
    """Return whether the rows have labels, as in all reports of older versions."""
    return report.checked is None or report.checked.labels


def _checked(report: Report) -> Iterable[tuple[str, str]]:
    """Yield what was checked, unless it is only the accuracy, or what --models-dir gives."""
    checked = report.checked
    if checked is not None and (not checked.labels or checked.record in ("file", "server")):
        yield "checked", checked.text


def _accuracy_details(report: Report) -> Iterable[tuple[str, str]]:
    accuracy = report.accuracy
    if (recorded := accuracy.recorded) is not None:
        yield (
            "recorded",
            (
                f"{_share(recorded.top1, 2)} of {recorded.n:,} ({recorded.precision}, "
                f"version {recorded.version}), difference {recorded.difference_points:+.2f} "
                f"points{'' if recorded.same_images else '; recorded on other images'}"
            ),
        )
    elif accuracy.recorded_missing is not None:
        yield "recorded", accuracy.recorded_missing
    if (mismatches := report.mismatches) is not None:
        yield (
            "compared",
            (
                f"{mismatches.differing:,} of {mismatches.compared:,} answers differ from "
                f"the recorded ones{_near_ties(mismatches)}"
            ),
        )


def _near_ties(mismatches: Mismatches) -> str:
    count = mismatches.near_ties
    return f"; {count:,} gave the other class of a near tie" if count else ""


def _client_text(report: Report) -> str:
    client = report.client
    processes = client.processes
    text = (
        f"{_number(client.cpu_us_per_request, 0, _NONE_FINISHED)} us a request, "
        f"{100 * client.cpu_share:.0f} % of a core"
        f"{' in the busiest process' if processes > 1 else ''}, "
        f"{client.in_flight_max:,} under way at most"
    )
    lag = client.lag_ms
    return text if lag is None else f"{text}, sent late by p99 {_number(lag.p99, 3, _TOO_FEW)} ms"


def _classes(report: Report) -> Iterable[tuple[str, str]]:
    per_class = report.accuracy.per_class
    why = "no image of it"
    shares = [f"{name} {_percent(share, 1, why)}" for name, share in per_class.items()]
    for first in range(0, len(shares), 5):
        more = "," if first + 5 < len(shares) else ""
        yield "" if first else "per class", ", ".join(shares[first : first + 5]) + more


def _quantiles_text(quantiles: Quantiles) -> str:
    return f"{_number(quantiles.p50, 3, _TOO_FEW)} / {_number(quantiles.p99, 3, _TOO_FEW)}"


def _with(head: str, more: str | None) -> str:
    return head if more is None else f"{head}: {more}"


def _number(value: float | None, digits: int, why_missing: str) -> str:
    return f"n/a ({why_missing})" if value is None else f"{value:,.{digits}f}"


def _percent(share: float | None, digits: int, why_missing: str) -> str:
    return f"n/a ({why_missing})" if share is None else _share(share, digits)


def _share(share: float, digits: int) -> str:
    return f"{100 * share:.{digits}f} %"

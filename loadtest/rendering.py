"""A report's dictionary (see `report.build`) as text for people: a table, a Markdown page."""

from typing import Any


def rows(report: dict[str, Any]) -> list[tuple[str, str]]:
    """The report as lines for people: a heading and its text each."""
    scenario, requests, throughput = (
        report[section] for section in ("scenario", "requests", "throughput")
    )
    latency, accuracy, client = (
        report["latency_ms"],
        report["accuracy"],
        report["manifest"]["client"],
    )
    lines = [
        ("status", _join(report["status"], report["stop_reason"])),
        ("scenario", f"{scenario['kind']}, batch {scenario['batch']}, {scenario['plan']}"),
        ("model", _model_text(report["manifest"])),
        ("requests", _requests_text(requests)),
        ("latency", _latency_text(latency)),
        ("throughput", _throughput_text(throughput)),
        ("top-1", _accuracy_text(accuracy)),
    ]
    if accuracy["recorded"] is not None:
        lines.append(("recorded", _recorded_text(accuracy["recorded"])))
    lines += [
        ("error", f"{kind}, {error['count']:,} times, first: {error['first_message']}")
        for kind, error in report["errors"].items()
    ]
    lines.append(("client", _client_text(client)))
    return lines + [("warning", warning) for warning in report["warnings"]]


def table(report: dict[str, Any]) -> str:
    """The report as text for a terminal."""
    lines = [f"{heading:<12}{text}" for heading, text in rows(report)]
    per_class = report["accuracy"]["per_class_accuracy"]
    shares = [f"{name} {_percent(share, 1)}" for name, share in per_class.items()]
    lines.append(f"{'per class':<12}{', '.join(shares[:5])},")
    lines.append(f"{'':<12}{', '.join(shares[5:])}")
    return "\n".join(lines)


def markdown(report: dict[str, Any]) -> str:
    """The report as a Markdown page."""
    client = report["manifest"]["client"]
    data = report["manifest"]["data"]
    facts = [
        ("target", report["manifest"]["target"]),
        ("started", report["manifest"]["started_utc"]),
        ("seed of the image order", report["scenario"]["seed"]),
        ("test images", f"{data['images']:,}, SHA-256 {data['sha256']}"),
        ("form of the images", data["variant"] or "unknown"),
        ("load generator's processor", f"{client['cpu']}, {client['cores']} cores"),
        ("load average before", client["load_average_1_min_at_start"]),
        ("commit", client["git_commit"] or "unknown"),
        ("versions", ", ".join(f"{name} {text}" for name, text in client["versions"].items())),
        ("percentiles", report["latency_ms"]["definition"]),
    ]
    per_class = report["accuracy"]["per_class_accuracy"].items()
    sections = [
        f"# Load test {_cell(report['name'])}",
        _markdown_table(("", "Result"), rows(report)),
        "## Accuracy by class",
        _markdown_table(
            ("Class", "Top-1"), [(name, _percent(share, 1)) for name, share in per_class]
        ),
        "## How it was measured",
        _markdown_table(("", "Value"), facts),
    ]
    return "\n\n".join(sections) + "\n"


def _latency_text(latency: dict[str, Any]) -> str:
    texts = [
        f"{name} n/a (needs {needed:,})"
        if latency[name] is None
        else f"{name} {latency[name]:.3f} ms"
        for name, needed in latency["requests_needed"].items()
    ]
    texts += [f"{name} {_number(latency[name], 3)} ms" for name in ("mean", "max")]
    return ", ".join(texts)


def _requests_text(requests: dict[str, Any]) -> str:
    failed = f" ({requests['warmup_failed']:,} failed)" if requests["warmup_failed"] else ""
    return (
        f"{requests['answered']:,} answered, {requests['failed']:,} failed, "
        f"{requests['unfinished']:,} unfinished; {requests['warmup']:,} before to warm up{failed}"
    )


def _throughput_text(throughput: dict[str, Any]) -> str:
    return (
        f"{_number(throughput['requests_per_second'], 1)} requests/s, "
        f"{_number(throughput['images_per_second'], 1)} images/s "
        f"over {throughput['window_seconds']:.2f} s"
    )


def _client_text(client: dict[str, Any]) -> str:
    return (
        f"{client['cpu_seconds']:.2f} s of processor time, "
        f"{_number(client['cpu_us_per_request'], 0)} us a request, "
        f"{100 * client['cpu_share_of_a_core']:.0f} % of a core"
    )


def _accuracy_text(accuracy: dict[str, Any]) -> str:
    if accuracy["top1"] is None:
        return "n/a (nothing answered)"
    low, high = accuracy["top1_wilson_95"]
    return (
        f"{_percent(accuracy['top1'], 2)} ({accuracy['correct']:,} of {accuracy['n']:,}), "
        f"95 % interval {_percent(low, 2)} to {_percent(high, 2)}"
    )


def _recorded_text(section: dict[str, Any]) -> str:
    if "missing" in section:
        return str(section["missing"])
    text = (
        f"{_percent(section['recorded_top1'], 2)} of {section['recorded_n']:,} "
        f"({section['variant']}, version {section['version']}), "
        f"difference {section['difference_points']:+.2f} points"
    )
    if section["compared_answers"] is not None:
        text += (
            f"; {section['differing_answers']:,} of {section['compared_answers']:,} answers differ"
        )
    return text if section["same_images"] else text + "; recorded on other images"


def _model_text(section: dict[str, Any]) -> str:
    versions = ", ".join(
        f"version {version} ({count:,} answers)"
        for version, count in section["answers_by_version"].items()
    )
    return _join(section["model"], versions or None)


def _join(text: str, more: str | None) -> str:
    return text if more is None else f"{text}: {more}"


def _number(value: float | None, digits: int) -> str:
    return "n/a" if value is None else f"{value:,.{digits}f}"


def _percent(share: float | None, digits: int) -> str:
    return "n/a" if share is None else f"{100 * share:.{digits}f} %"


def _markdown_table(heads: tuple[str, str], lines: list[tuple[str, Any]]) -> str:
    return "\n".join(
        f"| {_cell(left)} | {_cell(right)} |" for left, right in [heads, ("---", "---"), *lines]
    )


def _cell(value: object) -> str:
    """A server's message must not break the table that quotes it."""
    return str(value).replace("|", "\\|").replace("\n", " ")

"""The conditions of a measurement as (name, text) rows.

Commit, CPU, versions, data, model file: what the manifests of a collection say. The digests of data
and model files are separate rows, because pages show them at their end.
"""

import ipaddress
from collections.abc import Callable, Sequence
from typing import Literal

from loadtest.report_schema import Artefact, Collection, Report, Result

# Where a server ran, seen from the load generator.
Place = Literal["started", "loopback", "network"]
_SHOWN_SHARE = 0.001


def lines(collection: Collection) -> list[tuple[str, str]]:
    """Return the rows of a collection; different values of its runs are joined by semicolons."""
    results = collection.results
    reports = [result.report for result in results]
    started = min(report.manifest.started_utc for report in reports)
    finished = max(report.manifest.finished_utc for report in reports)
    found = [
        ("measured", f"{started} to {finished}"),
        ("runs", f"{len(reports):,}"),
        ("commit", _each(reports, lambda report: report.manifest.git_commit)),
        ("processor", _each(reports, lambda report: report.manifest.cpu)),
        ("cores", _each(reports, lambda report: report.manifest.cores)),
        (
            "processor time allowed",
            _each(reports, _quota_text),
        ),
        ("architecture", _each(reports, lambda report: report.manifest.machine)),
        ("load average at the start", _load_range(reports)),
        ("taken by the hypervisor", _stolen_range(reports)),
        ("versions", _each(reports, _versions_text)),
        ("server's versions", _each_result(results, _server_versions_text)),
        *((_rows_name(one), _each(reports, _data_text)) for one in reports[:1]),
        ("answers checked", _each(reports, _checked_text)),
        ("target", _each_result(results, _target_text)),
        ("server's machine", _each_result(results, _machine_text)),
        ("model file", _each(reports, _artefact_text)),
        ("seeds", _each(reports, _seeds_text)),
        ("recorded traffic", _each(reports, _replay_text)),
        ("mix", _each(reports, lambda report: report.scenario.mix)),
        ("percentiles", _each(reports, lambda report: report.latency_ms.definition)),
        ("GPU", _each_result(results, _gpu_text)),
    ]
    return [(name, text) for name, text in found if text]


def digests(collection: Collection) -> list[tuple[str, str]]:
    """Return the SHA-256 digests of images, models and traffic, each with what it belongs to."""
    found = []
    for result in collection.results:
        manifest = result.report.manifest
        rows = f"{_rows_name(result.report)}, {_data_text(result.report)}"
        found.append((rows, manifest.data.sha256))
        if (artefact := manifest.artefact) is not None and artefact.sha256 is not None:
            found.append((_model_file(result.report, artefact), artefact.sha256))
        if (replay := result.report.scenario.replay) is not None:
            found.append((f"recorded traffic, {replay.file}", replay.sha256))
    return list(dict.fromkeys(found))


def place(result: Result) -> Place:
    """Return where the server of a result ran.

    Returns:
        "started": the load test started it, on its own machine; "loopback": it was running before,
        behind a loopback address; "network": behind any other address.
    """
    if result.server_process is not None:
        return "started"
    host = result.report.target.rpartition(":")[0].strip("[]")
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        local = False
    return "loopback" if local else "network"


def _each(reports: Sequence[Report], value: Callable[[Report], object]) -> str:
    return "; ".join(dict.fromkeys(str(text) for report in reports if (text := value(report))))


def _each_result(results: Sequence[Result], value: Callable[[Result], object]) -> str:
    return "; ".join(dict.fromkeys(str(text) for result in results if (text := value(result))))


def _quota_text(report: Report) -> str | None:
    quota = report.manifest.cgroup_cpu_quota_cores
    return f"{quota:g} cores by the control group" if quota is not None else None


def _load_range(reports: Sequence[Report]) -> str:
    averages = [
        average
        for report in reports
        if (average := report.manifest.load_average_1_min_at_start) is not None
    ]
    if not averages:
        return ""
    low, high = min(averages), max(averages)
    return f"{low:g}" if low == high else f"{low:g} to {high:g} (1 minute, over the runs)"


def _stolen_range(reports: Sequence[Report]) -> str:
    shares = [
        100 * share
        for report in reports
        if (share := report.manifest.stolen_share) is not None and share >= _SHOWN_SHARE
    ]
    if not shares:
        return ""
    low, high = f"{min(shares):.1f}", f"{max(shares):.1f}"
    numbers = low if low == high else f"{low} to {high}"
    return f"{numbers} % of the cores' time during the runs"


def _versions_text(report: Report) -> str:
    return ", ".join(f"{name} {text}" for name, text in report.manifest.versions.items())


def _server_versions_text(result: Result) -> str:
    return ", ".join(f"{name} {text}" for name, text in result.server_versions.items())


def _data_text(report: Report) -> str:
    data = report.manifest.data
    form = f", {data.variant}" if data.variant else ""
    if report.checked is not None and not report.checked.labels:
        form = f" without labels, {data.source}"
    return f"{data.images:,}{form}"


def _rows_name(report: Report) -> str:
    return "test images" if report.manifest.data.unit == "images" else "rows"


def _checked_text(report: Report) -> str | None:
    checked = report.checked
    return None if checked is None or checked.labels else checked.text


def _target_text(result: Result) -> str:
    report, process = result.report, result.server_process
    text = result.target
    if process is None:
        tls = ", over TLS" if report.tls else ""
        return text + tls if text == report.target else f"{text} ({report.target}{tls})"
    return f"{text} (python -m serving {' '.join(process.flags)})".replace(" )", ")")


def _machine_text(result: Result) -> str:
    texts: dict[Place, str] = {
        "started": "the client's, where the load test started the server",
        "loopback": "the client's, by the loopback address",
        "network": f"unknown; {result.report.target} was reached over the network",
    }
    return texts[place(result)]


def _artefact_text(report: Report) -> str | None:
    artefact = report.manifest.artefact
    if artefact is None:
        return None
    size = f", {artefact.bytes:,} bytes" if artefact.bytes is not None else ""
    return f"{_model_file(report, artefact)}{size}"


def _model_file(report: Report, artefact: Artefact) -> str:
    version = "+".join(report.model.answers_by_version)
    return f"{report.model.name}/{version}/{artefact.file}"


def _seeds_text(report: Report) -> str:
    return ", ".join(f"{name} {seed}" for name, seed in report.scenario.seeds.items())


def _replay_text(report: Report) -> str | None:
    replay = report.scenario.replay
    if replay is None:
        return None
    return (
        f"{replay.file} at {replay.speed:g} times its speed, {replay.left_out:,} of its requests "
        "left out"
    )


def _gpu_text(result: Result) -> str | None:
    process = result.server_process
    gpu = process and process.gpu
    return f"{gpu.name}, driver {gpu.driver}" if gpu else None

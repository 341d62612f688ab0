"""Tabs in Locust's web UI: accuracy beside latency, and accuracy by class.

Locust's page draws a table for every entry of `extended_tabs` and `extended_tables` among its
template arguments, from the `extended_stats` in the answer of /stats/requests (see "Extending the
web UI" in Locust's manual).
"""

import json
from collections.abc import Callable
from typing import Any

import msgspec
from flask import Response, jsonify, request
from locust.web import WebUI

from loadtest.figures.percentiles import samples_needed
from loadtest.web.locust_run import LocustRun, Summary

RESULTS_TAB = "accuracy"
CLASSES_TAB = "classes"
SUMMARY_PATH = "/loadtest/summary.json"

_RESULT_COLUMNS = {
    "version": "Version",
    "top_one": "Top-1",
    "interval": "95 % interval",
    "images": "Images answered",
    "requests": "Requests answered",
    "errors": "Errors",
    "median_ms": "p50 (ms)",
    "ninety_ms": "p90 (ms)",
    "tail_ms": "p99 (ms)",
    "images_per_second": "Images/s",
}
_CLASS_COLUMNS = {"name": "Class", "top_one": "Top-1"}


def extend(web_ui: WebUI, run: Callable[[], LocustRun | None]) -> None:
    """Add the tabs, their figures and a download.

    Args:
        web_ui: Locust's web UI, before it starts.
        run: Returns the current run, or the last one; None before the first.
    """
    app = web_ui.app
    if app is None:  # only by its type; Locust's constructor always sets it
        return
    # Locust keeps these template arguments when it renders its page.
    web_ui.template_args |= {
        "extended_tabs": [
            {"title": "Accuracy & latency", "key": RESULTS_TAB},
            {"title": "Classes", "key": CLASSES_TAB},
        ],
        "extended_tables": [
            {"key": RESULTS_TAB, "structure": _structure(_RESULT_COLUMNS)},
            {"key": CLASSES_TAB, "structure": _structure(_CLASS_COLUMNS)},
        ],
        "extended_csv_files": [
            {"href": f".{SUMMARY_PATH}", "title": "Download accuracy and latency (JSON)"}
        ],
    }

    @app.after_request
    def add_statistics(response: Response) -> Response:
        current = run()
        if current and request.path.endswith("/stats/requests") and response.is_json:
            statistics = json.loads(response.get_data())
            statistics["extended_stats"] = tables(current.summary())
            response.set_data(json.dumps(statistics))
        return response

    @app.route(SUMMARY_PATH)
    @web_ui.auth_required_if_enabled  # type: ignore[untyped-decorator]  # Locust has no types here
    def download_summary() -> Response:
        current = run()
        return jsonify(None if current is None else msgspec.to_builtins(current.summary()))


def tables(summary: Summary) -> list[dict[str, Any]]:
    """Return the rows of both tabs as texts, which the page shows unchanged."""
    accuracy, latency = summary.accuracy, summary.latency_ms
    rate = summary.throughput.images_per_second
    bounds = (_percent(bound, 2) for bound in accuracy.wilson_95 or ())
    errors = ", ".join(f"{kind} {error.count:,}" for kind, error in summary.errors.items())
    result = {
        "version": ", ".join(summary.answers_by_version) or "-",
        "top_one": _percent(accuracy.top1, 2),
        "interval": " to ".join(bounds) or "-",
        "images": f"{accuracy.n:,}",
        "requests": f"{summary.answered:,}",
        "errors": errors or "none",
        "median_ms": _milliseconds(latency.p50, 50),
        "ninety_ms": _milliseconds(latency.p90, 90),
        "tail_ms": _milliseconds(latency.p99, 99),
        "images_per_second": "-" if rate is None else f"{rate:,.1f}",
    }
    classes = [
        {"name": name, "top_one": _percent(share, 1)} for name, share in accuracy.per_class.items()
    ]
    return [{"key": RESULTS_TAB, "data": [result]}, {"key": CLASSES_TAB, "data": classes}]


def _structure(columns: dict[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "title": title} for key, title in columns.items()]


def _milliseconds(value: float | None, percent: float) -> str:
    return f"n/a (needs {samples_needed(percent):,})" if value is None else f"{value:.3f}"


def _percent(share: float | None, digits: int) -> str:
    return "-" if share is None else f"{100 * share:.{digits}f} %"

"""The rules of deploy/monitoring, and the names of the series that they may read."""

from typing import Any

import yaml
from monitoring.prometheus_process import RULES

from serving.monitoring.metric_table import METRICS

ALL: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule for rule in ALL if "alert" in rule}
RECORDED = {rule["record"]: rule for rule in ALL if "record" in rule}
# The metrics of a server, and those that Prometheus and its Python library add.
KNOWN = {
    *(row.name for row in METRICS if row.kind != "histogram"),
    *(
        f"{row.name}_{end}"
        for row in METRICS
        if row.kind == "histogram"
        for end in ("bucket", "count", "sum")
    ),
    *("process_cpu_seconds_total", "process_max_fds", "process_open_fds"),
    *("process_resident_memory_bytes", "process_start_time_seconds", "up"),
    *RECORDED,
}

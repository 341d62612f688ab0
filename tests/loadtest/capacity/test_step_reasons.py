from pathlib import Path

import numpy as np
from sample_results.load_reports import changed, report
from simulating.simulated_session import measurement

from loadtest.capacity import find
from loadtest.settings.config import LoadTestConfig


def test_a_limit_of_the_client_is_named_once():
    """A confirmation that is INVALID because of a busy client gives this reason a single time."""
    busy = changed(report(kind="server", rate=100, slo_ms=1000), {"client.cpu_share": 0.93})
    detail = "the busiest load generator used 93 % of a core, at most 80 %; add --processes"
    check = {"name": "client-cpu", "passed": False, "detail": detail}
    verdict = {"validity": {"valid": False, "reasons": [detail], "checks": [check]}}
    measured = measurement(changed(busy, verdict), np.ones(1, np.int64))
    config = LoadTestConfig(
        target="localhost:8500", model="simcnn", output_dir=Path(), name="run", slo_ms=1000
    )

    step = find._step("confirm", 100, measured, config, 1.0)

    assert step.reason == detail
    assert step.client_limited

"""Tests of the rules and of Prometheus' configuration in deploy/monitoring, with promtool."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from monitoring.dashboard import metrics_of
from monitoring.prometheus_process import DEPLOY, MISSING, PROMTOOL
from monitoring.rules_file import ALERTS, ALL, KNOWN, RECORDED

from serving.monitoring.counts import SECONDS

ROOT = Path(__file__).parents[2]
# Windows of days are in a file of their own, because its rules are evaluated less often.
CASES = [Path(__file__).with_name(name) for name in ("rules_test.yaml", "budgets_test.yaml")]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason=MISSING)


def promtool(*arguments: str) -> str:
    """Run promtool and return what it writes; the test fails if promtool does."""
    done = subprocess.run(
        [str(PROMTOOL), *arguments], capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def checks(alert: str) -> list[list[object]]:
    """Return what the cases expect of an alert: a list of alerts for each time of evaluation."""
    return [
        check["exp_alerts"]
        for file in CASES
        for case in yaml.safe_load(file.read_text())["tests"]
        for check in case["alert_rule_test"]
        if check["alertname"] == alert
    ]


@needs_promtool
def test_prometheus_takes_its_configuration_and_rules():
    """The configuration of compose.yaml is valid, and so are the rules that it names."""
    found = promtool("check", "config", str(DEPLOY / "prometheus.yml"))

    assert f"{len(ALL)} rules found" in found


@needs_promtool
@pytest.mark.parametrize("file", CASES, ids=lambda file: file.stem)
def test_alerts_fire_for_their_reasons_and_not_without_them(file):
    """Every case of a file holds: labels and texts of what fires, and what does not fire."""
    assert "SUCCESS" in promtool("test", "rules", str(file))


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_has_cases(alert):
    """There is a case in which the alert fires, and there are two in which it does not."""
    expected = checks(alert)

    assert [alerts for alerts in expected if alerts] != []
    assert expected.count([]) >= 2


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_says_how_bad_it_is_and_where_to_read_on(alert):
    """An alert has a severity, a summary, and the address of its line in docs/operations.md."""
    rule = ALERTS[alert]
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")

    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"]["summary"].endswith(".")
    assert page == "docs/operations.md"
    assert f"\n## {anchor}\n" in OPERATIONS.lower()


def test_the_runbook_has_a_line_for_every_alert():
    """The table in docs/operations.md names each alert with its severity, and no other."""
    table = re.findall(r"^\| `(\w+)` \| (critical|warning) \|", OPERATIONS, re.MULTILINE)

    assert table == [(name, rule["labels"]["severity"]) for name, rule in ALERTS.items()]


@pytest.mark.parametrize("rule", ALL, ids=lambda rule: rule.get("alert") or rule["record"])
def test_rules_use_metrics_that_exist(rule):
    """A rule reads the server's metrics, recorded series, or the metrics of its process."""
    assert metrics_of(rule["expr"]) - KNOWN == set()


def test_the_burn_rates_are_those_of_the_workbook():
    """Each alert on a budget compares a long and a short window with the same multiple of it."""
    found = {}
    for name, rule in ALERTS.items():
        if "Budget" in name:
            windows = re.findall(r":ratio_rate(\w+) > (?:([\d.]+) \* )?scalar", rule["expr"])
            found[name] = [(window, float(factor or 1)) for window, factor in windows]

    assert found == {
        f"{budget}Budget{burns}": [(long, factor), (short, factor)]
        for budget in ("Error", "Latency")
        for burns, factor, long, short in (
            ("BurnsFast", 14.4, "1h", "5m"),
            ("Burns", 6, "6h", "30m"),
            ("BurnsSlowly", 1, "3d", "6h"),
        )
    }


def test_the_times_are_limits_of_the_histogram():
    """No interpolation decides about an alert: its time is one of the buckets' limits."""
    limits = {f"{limit:g}" for limit in SECONDS}
    slow = RECORDED["job_model:onnx_serving_slow_answers:rate5m"]["expr"]
    times = [
        ALERTS[name]["expr"].rpartition("> ")[2].strip() for name in ("SlowAnswers", "LongQueue")
    ]

    assert {*re.findall(r'le="([^"]+)"', slow), *times} <= limits

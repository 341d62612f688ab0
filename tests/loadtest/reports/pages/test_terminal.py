from sample_results import load_reports

from loadtest.reports.pages import terminal


def test_the_terminal_gives_the_verdict_first():
    """INVALID and why, before any figure; every line of the run's own."""
    report = load_reports.report(kind="server", rate=300, floor=True, reasons=("too short",))

    lines = terminal.text(report).splitlines()

    assert lines[0].split() == ["verdict", "INVALID"]
    assert lines[1].strip() == "too short"
    assert any(line.startswith("goodput") for line in lines)
    assert any("p99.9 n/a (needs 6,636)" in line for line in lines)

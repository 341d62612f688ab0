import re

from sample_results import load_reports

from loadtest.reports.collection import single
from loadtest.reports.pages import markdown_page


def test_markdown_tables_survive_a_servers_message():
    """Bars and line breaks do not end a cell."""
    text = markdown_page.render(single(load_reports.hostile()), "ab" * 32)

    tables = [part.splitlines() for part in text.split("\n\n") if part.startswith("|")]
    widths = [{len(re.findall(r"(?<!\\)\|", line)) for line in lines} for lines in tables]
    assert text.startswith("# Load test no such model")
    assert [len(width) for width in widths] == [1] * 5
    assert "<img" not in text
    assert "\\| " in text

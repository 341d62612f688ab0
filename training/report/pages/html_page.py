"""A report as one HTML file: style, charts and pictures are in it."""

from training.pages.rendering import render as render_template
from training.report.pages.blocks import Heading, Page


def render(page: Page) -> str:
    """Return the page as HTML; every text in it is escaped."""
    sections = [
        block.text for block in page.blocks if isinstance(block, Heading) and block.level == 2
    ]
    anchors = {text: f"section-{number}" for number, text in enumerate(sections, start=1)}
    return render_template("training.report.pages", "report.html", page=page, anchors=anchors)

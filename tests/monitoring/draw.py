"""Draw docs/monitoring.svg: what the dashboard's main queries answer beside two busy servers.

    PYTHONPATH=.:tests .venv/bin/python tests/monitoring/draw.py

This takes three minutes: two servers are called at a steady rate with a burst, Prometheus scrapes
them each second, and the panels' queries are drawn over that time.
"""

import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, MaxNLocator, PercentFormatter
from monitoring import busy_servers
from monitoring.dashboard import FILLED, panels, queries
from monitoring.prometheus_process import Prometheus, prometheus

FILE = Path(__file__).parents[2] / "docs" / "monitoring.svg"
SECONDS, STEP_SECONDS = 120, 3
BURST = (50, 80)
DRAWN = (
    *("Requests by model", "Errors by code", "Answers by API"),
    *("Total", "In the queue", "Run of the model"),
    *("Rows in a run", "Rows", "Queue"),
    *("Versions in service", "CPU", "Memory"),
)
_FORMATS = {"s": EngFormatter("s"), "bytes": EngFormatter("B"), "percentunit": PercentFormatter(1)}
_UNITS = {"reqps": "requests/s", "none": ""}


def rate(seconds: float) -> float:
    """Return the calls a second of each thread, by the seconds since the start."""
    return 60 if BURST[0] <= seconds < BURST[1] else 15


def lines(
    source: Prometheus, title: str, start: float, end: float
) -> list[tuple[str, list[float], list[float]]]:
    """Return the series of a panel: name, seconds since the start, and values."""
    found = []
    for query in (query for query in queries() if query.panel == title):
        data = source.ask(
            "query_range",
            query=query.filled(FILLED | {"__rate_interval": "12s"}),
            start=start,
            end=end,
            step=STEP_SECONDS,
        )
        for series in data["result"]:
            times = [float(time) - start for time, _ in series["values"]]
            values = [float(value) for _, value in series["values"]]
            found.append((query.name_of(series["metric"]), times, values))
    return found


def draw(axes: Axes, panel: dict[str, Any], series: list[Any], names: dict[str, str]) -> None:
    """Draw one panel as lines over the seconds.

    Args:
        axes: Where to draw.
        panel: The panel in the dashboard's JSON.
        series: Its series: name, seconds, values.
        names: What replaces a replica's address, which is a chance one.
    """
    unit = panel["fieldConfig"]["defaults"]["unit"]
    for name, times, values in sorted(series):
        for address, short in names.items():
            name = name.replace(address, short)  # noqa: PLW2901
        axes.plot(times, values, linewidth=1, label=name)
    axes.set_title(panel["title"], fontsize=8, loc="left", fontweight="bold")
    axes.set_ylabel(_UNITS.get(unit, unit.removeprefix("suffix: ")), fontsize=6)
    if unit in _FORMATS:
        axes.yaxis.set_major_formatter(_FORMATS[unit])
        axes.set_ylabel("")
    axes.set_ylim(0, 1.25 * axes.get_ylim()[1])  # leaves room for the legend
    axes.set_xlim(0, SECONDS)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.tick_params(labelsize=6)
    axes.grid(visible=True, axis="y", linewidth=0.3)
    axes.legend(fontsize=5, loc="upper left", frameon=False, ncols=2)


def smaller(svg: str) -> str:
    """Return a picture of Matplotlib with a class for each style, and numbers of one decimal."""
    styles = {
        style: f"s{n}" for n, style in enumerate(sorted(set(re.findall(r'style="(.*?)"', svg))))
    }
    svg = re.sub(r'style="(.*?)"', lambda found: f'class="{styles[found[1]]}"', svg)
    rules = "".join(f".{name}{{{style}}}" for style, name in styles.items())
    svg = svg.replace("</style>", f"{rules}</style>", 1)
    svg = re.sub(r"(?<=[ \"(])-?\d+\.\d{2,}", lambda found: f"{float(found[0]):.1f}", svg)
    return re.sub(r"\s*\n\s*", "\n", svg)


def main() -> None:
    """Run the servers and draw their panels."""
    by_title = {panel["title"]: panel for panel in panels()}
    with tempfile.TemporaryDirectory() as folder, busy_servers.two_servers(Path(folder)) as busy:
        names = {address: f"replica {number + 1}" for number, address in enumerate(busy.pages)}
        with prometheus(busy.pages, Path(folder)) as source:
            time.sleep(5)
            start = time.time()
            with busy_servers.load(busy, rate) as calls:
                time.sleep(SECONDS)
            drawn = {title: lines(source, title, start, start + SECONDS) for title in DRAWN}
    # Text stays text, which is smaller than outlines and can be searched.
    plt.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "monitoring"}
    plt.rcParams["font.sans-serif"] = ["DejaVu Sans"]
    figure, grid = plt.subplots(4, 3, figsize=(11, 9.5), layout="constrained")
    for axes, title in zip(grid.flat, DRAWN, strict=True):
        draw(axes, by_title[title], drawn[title], names)
    for axes in grid[-1]:
        axes.set_xlabel("seconds", fontsize=6)
    figure.suptitle(
        "Drawn from the dashboard's queries, not a screenshot of Grafana: two servers, "
        f"{calls.total():,} calls in {SECONDS} s, four times the rate from {BURST[0]} s to "
        f"{BURST[1]} s",
        fontsize=8,
    )
    figure.savefig(FILE, metadata={"Date": None})
    FILE.write_text(smaller(FILE.read_text()))
    sys.stdout.write(f"{FILE}: {FILE.stat().st_size} bytes, {calls.total()} calls\n")


if __name__ == "__main__":
    main()

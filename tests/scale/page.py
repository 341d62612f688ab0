"""The tables and the chart of docs/scaling.md, from docs/results/scaling.json."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from scale import figures
from scale.simulation import sizing

PAGE = figures.ROOT / "docs" / "scaling.md"
CHART = figures.ROOT / "docs" / "results" / "scaling.svg"
BEGIN = "<!-- {} : written by `python tests/scale page`; do not edit. -->"
END = "<!-- End of {}. -->"
NAMES = {
    "simcnn": "SimCNN int8",
    "resnet50": "ResNet50 int8",
    "resnet50 --precision=w8": "ResNet50 w8",
}
RATES = (1e3, 1e4, 1e5, 1e6, 1e7)
# Bounds of the p99 as multiples of the latency of a call that meets no other.
BOUNDS_MS = {"simcnn": (2, 5, 20), "resnet50": (10, 20, 50)}
PRICE = 0.04

Found = dict[str, Any]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _number(value: float) -> str:
    """Return a number with three digits, and with separators above a thousand."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _service(found: Found) -> str:
    rows = []
    for kind, name in NAMES.items():
        row = found["measured"][f"service {kind}"]
        sizes = [_number(row["run_ms"][size]) for size in ("1", "8", "64")]
        fixed, each = figures.service(row).line()
        server = [_number(row[key]) for key in ("server_ms", "busy_server_ms")]
        rows.append(
            [
                name,
                *sizes,
                *server,
                f"{_number(1e3 * fixed)} + {_number(1e3 * each)} x rows",
                _number(found["simulated"]["capacity"][kind]),
                f"{row['n']['1']:,}, {row['n']['64']:,}",
            ]
        )
    head = ["model", "run of 1 row, ms", "of 8", "of 64", "server's work for a call, 1 caller, ms",
            "32 callers, ms", "executor held (fit), ms", "capacity of a core, images/s",
            "n of a round, 1 row and 64"]  # fmt: skip
    return _table(head, rows)


def _calls(found: Found) -> str:
    rows = []
    for count in (1, 2, 4):
        for way, name in (("direct", "no"), ("envoy", "yes")):
            row = found["measured"][f"calls {way} {count}"]
            values = (row[key] for key in ("server_us", "balancer_us", "client_us"))
            rows.append([str(count), name, *map(_number, values), _number(row["p50_ms"]),
                         str(row["calls"])])  # fmt: skip
    head = ["replicas", "Envoy", "CPU of the replicas, µs", "of Envoy, µs", "of the caller, µs",
            "p50, ms", "n of a round"]  # fmt: skip
    return _table(head, rows)


def _idle(found: Found) -> str:
    rows = []
    for name, row in found["measured"].items():
        if name.startswith("idle "):
            kind, count = name.removeprefix("idle ").split()
            envoy = [
                _number(row[key]) if key in row else ""
                for key in ("balancer_mib", "balancer_core_percent")
            ]
            servers = (row["server_mib"], row["server_core_percent"])
            rows.append([f"{kind}: {count}", *map(_number, servers), *envoy])
    head = ["idle", "servers, MiB", "servers, % of a core", "Envoy, MiB", "Envoy, % of a core"]
    return _table(head, rows)


def _agreement(found: Found) -> str:
    rows = [
        [f"{row['load']:.0%}", _number(row["requests_per_second"]),
         *(_number(row[f"{way}_{name}_ms"]) for name in ("p50", "p99")
           for way in ("real", "simulated")),
         f"{row['p50_error_percent']:+.0f} %, {row['p99_error_percent']:+.0f} %",
         f"{row['runs']} x {row['calls']:,.0f}"]
        for row in found["compared"]["medians"]
    ]  # fmt: skip
    head = ["load", "requests/s", "p50 measured, ms", "simulated", "p99 measured, ms", "simulated",
            "errors", "n"]  # fmt: skip
    return _table(head, rows)


def _curves(found: Found) -> str:
    rows = []
    for index, utilisation in enumerate(sizing.UTILISATIONS):
        row = [f"{utilisation:.0%}"]
        for kind in NAMES:
            for policy in ("least-request", "round-robin"):
                point = found["simulated"][f"{kind}, {policy}"][index]
                row.append(f"{_number(point['p50_ms'])} / {_number(point['p99_ms'])}")
        rows.append(row)
    head = ["load", *(f"{name}, {policy}" for name in NAMES.values()
                      for policy in ("least request", "round robin"))]  # fmt: skip
    return _table(head, rows)


def _sizes(found: Found) -> str:
    rows = []
    for name, point in found["simulated"].items():
        if name.endswith(" at 70 %"):
            count, _, kind = name.removesuffix(" at 70 %").partition(" ")
            rows.append([f"{kind}: {count}", _number(point["p50_ms"]),
                         _number(point["p99_ms"]), _number(point["mean_batch_size"])])  # fmt: skip
    return _table(["at 70 % of capacity", "p50, ms", "p99, ms", "mean batch"], rows)


def _plans(found: Found) -> str:
    rows = []
    costs = figures.costs(found["measured"], PRICE)
    for kind, bounds in BOUNDS_MS.items():
        points = [sizing.Point(**point) for point in found["simulated"][f"{kind}, least-request"]]
        capacity = found["simulated"]["capacity"][kind]
        for bound in bounds:
            try:
                utilisation = sizing.highest_utilisation(points, bound)
            except ValueError:
                rows.append([NAMES[kind], f"{bound} ms", "not within", *["-"] * 6])
                continue
            counts = [sizing.replicas_needed(rate, capacity, utilisation) for rate in RATES]
            price = sizing.plan(RATES[-1], counts[-1], costs).cost_per_million
            rows.append([NAMES[kind], f"{bound} ms", f"{utilisation:.0%}",
                         *(f"{count:,}" for count in counts), f"{price:.2g}"])  # fmt: skip
    head = ["model", "p99 within", "load", *(f"{rate:,.0f}/s" for rate in RATES),
            f"price of a million at {PRICE} a core-hour"]  # fmt: skip
    return _table(head, rows)


def _around(found: Found) -> str:
    rows = []
    costs = figures.costs(found["measured"], PRICE)
    kind, bound = "resnet50", BOUNDS_MS["resnet50"][2]
    points = [sizing.Point(**point) for point in found["simulated"][f"{kind}, least-request"]]
    capacity = found["simulated"]["capacity"][kind]
    utilisation = sizing.highest_utilisation(points, bound)
    for rate in RATES:
        count = sizing.replicas_needed(rate, capacity, utilisation)
        plan = sizing.plan(rate, count, costs)
        values = (rate, plan.replicas, plan.balancers, plan.balancer_cores,
                  plan.connections_per_replica, plan.connections_per_balancer,
                  plan.health_checks_per_replica, plan.update_seconds)  # fmt: skip
        rows.append([f"{value:,.0f}" for value in values])
    head = ["requests/s", "replicas", "balancers of 4 cores", "balancer cores",
            "connections of a replica", "of a balancer to replicas",
            "health checks of a replica a second", "rolling update, s"]  # fmt: skip
    return _table(head, rows)


TABLES: dict[str, Callable[[Found], str]] = {
    "service": _service,
    "calls": _calls,
    "idle": _idle,
    "agreement": _agreement,
    "curves": _curves,
    "sizes": _sizes,
    "plans": _plans,
    "around": _around,
}


def rendered(page: str, found: Found) -> str:
    """Return the page with the tables of these figures.

    Raises:
        ValueError: the page lacks the marks of a table.
    """
    for name, table in TABLES.items():
        begin, end = BEGIN.format(name), END.format(name)
        pattern = re.escape(begin) + r".*?" + re.escape(end)
        text = f"{begin}\n\n{table(found)}\n\n{end}"
        page, count = re.subn(pattern, lambda _, text=text: text, page, flags=re.DOTALL)
        if count != 1:
            msg = f"{PAGE.name} has {count} tables between {begin!r} and {end!r}, expected 1"
            raise ValueError(msg)
    return page


def chart(found: Found, file: Path) -> None:
    """Draw the simulated p99 over the load, for each model and policy."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - only this command needs it

    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    for line in _lines(found):
        axes.plot(line[1], line[2], line[3], color=line[4], label=line[0])
    axes.set(xlabel="load, % of capacity", ylabel="simulated p99, ms", yscale="log")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(file, metadata={"Date": None})


def _lines(found: Found) -> Iterator[tuple[str, list[float], list[float], str, str]]:
    for number, (kind, name) in enumerate(NAMES.items()):
        for policy, style in (("least-request", "-"), ("round-robin", "--")):
            points = found["simulated"][f"{kind}, {policy}"]
            loads = [100 * point["utilisation"] for point in points]
            p99s = [point["p99_ms"] for point in points]
            yield f"{name}, {policy}", loads, p99s, style, f"C{number}"

"""Measures and simulates replicas behind Envoy: the figures of docs/scaling.md.

    python tests/scale measure    measures the numbers of the simulation (10 minutes)
    python tests/scale compare    runs two replicas, and simulates them (20 minutes)
    python tests/scale simulate   simulates the page's fleets with the measured numbers (5 minutes)
    python tests/scale page       writes the tables and the chart of docs/scaling.md
    python tests/scale plan       says what a load needs

The first three write docs/results/scaling.json.
"""

import argparse
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:1] = [str(ROOT), str(ROOT / "tests")]

from scale import comparison, figures, page
from scale.simulation import sizing


def main() -> None:
    """Run a command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("measure")
    compare = commands.add_parser("compare")
    compare.add_argument("--rounds", type=int, default=5, help="runs of each load (5)")
    compare.add_argument("--seconds", type=float, default=60, help="length of a run (60)")
    commands.add_parser("simulate")
    commands.add_parser("page")
    plan = commands.add_parser("plan")
    plan.add_argument("--kind", choices=figures.KINDS, default="resnet50", help="the model")
    plan.add_argument("--rate", type=float, required=True, help="requests a second")
    plan.add_argument("--p99-ms", type=float, required=True, help="bound of the p99 (ms)")
    plan.add_argument("--price", type=float, default=0.04, help="of a core for an hour (0.04)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.command == "measure":
            figures.write(machine=figures.machine(), measured=figures.measure(Path(folder)))
        elif arguments.command == "compare":
            _compare(Path(folder), arguments.rounds, arguments.seconds)
        elif arguments.command == "simulate":
            figures.write(simulated=figures.simulated(figures.read()["measured"]))
        elif arguments.command == "page":
            page.PAGE.write_text(page.rendered(page.PAGE.read_text(), figures.read()))
            page.chart(figures.read(), page.CHART)
        else:
            _plan(arguments)


def _compare(folder: Path, rounds: int, seconds: float) -> None:
    compared = []
    for one in comparison.compare(figures.MODELS, folder, rounds=rounds, seconds=seconds):
        comparison.show(one)
        compared.append(one)
    figures.write(
        compared={
            "machine": figures.machine(),
            "seconds": seconds,
            "medians": comparison.medians(compared),
            "runs": list(map(asdict, compared)),
        }
    )


def _plan(arguments: argparse.Namespace) -> None:
    found = figures.read()
    points = [
        sizing.Point(**point) for point in found["simulated"][f"{arguments.kind}, least-request"]
    ]
    capacity = found["simulated"]["capacity"][arguments.kind]
    try:
        utilisation = sizing.highest_utilisation(points, arguments.p99_ms)
    except ValueError as error:
        sys.exit(str(error))
    replicas = sizing.replicas_needed(arguments.rate, capacity, utilisation)
    result = sizing.plan(
        arguments.rate, replicas, figures.costs(found["measured"], arguments.price)
    )
    for name, value in {"utilisation": utilisation, **asdict(result)}.items():
        print(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")


if __name__ == "__main__":
    main()

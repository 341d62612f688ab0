"""The commands about a published version: its rows, its speed, its accuracy after JPEG."""

import argparse
import json

from export.errors import ExportError
from export.papers import papers, robustness_table, speed_table
from training.data.cifar10 import DataError, load_split, resolve_data_dir


def prove_rows(parsed: argparse.Namespace) -> int:
    """Prove for each graph of a version that rows are independent; record the verdicts."""
    from export.gates import rows

    folder, _ = papers.read(parsed.version)
    papers.replace_signatures(folder, rows.with_verdicts(folder.path, folder.signatures))
    return 0


def benchmark(parsed: argparse.Namespace) -> int:
    """Time the variants of a version and TensorFlow; print and record the result."""
    from export.measure.benchmark import SECTION, Settings, measure

    folder, metrics = papers.read(parsed.version)
    settings = Settings(
        threads=parsed.threads,
        rounds=parsed.rounds,
        seconds=parsed.seconds,
        batch_sizes=tuple(parsed.batch_sizes),
    )
    section = measure(
        folder,
        settings,
        saved_model=parsed.saved_model,
        fp32=parsed.fp32,
        fp32_sha256=(metrics.get("reference") or {}).get("sha256"),
        other_weights=parsed.other_weights,
    )
    if not parsed.print_only:
        papers.add_section(parsed.version, SECTION, section)
    print(speed_table.render(section))
    if parsed.json:
        print(json.dumps(section))
    return 0


def robustness(parsed: argparse.Namespace) -> int:
    """Measure a version's accuracy on recompressed test images; print and record the result."""
    from export.measure.robustness import SECTION, measure, refuse_others

    folder, metrics = papers.read(parsed.version)
    if not papers.was_trained_here(metrics):
        raise refuse_others(folder)
    try:
        split = load_split(resolve_data_dir(parsed.data_dir), "test")
    except DataError as error:
        raise ExportError(str(error)) from error
    section = measure(folder, metrics, split)
    if not parsed.print_only:
        papers.add_section(parsed.version, SECTION, section)
    print(robustness_table.render(section))
    return 0

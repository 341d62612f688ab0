"""The commands about a published version: its rows, its variants, its speed, its robustness."""

import argparse
import json

from export.commands.publish import start_tensorflow
from export.errors import ExportError
from export.papers import held_out_table, papers, robustness_table, speed_table
from training.data.cifar10 import DataError, load_split, resolve_data_dir


def prove_rows(parsed: argparse.Namespace) -> int:
    """Prove for each graph of a version that rows are independent; record the verdicts."""
    from export.gates import rows

    folder, _ = papers.read(parsed.version)
    papers.replace_signatures(folder, rows.with_verdicts(folder.path, folder.signatures))
    return 0


def judge(parsed: argparse.Namespace) -> int:
    """Judge the variants of a version on held-out images; print and record the result.

    Returns:
        1 if a published variant exceeds a limit.
    """
    start_tensorflow()
    from export.precisions import held_out_gate
    from export.publishing import checked_images

    folder, metrics = papers.read(parsed.version)
    if not papers.was_trained_here(metrics):
        msg = (
            f"{folder.path} was not trained here, so the images that its training held out are "
            "not known; python -m export saved-model judges its variants with --test-data"
        )
        raise ExportError(msg)
    held_out = checked_images.read_held_out(
        resolve_data_dir(parsed.data_dir), metrics["training"], used_by=folder.path
    )
    if held_out is None:
        msg = (
            f"the training of {folder.path} held out no images (validation test), so none can "
            "judge its variants; train it with --validation stratified"
        )
        raise ExportError(msg)
    section = held_out_gate.judge(folder, metrics, held_out)
    if not parsed.print_only:
        papers.add_section(parsed.version, held_out_gate.SECTION, section)
    print(held_out_table.render(section))
    return 1 if any(entry.get("objections") for entry in section["variants"].values()) else 0


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

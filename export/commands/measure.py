"""The commands about a published version: its rows, its variants, its speed, its robustness."""

import argparse
import json
from typing import Any

from export.commands.publish import start_tensorflow
from export.errors import ExportError
from export.papers import held_out_table, papers, robustness_table, speed_table
from export.sources import training_run
from serving.repository.model_folder import ModelFolder
from training.data.cifar10 import DataError, Split, resolve_data_dir
from training.sources import opening


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
    from export.measure.robustness import SECTION, measure

    folder, metrics, split = _version_and_test_images(parsed, "robustness recompresses")
    section = measure(folder, metrics, split)
    if not parsed.print_only:
        papers.add_section(parsed.version, SECTION, section)
    print(robustness_table.render(section))
    return 0


def near_ties(parsed: argparse.Namespace) -> int:
    """Find the near ties in a version's answers to the test images; print and record them."""
    from export.measure.near_ties import ENTRY, find

    folder, metrics, split = _version_and_test_images(parsed, "near-ties asks about")
    found = find(folder, metrics, split)
    if not parsed.print_only:
        papers.add_to_variants(
            parsed.version, {name: {ENTRY: ties} for name, ties in found.items()}
        )
    for name, ties in found.items():
        count = len(ties["others"].split())
        share = count / len(split)
        print(f"{name}: {count:,} near ties of {len(split):,} images ({100 * share:.1f} %)")
    return 0


def _version_and_test_images(
    parsed: argparse.Namespace, does: str
) -> tuple[ModelFolder, dict[str, Any], Split]:
    """Read a version that was trained here, and the test images.

    Args:
        parsed: The command line.
        does: What the command does with the test images, after which they are named.

    Raises:
        ExportError: the version was not trained here, or there are no test images.
    """
    folder, metrics = papers.read(parsed.version)
    if not papers.was_trained_here(metrics):
        msg = (
            f"{folder.path} was not trained here: {does} the test images of a training, which this "
            "model does not have; to measure your own pictures, pass them to "
            "python -m export saved-model as --test-data"
        )
        raise ExportError(msg)
    try:
        training = metrics.get("training") or {}
        split = opening.load_split(
            resolve_data_dir(parsed.data_dir),
            "test",
            training_run.image_size(training),
            split_seed=training_run.split_seed(training),
        )
    except DataError as error:
        raise ExportError(str(error)) from error
    return folder, metrics, split

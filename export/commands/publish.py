"""The commands that publish a version from a run, a SavedModel, an ONNX file or another version."""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from export.errors import ExportError
from export.papers import papers
from export.publishing.new_version import PublishedVersion
from serving.repository.model_folder import Precision
from serving.tensors.signature import DEFAULT_SIGNATURE_NAME
from training.data.cifar10 import resolve_data_dir
from training.native_log import quiet


def run(parsed: argparse.Namespace) -> int:
    """Publish a finished training, and time it if --benchmark is given."""
    start_tensorflow()
    from export.publishing import from_run

    published = from_run.publish_run(
        parsed.run_dir,
        parsed.models_dir,
        name=parsed.name,
        data_dir=resolve_data_dir(parsed.data_dir),
        precisions=parsed.precision,
    )
    _print_published(published, published.metrics["variants"])
    return _benchmark_in_own_process(published.path) if parsed.benchmark else 0


def saved_model(parsed: argparse.Namespace) -> int:
    """Publish a `.keras` file or a SavedModel, or every SavedModel of a base path."""
    start_tensorflow()
    from export.convert import keras_file

    if not keras_file.is_keras_file(parsed.source):
        return _saved_models(parsed, parsed.source)
    if not parsed.signature:  # Keras saves the same function by a second name
        parsed.signature = [DEFAULT_SIGNATURE_NAME]
    with keras_file.as_saved_model(parsed.source) as folder:
        return _saved_models(parsed, folder, keras_file=parsed.source)


def _saved_models(
    parsed: argparse.Namespace, source: Path, *, keras_file: Path | None = None
) -> int:
    from export.publishing import from_saved_model
    from export.sources import class_names
    from export.sources import saved_model as sources

    names = class_names.read(parsed.class_names) if parsed.class_names else ()
    found = sources.versions(source)
    if parsed.version is not None and len(found) > 1:
        msg = (
            f"--version {parsed.version} received for {source}, which has the "
            f"versions {', '.join(map(str, found))}; pass the folder of one of them"
        )
        raise ExportError(msg)
    for folder in found.values():  # refuse a bad SavedModel before the first one is published
        sources.read_signatures(folder, parsed.signature)
    for number, folder in found.items():
        version = parsed.version
        if version is None and keras_file is None:
            version = sources.own_number(folder) if number is None else number
        published = from_saved_model.publish_saved_model(
            folder,
            parsed.models_dir,
            name=parsed.name,
            wanted=parsed.signature,
            free_size=parsed.free_size,
            keep_shapes=parsed.keep_shapes,
            version=version,
            class_names=names,
            scores_output=parsed.scores,
            test_data=parsed.test_data,
            precisions=parsed.precision,
            keras_file=keras_file,
        )
        signatures = ", ".join(published.metrics["export"]["signatures"])
        metrics = published.metrics
        if "variants" in metrics:
            _print_published(published, metrics["variants"])
            continue
        compared = "random inputs" + (" and the test data" if parsed.test_data else "")
        print(
            f"published {published.path}: {signatures} (accuracy unknown: compared on {compared})"
        )
    return 0


def onnx(parsed: argparse.Namespace) -> int:
    """Publish an ONNX file that was made elsewhere. TensorFlow is not needed."""
    from export.publishing import from_onnx
    from export.sources import class_names

    published = from_onnx.publish_onnx(
        parsed.file,
        parsed.models_dir,
        name=parsed.name,
        class_names=class_names.read(parsed.class_names) if parsed.class_names else (),
        version=parsed.version,
    )
    print(f"published {published.path}: serving_default (accuracy unknown: no test data)")
    return 0


def add_precision(parsed: argparse.Namespace) -> int:
    """Publish a version again, with more precisions."""
    start_tensorflow()
    from export.publishing import more_precisions

    published = more_precisions.publish(
        parsed.version,
        parsed.models_dir,
        precisions=parsed.precision,
        data_dir=resolve_data_dir(parsed.data_dir),
        test_data=parsed.test_data,
        scores_output=parsed.scores,
    )
    _print_published(published, parsed.precision)
    return 0


def start_tensorflow() -> None:
    """Set the environment that an export needs, over the shell's settings; import TensorFlow."""
    if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
        print(f"KERAS_BACKEND={os.environ['KERAS_BACKEND']} ignored: exports run on tensorflow")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    # The gate compares float32 answers; a GPU would compute in TensorFloat-32.
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    with quiet():
        import tensorflow as tf

        tf.config.list_logical_devices()  # TensorFlow logs its search for a GPU here, not later


def _print_published(published: PublishedVersion, precisions: Iterable[Precision]) -> None:
    variants = published.metrics["variants"]
    for precision in precisions:
        if precision not in variants:
            continue
        result = variants[precision]
        if "top1" not in result:
            print(f"published {published.path}: {precision} (accuracy unknown: no labels)")
            continue
        low, high = result["top1_wilson_95"]
        rows = "test images" if papers.was_trained_here(published.metrics) else "rows"
        judged = "; the same rows judged it" if "judged_on" in result else ""
        print(
            f"published {published.path}: {precision}, {result['top1']:.2%} of {result['n']:,} "
            f"{rows} correct (95 % interval {low:.2%} to {high:.2%}{judged})"
        )


def _benchmark_in_own_process(path: Path) -> int:
    """Measure a published version in a new process, where TensorFlow has not started yet.

    TensorFlow's number of threads can be set only before it starts.

    Returns:
        The exit code of that process.
    """
    arguments = [sys.executable, "-m", "export", "benchmark", str(path)]
    return subprocess.run(arguments, check=False).returncode

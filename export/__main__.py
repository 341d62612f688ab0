"""Publish a model: `python -m export RUN_DIR`, or `... export saved-model DIR --name NAME`."""

import argparse
import logging
import os
import sys
from pathlib import Path

from export.errors import ExportError
from export.native_log import quiet
from training.cifar10 import DATA_DIR_VARIABLE, resolve_data_dir

_SAVED_MODEL = "saved-model"
_FREE_SIZE = 16


def main(arguments: list[str] | None = None) -> int:
    """Publish and print where.

    Returns:
        0 published; 1 the gate failed; 2 bad usage or input; 130 interrupted.
    """
    given = sys.argv[1:] if arguments is None else arguments
    from_saved_model = given[:1] == [_SAVED_MODEL]
    options = _saved_model_parser() if from_saved_model else _run_parser()
    parsed = options.parse_args(given[1:] if from_saved_model else given)
    # To stdout, a line each step; libraries' warnings stay on stderr.
    progress = logging.StreamHandler(sys.stdout)
    logger = logging.getLogger("export")
    logger.handlers, logger.propagate = [progress], False
    logger.setLevel(logging.INFO)
    try:
        _start_tensorflow()
        return _publish_saved_model(parsed) if from_saved_model else _publish_run(parsed)
    except ExportError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("error: interrupted; nothing was published", file=sys.stderr)
        return 130


def _start_tensorflow() -> None:
    """Import TensorFlow and Keras with the settings an export needs, whatever the shell says."""
    if os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
        print(f"KERAS_BACKEND={os.environ['KERAS_BACKEND']} ignored: exports run on tensorflow")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors only: its start-up notes are long
    # The gate compares float32 on the CPU; a GPU would compute in TensorFloat-32.
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    with quiet():
        import tensorflow as tf  # noqa: PLC0415  takes seconds that --help need not

        tf.config.list_logical_devices()  # looks for a GPU, and says so


def _publish_run(parsed: argparse.Namespace) -> int:
    from export import publish  # noqa: PLC0415  imports Keras, see _start_tensorflow

    published = publish.publish_run(
        parsed.run_dir,
        parsed.models_dir,
        name=parsed.name,
        data_dir=resolve_data_dir(parsed.data_dir),
    )
    result = published.metrics["variants"]["fp32"]
    low, high = result["top1_wilson_95"]
    print(
        f"published {published.path}: {result['top1']:.2%} of {result['n']:,} test images correct "
        f"(95 % interval {low:.2%} to {high:.2%})"
    )
    return 0


def _publish_saved_model(parsed: argparse.Namespace) -> int:
    from export import publish  # noqa: PLC0415  imports Keras, see _start_tensorflow

    published = publish.publish_saved_model(
        parsed.saved_model_dir,
        parsed.models_dir,
        name=parsed.name,
        wanted=parsed.signature,
        free_size=parsed.free_size,
    )
    names = ", ".join(published.metrics["export"]["signatures"])
    print(f"published {published.path}: {names} (accuracy unknown: compared on random inputs)")
    return 0


def _run_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m export",
        description="Publish a trained model as SavedModel and ONNX, if both answer all test "
        "images as the Keras model does.",
        epilog="Other models: python -m export saved-model --help",
    )
    parser.add_argument(
        "run_dir", type=Path, metavar="RUN_DIR", help="a finished run of python -m training"
    )
    _add_models_dir(parser)
    parser.add_argument("--name", metavar="NAME", help="model name; default: the run's")
    parser.add_argument(
        "--data-dir",
        metavar="PATH",
        help="folder or archive with CIFAR-10, as for python -m training; default: "
        f"${DATA_DIR_VARIABLE}, else downloaded",
    )
    return parser


def _saved_model_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m export {_SAVED_MODEL}",
        description="Publish any TensorFlow SavedModel that takes tensors or serialized "
        "tf.Examples, if ONNX Runtime answers random inputs as TensorFlow does.",
    )
    parser.add_argument(
        "saved_model_dir", type=Path, metavar="DIR", help="the folder that holds saved_model.pb"
    )
    parser.add_argument("--name", required=True, metavar="NAME", help="model name")
    _add_models_dir(parser)
    parser.add_argument(
        "--signature",
        action="append",
        default=[],
        metavar="NAME",
        help="publish this signature alone; may be repeated (default: all)",
    )
    parser.add_argument(
        "--free-size",
        type=_positive,
        default=_FREE_SIZE,
        metavar="N",
        help="size of free dimensions, the batch apart, in the random inputs (default %(default)s)",
    )
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        msg = f"{number} received, expected 1 or more"
        raise argparse.ArgumentTypeError(msg)
    return number


def _add_models_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--models-dir",
        type=Path,
        default=Path("models"),
        metavar="DIR",
        help="the version becomes DIR/NAME/N (default: models)",
    )


if __name__ == "__main__":
    sys.exit(main())

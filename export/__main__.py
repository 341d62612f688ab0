"""Publish a model: `python -m export RUN_DIR`, or `... export saved-model DIR --name NAME`.

`... export add-precision VERSION_FOLDER` makes other precisions of what is published already.
Published versions are measured and described by `... export benchmark|robustness|tables`.
"""

import argparse
import logging
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from export import commands
from export.errors import ExportError
from export.native_log import quiet
from serving.repository.model_folder import PRECISIONS, Precision
from training.data.cifar10 import DATA_DIR_VARIABLE, resolve_data_dir

if TYPE_CHECKING:
    from export.publishing.from_run import Published

_SAVED_MODEL = "saved-model"
_ADD_PRECISION = "add-precision"
_FREE_SIZE = 16
# What serves without being asked for: a small file, and a fast one where it is faster.
_DEFAULT_PRECISIONS = "fp32,w8,int8"


def main(arguments: list[str] | None = None) -> int:
    """Publish and print where, or run one of the other commands.

    Returns:
        0 done; 1 the gate failed, or a document is out of date; 2 bad usage or input; 130
        interrupted.
    """
    given = sys.argv[1:] if arguments is None else arguments
    parsers = {
        _SAVED_MODEL: _saved_model_parser,
        _ADD_PRECISION: _add_precision_parser,
        **commands.PARSERS,
    }
    name = given[0] if given and given[0] in parsers else ""
    parsed = parsers.get(name, _run_parser)().parse_args(given[1:] if name else given)
    # To stdout, a line each step; libraries' warnings stay on stderr.
    progress = logging.StreamHandler(sys.stdout)
    logger = logging.getLogger("export")
    logger.handlers, logger.propagate = [progress], False
    logger.setLevel(logging.INFO)
    try:
        if name in commands.PARSERS:
            print(commands.run(name, parsed))
            return 0
        _start_tensorflow()
        if name == _ADD_PRECISION:
            return _publish_more_precisions(parsed)
        return _publish_saved_model(parsed) if name else _publish_run(parsed)
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
    from export.publishing import from_run  # noqa: PLC0415  imports Keras, see _start_tensorflow

    published = from_run.publish_run(
        parsed.run_dir,
        parsed.models_dir,
        name=parsed.name,
        data_dir=resolve_data_dir(parsed.data_dir),
        precisions=parsed.precision,
    )
    _print_published(published, published.metrics["variants"])
    return commands.benchmark_in_own_process(published.path) if parsed.benchmark else 0


def _publish_more_precisions(parsed: argparse.Namespace) -> int:
    from export.publishing import more_precisions  # noqa: PLC0415  imports Keras, see _start_tensorflow

    published = more_precisions.publish(
        parsed.version,
        parsed.models_dir,
        precisions=parsed.precision,
        data_dir=resolve_data_dir(parsed.data_dir),
    )
    _print_published(published, [*parsed.precision])
    return 0


def _print_published(published: "Published", precisions: Iterable[Precision]) -> None:
    variants = published.metrics["variants"]
    for precision in precisions:
        if precision not in variants:
            continue
        result = variants[precision]
        low, high = result["top1_wilson_95"]
        print(
            f"published {published.path}: {precision}, {result['top1']:.2%} of {result['n']:,} "
            f"test images correct (95 % interval {low:.2%} to {high:.2%})"
        )


def _publish_saved_model(parsed: argparse.Namespace) -> int:
    from export.publishing import from_run  # noqa: PLC0415  imports Keras, see _start_tensorflow

    published = from_run.publish_saved_model(
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
        epilog="Other models: python -m export saved-model --help. On published versions: python "
        "-m export add-precision | benchmark | robustness | tables, each with --help",
    )
    parser.add_argument(
        "run_dir", type=Path, metavar="RUN_DIR", help="a finished run of python -m training"
    )
    _add_models_dir(parser)
    parser.add_argument("--name", metavar="NAME", help="model name; default: the run's")
    _add_data_dir(parser)
    parser.add_argument(
        "--precision",
        type=_precisions,
        default=_DEFAULT_PRECISIONS,
        metavar="LIST",
        help=f"what to publish, of {', '.join(PRECISIONS)}: fp32 is model.onnx and the SavedModel; "
        "w8 a quarter of its size, with weights in 8 bits; int8 the fastest on CPUs, with weights "
        "and activations in 8 bits; fp16 for GPUs. All but fp32 must agree with it on the test "
        "images, and int8 be faster on this machine; those that do not are left out. A list "
        "without fp32 leaves out model.onnx and the SavedModel (default: %(default)s)",
    )
    parser.add_argument(
        "--benchmark",
        action="store_true",
        help="then time it beside TensorFlow, as python -m export benchmark does",
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


def _add_precision_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m export {_ADD_PRECISION}",
        description="Publish a version of a CIFAR-10 classifier once more, with other precisions "
        "among its files. They are made of its model.onnx, or of its model.w8.onnx, and judged by "
        "the recorded answers of the float32 model. The given version stays as it is.",
    )
    parser.add_argument(
        "version", type=Path, metavar="VERSION_FOLDER", help="for example models/simcnn/1"
    )
    _add_models_dir(parser)
    _add_data_dir(parser)
    parser.add_argument(
        "--precision",
        type=_variants,
        required=True,
        metavar="LIST",
        help=f"what to make, of {', '.join(PRECISIONS[1:])}",
    )
    return parser


def _variants(text: str) -> tuple[Precision, ...]:
    precisions = _precisions(text)
    if "fp32" in precisions:
        msg = "fp32 received, expected others: it comes from a training alone"
        raise argparse.ArgumentTypeError(msg)
    return precisions


def _precisions(text: str) -> tuple[Precision, ...]:
    named = [name.strip() for name in text.split(",")]
    unknown = [name for name in named if name not in PRECISIONS]
    if unknown:
        received, known = ", ".join(map(repr, unknown)), ", ".join(PRECISIONS)
        msg = f"{received} received, expected a list of {known}"
        raise argparse.ArgumentTypeError(msg)
    return tuple(precision for precision in PRECISIONS if precision in named)


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


def _add_data_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data-dir",
        metavar="PATH",
        help="folder or archive with CIFAR-10, as for python -m training; default: "
        f"${DATA_DIR_VARIABLE}, else downloaded",
    )


if __name__ == "__main__":
    sys.exit(main())

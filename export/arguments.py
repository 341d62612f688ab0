"""The command line of `python -m export`: its commands, and the flags of each."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from export.commands import argument_types
from serving.repository.model_folder import PRECISIONS
from training.evaluation.provenance import program_version
from training.settings.arguments import add_data_dir

# `python -m export RUN_DIR`: the only command without a name on the command line.
PUBLISH_RUN = "publish a run"
# Besides float32: w8 for a small file, and int8 for speed; the gate drops int8 where it is slower.
_DEFAULT_PRECISIONS = "fp32,w8,int8"
_CIFAR10 = "the data of the training, as for python -m training"


@dataclass(frozen=True, kw_only=True)
class _Command:
    """A command that is named on the command line.

    Attributes:
        summary: The command's line in `python -m export --help`.
        description: The first paragraph of the command's own --help.
        add_flags: Adds the command's flags to a parser.
    """

    summary: str
    description: str
    add_flags: Callable[[argparse.ArgumentParser], None]


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse a command line. After bad usage or --help, argparse ends the process.

    Args:
        arguments: The command line without the program's name. If the first argument names no
            command, the command is PUBLISH_RUN.

    Returns:
        The values of the flags, and `command`: the name of the command, or PUBLISH_RUN.
    """
    name = arguments[0] if arguments and arguments[0] in _COMMANDS else PUBLISH_RUN
    if name == PUBLISH_RUN:
        parsed = _run_parser().parse_args(arguments)
    else:
        command = _COMMANDS[name]
        parser = argparse.ArgumentParser(
            prog=f"python -m export {name}", description=command.description
        )
        command.add_flags(parser)
        _add_debug(parser)
        parsed = parser.parse_args(arguments[1:])
    parsed.command = name
    return parsed


def _run_parser() -> argparse.ArgumentParser:
    width = max(map(len, _COMMANDS))
    commands = [f"  {name:<{width}}  {command.summary}" for name, command in _COMMANDS.items()]
    parser = argparse.ArgumentParser(
        prog="python -m export",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Publish a trained model as SavedModel and ONNX, if both answer all test\n"
        "images as the Keras model does.",
        epilog="\n".join(["other commands, each with its own --help:", *commands]),
    )
    parser.add_argument("--version", action="version", version=program_version())
    parser.add_argument(
        "run_dir", type=Path, metavar="RUN_DIR", help="a finished run of python -m training"
    )
    _add_models_dir(parser)
    parser.add_argument(
        "--name", metavar="NAME", help="model name (default: the run's architecture)"
    )
    add_data_dir(parser, _CIFAR10)
    parser.add_argument(
        "--precision",
        type=argument_types.precisions,
        default=_DEFAULT_PRECISIONS,
        metavar="LIST",
        help=f"precisions to publish, separated by commas, from {', '.join(PRECISIONS)}. fp32 is "
        "model.onnx and the SavedModel. w8 has weights in 8 bits and a quarter of the size. int8 "
        "has weights and activations in 8 bits and is the fastest on CPUs. fp16 is for GPUs. A "
        "precision other than fp32 is left out if it does not agree with fp32 on training images "
        "that the training held out, and int8 also if it is not faster than fp32 on this machine. "
        "Without fp32 in the list, model.onnx and the SavedModel are not published (default: "
        "%(default)s)",
    )
    parser.add_argument(
        "--benchmark",
        action="store_true",
        help="after publishing, run python -m export benchmark on the version",
    )
    _add_debug(parser)
    return parser


def _add_saved_model_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        type=Path,
        metavar="SOURCE",
        help="a .keras file, or a folder that holds saved_model.pb. If the folder holds numbered "
        "folders with SavedModels instead, as TensorFlow Serving's --model_base_path does, each is "
        "published under its number. A .keras file with layers or functions of your own cannot be "
        "loaded here: call model.export(DIR) in the script that trains the model, and pass DIR",
    )
    parser.add_argument("--name", required=True, metavar="NAME", help="model name")
    _add_models_dir(parser)
    _add_version_number(parser, "the folder's name if it is a number, otherwise the next version")
    parser.add_argument(
        "--signature",
        action="append",
        default=[],
        metavar="NAME",
        help="publish only this signature; may be repeated (default: all signatures; of a .keras "
        "file serving_default)",
    )
    parser.add_argument(
        "--free-size",
        type=argument_types.positive,
        metavar="N",
        help="size of free dimensions in the random inputs. If TensorFlow refuses batches of 1 and "
        "5 rows, the first dimension gets this size too (default: 16; if TensorFlow refuses that, "
        "224 and then 16000)",
    )
    parser.add_argument(
        "--keep-shapes",
        action="store_true",
        help="let the graph accept only the shapes that the SavedModel's placeholders declare. By "
        "default the export tries other shapes in TensorFlow, and the graph accepts those that "
        "TensorFlow answers if that costs no speed",
    )
    _add_class_names(
        parser,
        "none). With class names, a model of pictures (uint8 or float32, shape (-1, height, width, "
        "3 or 1)) gets a signature classify: it takes PNG and JPEG files, scales them to height "
        "and width, passes their pixels on as values from 0 to 255, and answers class names",
    )
    _add_scores(parser)
    _add_test_data(parser)
    parser.add_argument(
        "--precision",
        type=argument_types.precisions,
        default="fp32",
        metavar="LIST",
        help=f"precisions to publish, separated by commas, from {', '.join(PRECISIONS)}. Others "
        "than fp32 need --test-data: each is left out if it does not agree with fp32 on it, and "
        "int8 also if it is not faster than fp32 on this machine. A fifth of the rows (50 to 500) "
        "calibrate int8, the other rows judge it (default: fp32)",
    )


def _add_scores(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--scores",
        metavar="OUTPUT",
        help="the output with a score for each class, probabilities or logits (default: the only "
        "float output of shape (-1, classes), or the one with a usual name such as probabilities)",
    )


def _add_test_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--test-data",
        type=Path,
        metavar="DIR|FILE.npz",
        help="test data for the first signature. FILE.npz: an array for each input by its name "
        "(any name if there is one input), and labels, the class indices, if they are known. DIR: "
        "one folder of PNG or JPEG files a class; the sorted names of the folders are the class "
        "names, unless --class-names gives the order. Pictures are scaled to the height and width "
        "of the input; their pixels stay values from 0 to 255, so a model needs its own scaling, "
        "such as a Rescaling layer",
    )


def _add_class_names(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--class-names",
        type=Path,
        metavar="FILE",
        help="file with the class names in output order: one a line, or a JSON list (default: "
        + default,
    )


def _add_onnx_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="the ONNX file; its external data files (weights) are copied with it",
    )
    parser.add_argument("--name", required=True, metavar="NAME", help="model name")
    _add_models_dir(parser)
    _add_version_number(parser, "the next version")
    _add_class_names(
        parser, "the class names in the model's metadata, or the labels of its ZipMap)"
    )


def _add_version_number(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        "--version",
        type=argument_types.version_number,
        metavar="N",
        help=f"number of the version (default: {default})",
    )


def _add_add_precision_flags(parser: argparse.ArgumentParser) -> None:
    _add_version(parser)
    _add_models_dir(parser)
    add_data_dir(parser, _CIFAR10)
    _add_scores(parser)
    _add_test_data(parser)
    parser.add_argument(
        "--precision",
        type=argument_types.precisions_but_fp32,
        required=True,
        metavar="LIST",
        help=f"precisions to make, separated by commas, from {', '.join(PRECISIONS[1:])}",
    )


def _add_benchmark_flags(parser: argparse.ArgumentParser) -> None:
    _add_version(parser)
    _add_print_only(parser)
    parser.add_argument(
        "--saved-model",
        type=Path,
        metavar="DIR",
        help="folder that holds saved_model.pb (default: the version, if it has a SavedModel)",
    )
    parser.add_argument(
        "--fp32",
        type=Path,
        metavar="PATH",
        help="the float32 model.onnx, or its folder; needed if the version has no model.onnx",
    )
    parser.add_argument(
        "--other-weights",
        action="store_true",
        help="--saved-model and --fp32 come from another training of the same architecture",
    )
    parser.add_argument(
        "--threads",
        type=argument_types.positive,
        default=1,
        metavar="N",
        help="threads inside one run, in ONNX Runtime and in TensorFlow (default %(default)s)",
    )
    parser.add_argument(
        "--rounds",
        type=argument_types.positive,
        default=5,
        metavar="N",
        help="turns of each variant and batch size (default %(default)s)",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=0.3,
        metavar="S",
        help="length of a turn (default %(default)s)",
    )
    parser.add_argument(
        "--batch-sizes",
        type=argument_types.positive,
        nargs="+",
        default=[1, 8, 32, 128],
        metavar="N",
        help="images a batch (default: 1 8 32 128)",
    )
    parser.add_argument("--json", action="store_true", help="print the record as the last line")


def _add_images_flags(parser: argparse.ArgumentParser) -> None:
    _add_version(parser)
    _add_print_only(parser)
    add_data_dir(parser, _CIFAR10)


def _add_tables_flags(parser: argparse.ArgumentParser) -> None:
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--write", action="store_true", help="write documents that are out of date")
    mode.add_argument("--check", action="store_true", help="exit with 1 if one is out of date")
    parser.add_argument(
        "--add-run",
        type=Path,
        action="append",
        default=[],
        metavar="RUN_DIR",
        help="store the result of a finished training, then write; may be repeated",
    )
    for flag, default, text in (
        ("--models-dir", "models", "folder of the models"),
        ("--readme", "README.md", "document with the two markers"),
        ("--results-dir", "docs/results/training", "results of trainings"),
        ("--training", "docs/training.md", "document about the trainings"),
    ):
        parser.add_argument(
            flag, type=Path, default=Path(default), metavar="PATH", help=f"{text} ({default})"
        )


def _add_version(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "version", type=Path, metavar="VERSION_FOLDER", help="for example models/simcnn/1"
    )


def _add_debug(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--debug",
        action="store_true",
        help="print an error's traceback before its message, and TensorFlow's start-up notes",
    )


def _add_print_only(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--print-only", action="store_true", help="print without recording")


def _add_models_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--models-dir",
        type=Path,
        default=Path("models"),
        metavar="DIR",
        help="the version becomes DIR/NAME/N (default: models)",
    )


_COMMANDS = {
    "saved-model": _Command(
        summary="publish a .keras file or a SavedModel made elsewhere",
        description="Publish a .keras file, or a TensorFlow SavedModel that takes tensors or "
        "serialized tf.Examples, if ONNX Runtime and TensorFlow give the same answers to random "
        "inputs.",
        add_flags=_add_saved_model_flags,
    ),
    "onnx": _Command(
        summary="publish an ONNX file made elsewhere",
        description="Publish an ONNX file with its signature, class names, a proof that its "
        "requests may be batched, a manifest and a model card, if ONNX Runtime loads it and its "
        "inputs and outputs are tensors. A ZipMap behind a classifier is removed.",
        add_flags=_add_onnx_flags,
    ),
    "add-precision": _Command(
        summary="publish a version again, with more precisions",
        description="Publish a classifier's version again, with more precisions, made from its "
        "model.onnx or model.w8.onnx and compared with the float32 model's answers: to held-out "
        "images of its training (--data-dir) if it was trained here, else to your --test-data.",
        add_flags=_add_add_precision_flags,
    ),
    "prove-rows": _Command(
        summary="prove that a version's requests may be batched",
        description="Test for every graph of a version whether its rows are independent; record "
        "the verdicts in signature.json and model card, as every publication does today.",
        add_flags=_add_version,
    ),
    "judge": _Command(
        summary="judge a version's variants again, on held-out images",
        description="Judge the variants of a version that was trained here on the training images "
        "that its training held out, as the export does before it publishes them, and record the "
        "figures in the version's metrics.json and model card. The variants are compared with "
        "fp32; if the version does not have it, with the most precise variant. The exit code is 1 "
        "if a variant exceeds a limit.",
        add_flags=_add_images_flags,
    ),
    "benchmark": _Command(
        summary="time each ONNX variant of a version, and TensorFlow, in turns",
        description="Time each ONNX variant of a version and TensorFlow in turns on this machine; "
        "record images/s, milliseconds and CPU time in metrics.json and model card.",
        add_flags=_add_benchmark_flags,
    ),
    "robustness": _Command(
        summary="measure the accuracy on test images recompressed as JPEG",
        description="Measure the accuracy on the test images recompressed as JPEG (quality 75 and "
        "95, 4:2:0); record it in metrics.json and model card.",
        add_flags=_add_images_flags,
    ),
    "near-ties": _Command(
        summary="record the near ties in a version's answers to the test images",
        description="Record the classes that nearly won, which another processor may answer, as "
        "every publication does today.",
        add_flags=_add_images_flags,
    ),
    "tables": _Command(
        summary="write or check model cards and the tables in README.md and docs",
        description="Write the model cards and the tables in README.md and docs/training.md from "
        "the metrics.json of each version. Without --write or --check, print the README's tables.",
        add_flags=_add_tables_flags,
    ),
}

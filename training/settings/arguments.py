"""The flags of `python -m training MODEL`; a setting that is not given is None (see recipes)."""

import argparse
from pathlib import Path
from typing import Literal, get_args

from training.data import cifar10
from training.settings import recipes


def parser() -> argparse.ArgumentParser:
    """The command's flags, in the groups that --help shows."""
    parser = argparse.ArgumentParser(
        prog="python -m training",
        usage="%(prog)s {simcnn,resnet50} [flags]\n       %(prog)s report RUN [RUN ...]",
        description="Train a CIFAR-10 classifier. The same command resumes a run that was killed.",
        epilog="Settings that are not given come from the recipe. The variable KERAS_BACKEND "
        "chooses tensorflow (default), jax or torch. docs/retraining.md explains each flag; "
        "`python -m training report --help` is about reports of finished runs.",
    )
    parser.add_argument(
        "model",
        choices=get_args(recipes.ModelName),
        help="architecture: simcnn (122,570 parameters) or resnet50 (25,696,138)",
    )
    _files(parser.add_argument_group("files"))
    _learning(parser.add_argument_group("recipe and learning"))
    _images(parser.add_argument_group("training and validation images"))
    _start(parser.add_argument_group("model"))
    _speed(parser.add_argument_group("speed and memory"))
    return parser


def add_data_dir(
    parser: argparse._ActionsContainer, content: str, *, otherwise: str = "downloaded"
) -> None:
    """Add --data-dir; its value goes through training.data.cifar10.resolve_data_dir.

    Args:
        parser: A parser, or a group of its flags.
        content: What PATH is, for --help.
        otherwise: What happens if neither the flag nor the variable is set, for --help.
    """
    parser.add_argument(
        "--data-dir",
        metavar="PATH",
        help=f"{content}; default: ${cifar10.DATA_DIR_VARIABLE}, else {otherwise}",
    )


def _files(group: argparse._ArgumentGroup) -> None:
    add_data_dir(
        group,
        "folder or archive with CIFAR-10 as binary or Python batches or as train/<class>/ and "
        "test/<class>/ images",
    )
    group.add_argument(
        "--run-dir",
        type=Path,
        metavar="DIR",
        help="where everything is written; default: runs/MODEL-RECIPE",
    )
    group.add_argument(
        "--mlflow",
        metavar="URI|DIR",
        help="log to an MLflow server or store as well, or to a store made in a folder; needs the "
        "extra mlflow",
    )


def _learning(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--recipe",
        choices=get_args(recipes.RecipeName),
        default="best",
        help="best (default), or report: the published protocol, flaws included, to compare with",
    )
    group.add_argument(
        "--seed", type=int, metavar="N", help="seed of everything random (default 0)"
    )
    group.add_argument("--epochs", type=int, metavar="N", help="passes over the training images")
    group.add_argument(
        "--batch-size", type=int, metavar="N", help="images a step, over all devices together"
    )
    group.add_argument(
        "--accumulate-steps",
        type=int,
        metavar="N",
        help="steps to an update of the weights, which then is one of batches N times as large",
    )
    group.add_argument("--optimizer", choices=get_args(recipes.OptimizerName))
    group.add_argument(
        "--learning-rate", type=float, metavar="X", help="of an update; the peak with cosine"
    )
    group.add_argument(
        "--schedule",
        choices=get_args(recipes.Schedule),
        help="learning rate: constant, or warm-up and then a cosine down to 0 at the last epoch",
    )
    group.add_argument("--warmup-epochs", type=int, metavar="N", help="epochs of linear warm-up")
    group.add_argument(
        "--weight-decay", type=float, metavar="X", help="decoupled: rate x X of a weight an update"
    )
    group.add_argument(
        "--label-smoothing", type=float, metavar="X", help="share of a target, 0 to below 1"
    )
    group.add_argument(
        "--ema-span",
        type=float,
        metavar="X",
        help="average the weights over this share of all updates, 0 to below 1; 0 is off",
    )
    group.add_argument(
        "--early-stopping",
        type=int,
        metavar="EPOCHS",
        help="stop after EPOCHS epochs without a better validation accuracy, and save the weights "
        "of the best one; 0 is off (default)",
    )


def _images(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--crop-padding",
        type=int,
        metavar="PIXELS",
        help="random crops out of a border of PIXELS, 0 to 31; 0 is off",
    )
    group.add_argument(
        "--flip",
        action=argparse.BooleanOptionalAction,
        help="mirror half of the training images, or do not",
    )
    group.add_argument(
        "--validation",
        choices=get_args(recipes.Validation),
        help="validation images: drawn from the training images alike for each class (stratified), "
        "their tail, or the test images",
    )
    group.add_argument(
        "--validation-fraction",
        type=float,
        metavar="X",
        help="share of the training images, 0 to 1 (default 0.1)",
    )


def _start(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--weights",
        metavar="none|imagenet|PATH",
        help="initial weights; PATH is a .keras file of an earlier run, or an .h5 file of "
        "ResNet50's ImageNet weights without top",
    )
    group.add_argument(
        "--upsample",
        type=int,
        choices=(1, 2, 4, 7),
        help="enlarge images by this factor before resnet50 (7 = 224x224 pixels, the size that "
        "ImageNet weights know)",
    )


def _speed(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--devices",
        type=_device_count,
        default=1,
        metavar="N|all",
        help="GPUs to divide each batch among (default 1); tensorflow and jax",
    )
    group.add_argument(
        "--mixed-precision",
        choices=get_args(recipes.Precision),
        help="compute type: bfloat16 pays on GPUs and CPUs with AMX, float16 on GPUs; the saved "
        "model is float32 all the same",
    )
    group.add_argument(
        "--jit",
        choices=get_args(recipes.Switch),
        dest="xla",
        help="compile the step with XLA; auto (default) leaves it out with tensorflow on a CPU",
    )
    group.add_argument(
        "--xla", choices=get_args(recipes.Switch), dest="xla", help=argparse.SUPPRESS
    )
    group.add_argument(
        "--fast-layers",
        choices=get_args(recipes.Switch),
        help="train with equivalent layers that are faster on a CPU, tensorflow only; auto "
        "(default) does for resnet50",
    )


def _device_count(text: str) -> int | Literal["all"]:
    if text == "all":
        return "all"
    if text.isdecimal() and int(text):
        return int(text)
    msg = f"{text!r} received, expected 1 or more, or all"
    raise argparse.ArgumentTypeError(msg)

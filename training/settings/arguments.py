"""The flags of `python -m training MODEL`.

A setting of the recipe that is not given is None; `recipes.from_recipe` then uses the recipe's.
"""

import argparse
from pathlib import Path
from typing import Literal, get_args

from training.data import cifar10
from training.evaluation.provenance import program_version
from training.settings import recipes
from training.settings.report_differences import REPORT_DIFFERENCES
from training.settings.train_config import KERAS_PREFIX

_RUNS = Path("runs")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command, with its flags in the groups that --help shows."""
    parser = argparse.ArgumentParser(
        prog="python -m training",
        usage="%(prog)s {simcnn,resnet50,keras:NAME} [flags]\n       %(prog)s inspect DIR\n"
        "       %(prog)s search {simcnn,resnet50,keras:NAME} [flags]\n"
        "       %(prog)s predict RUN PATH [PATH ...]\n       %(prog)s report RUN [RUN ...]",
        description="Train a classifier of CIFAR-10 or of your own pictures. The same command "
        "resumes a run that was killed.",
        epilog="Settings that are not given come from the recipe. The variable KERAS_BACKEND "
        "chooses tensorflow (default), jax or torch. docs/retraining.md explains each flag; "
        f"`python -m training report --help` is about reports of finished runs. {_differences()}",
    )
    add_model(parser)
    parser.add_argument("--version", action="version", version=program_version())
    _files(parser.add_argument_group("files"))
    add_settings(parser)
    return parser


def default_run_dir(model: str, recipe: str | None) -> Path:
    """Return the folder of a training without --run-dir: runs/MODEL-RECIPE.

    Args:
        model: Name of the architecture.
        recipe: Name of the recipe; None for that of the architecture.
    """
    name = model.removeprefix(KERAS_PREFIX)
    return _RUNS / f"{name}-{recipe or recipes.default_recipe(model)}"


def default_search_dir(model: str, recipe: str | None) -> Path:
    """Return the folder of a search without --output-dir: runs/search-MODEL-RECIPE."""
    return _RUNS / f"search-{default_run_dir(model, recipe).name}"


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the positional argument for the architecture."""
    parser.add_argument(
        "model",
        choices=get_args(recipes.ModelName),
        help="architecture: simcnn (122,570 parameters for CIFAR-10), resnet50 (25,696,138), or "
        "keras:NAME, a family of keras.applications with its preprocessing in the graph",
    )


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add the flags of all settings of a training, in groups."""
    _learning(parser.add_argument_group("recipe and learning"))
    _images(parser.add_argument_group("training and validation images"))
    _start(parser.add_argument_group("model"))
    _speed(parser.add_argument_group("speed and memory"))


def _differences() -> str:
    """Return where the recipe `report` differs from the published protocol."""
    told = [
        f"{model}: {' '.join(differences)}" for model, differences in REPORT_DIFFERENCES.items()
    ]
    return " ".join(["The recipe report differs from the published protocol.", *told])


def add_data_dir(
    parser: argparse._ActionsContainer, content: str, *, otherwise: str = "downloaded"
) -> None:
    """Add --data-dir; its value goes through training.data.cifar10.resolve_data_dir.

    Args:
        parser: A parser, or a group of its flags.
        content: Description of PATH for --help.
        otherwise: Text for --help about the case that neither flag nor variable is set.
    """
    parser.add_argument(
        "--data-dir",
        metavar="PATH",
        help=f"{content}; default: ${cifar10.DATA_DIR_VARIABLE}, else {otherwise}",
    )


def add_pictures(group: argparse._ArgumentGroup) -> None:
    """Add the flags of the data of a training."""
    add_data_dir(
        group,
        "folder of pictures as train/<class>/ and test/<class>/ or as <class>/, table of paths and "
        "labels, data set of Hugging Face; or folder or archive with CIFAR-10 as binary or Python "
        "batches",
    )
    group.add_argument(
        "--refuse-broken",
        action="store_true",
        help="end with code 2 if a file is no readable picture, and do not leave it out",
    )
    group.add_argument(
        "--data-licence",
        metavar="TEXT",
        help="licence of the pictures, for the model card of a published version",
    )


def _files(group: argparse._ArgumentGroup) -> None:
    add_pictures(group)
    group.add_argument(
        "--run-dir",
        type=Path,
        metavar="DIR",
        help="folder for all files of the run; default: runs/MODEL-RECIPE",
    )
    group.add_argument(
        "--mlflow",
        metavar="URI|DIR",
        help="also log to an MLflow server or store, or to a new store in a folder; needs the "
        "extra mlflow",
    )


def _learning(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--recipe",
        choices=get_args(recipes.RecipeName),
        help="best (default); finetune (default of keras:NAME): for trained --weights; "
        "report: the published protocol with its flaws, for comparison, with "
        "the differences listed below; gpu-5min and gpu-15min: for resnet50 on a fast GPU",
    )
    group.add_argument(
        "--seed", type=int, metavar="N", help="seed of all random choices (default 0)"
    )
    group.add_argument("--epochs", type=int, metavar="N", help="passes over the training images")
    group.add_argument(
        "--batch-size", type=int, metavar="N", help="images in a step, over all devices together"
    )
    group.add_argument(
        "--accumulate-steps",
        type=int,
        metavar="N",
        help="steps whose gradients are averaged for one update, as with batches N times as large",
    )
    group.add_argument("--optimizer", choices=get_args(recipes.OptimizerName))
    group.add_argument(
        "--learning-rate", type=float, metavar="X", help="constant rate, or the peak with cosine"
    )
    group.add_argument(
        "--schedule",
        choices=get_args(recipes.Schedule),
        help="learning rate: constant, or warm-up and then a cosine down to 0 at the last epoch",
    )
    group.add_argument("--warmup-epochs", type=int, metavar="N", help="epochs of linear warm-up")
    group.add_argument(
        "--weight-decay",
        type=float,
        metavar="X",
        help="decoupled: each update shrinks a weight by learning rate x X",
    )
    group.add_argument(
        "--label-smoothing",
        type=float,
        metavar="X",
        help="share of the target spread over all classes, 0 to below 1",
    )
    group.add_argument(
        "--class-weights",
        action=argparse.BooleanOptionalAction,
        help="weigh the loss of an image by its class, so that all classes count alike",
    )
    group.add_argument(
        "--clip-norm",
        type=float,
        metavar="X",
        help="scale gradients down whose norm over all weights is above X; 0 is off",
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
    group.add_argument(
        "--calibrate",
        action=argparse.BooleanOptionalAction,
        help="divide the logits of the saved model by the temperature that fits the validation "
        "images best, so that its probabilities are nearer to its accuracy",
    )
    group.add_argument(
        "--time-budget",
        type=int,
        metavar="SECONDS",
        help="end the training, its evaluation included, within SECONDS, with at most --epochs "
        "epochs; 0 is off (default)",
    )


def _images(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--crop-padding",
        type=int,
        metavar="PIXELS",
        help="take random crops after adding a border of PIXELS, 0 to 31; 0 is off",
    )
    group.add_argument(
        "--flip",
        action=argparse.BooleanOptionalAction,
        help="mirror half of the training images",
    )
    group.add_argument(
        "--cutout",
        type=int,
        metavar="PIXELS",
        help="cut a square of this side out of each training image; 0 is off",
    )
    group.add_argument(
        "--mixup",
        type=float,
        metavar="ALPHA",
        help="mix each training image and its target with another one's, with a share from "
        "Beta(ALPHA, ALPHA), 0.01 to 10; 0 is off",
    )
    group.add_argument(
        "--randaugment",
        type=int,
        metavar="N",
        help="change each training image by N of RandAugment's operations, 1 to 4, such as "
        "rotation, contrast and sharpness; 0 is off (default)",
    )
    group.add_argument(
        "--randaugment-magnitude",
        type=int,
        metavar="M",
        help="strength of these operations, 0 to 30 (default 9)",
    )
    group.add_argument(
        "--validation",
        choices=get_args(recipes.Validation),
        help="validation images: the same share of each class of the training images (stratified), "
        "their tail, those of the folder val (folder, the default if there is one), or the test "
        "images; with test, no image is held out to judge the export's "
        "variants, and the run has no place in a report's ranking",
    )
    group.add_argument(
        "--validation-fraction",
        type=float,
        metavar="X",
        help="share of the training images used for validation, 0 to 1 (default 0.1)",
    )
    group.add_argument(
        "--split-seed",
        type=int,
        metavar="N",
        help="seed of the test pictures that are drawn if the data name none (default 0)",
    )


def _start(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--weights",
        metavar="none|imagenet|PATH",
        help="initial weights; PATH is a .keras file of an earlier run, or an .h5 file of the "
        "body's weights without top, as Keras distributes them",
    )
    group.add_argument(
        "--freeze-epochs",
        type=int,
        metavar="N",
        help="epochs in which only the head is trained, the layers behind the body",
    )
    group.add_argument(
        "--backbone-rate",
        type=float,
        metavar="X",
        help="learning rate of the body as a share of that of the head, 0 to 1",
    )
    group.add_argument(
        "--layer-decay",
        type=float,
        metavar="X",
        help="learning rate of each group of the body's layers as a share of that of the group "
        "behind it, from the head to the stem, above 0 to 1 (default 1)",
    )
    group.add_argument(
        "--image-size",
        type=int,
        metavar="PIXELS",
        help="height and width to which pictures are scaled, 32 to 1024 (default 96; CIFAR-10 has "
        "32)",
    )
    group.add_argument(
        "--upsample",
        type=int,
        choices=(1, 2, 4, 7),
        help="enlarge images by this factor before resnet50 (7 = 224x224 pixels, the size that "
        "ImageNet weights were trained on)",
    )
    group.add_argument(
        "--stem",
        choices=get_args(recipes.Stem),
        help="first layers of resnet50: imagenet (default), which reduces height and width to a "
        "quarter, or cifar, which keeps them and takes 15 times the computation",
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
        help="compute type: bfloat16 is faster on GPUs and CPUs with AMX, float16 on GPUs; the "
        "saved model is always float32",
    )
    group.add_argument(
        "--jit",
        choices=get_args(recipes.Switch),
        dest="xla",
        help="compile the step with XLA; auto (default) is off with tensorflow on a CPU",
    )
    group.add_argument(
        "--xla", choices=get_args(recipes.Switch), dest="xla", help=argparse.SUPPRESS
    )
    group.add_argument(
        "--fast-layers",
        choices=get_args(recipes.Switch),
        help="train with equivalent layers that are faster on a CPU, tensorflow only; auto "
        "(default) is on for resnet50 on a CPU",
    )
    group.add_argument(
        "--device-epochs",
        choices=get_args(recipes.Switch),
        help="train whole epochs as programs on the device, jax only; auto (default) is on with "
        "jax on a single GPU",
    )
    group.add_argument(
        "--checkpoint-every",
        type=positive,
        default=1,
        metavar="EPOCHS",
        help="epochs between two checkpoints (default 1); a kill loses the epochs since the last",
    )


def positive(text: str) -> int:
    """Return a flag's whole number above 0."""
    if text.isdecimal() and int(text):
        return int(text)
    msg = f"{text!r} received, expected 1 or more"
    raise argparse.ArgumentTypeError(msg)


def _device_count(text: str) -> int | Literal["all"]:
    if text == "all":
        return "all"
    if text.isdecimal() and int(text):
        return int(text)
    msg = f"{text!r} received, expected 1 or more, or all"
    raise argparse.ArgumentTypeError(msg)

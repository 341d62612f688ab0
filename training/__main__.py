"""Train a model: `python -m training simcnn --data-dir DIR`."""

import argparse
import logging
import os
import sys
from pathlib import Path
from typing import get_args

from training import cifar10, config
from training.cifar10 import DataError
from training.config import ConfigError

_BACKENDS = ("tensorflow", "jax", "torch")


def main(arguments: list[str] | None = None) -> int:
    """Train and print the result.

    Returns:
        0 trained, or trained before; 1 the training failed; 2 bad usage or data; 130 interrupted.
    """
    options = vars(_parser().parse_args(arguments))
    data_dir = cifar10.resolve_data_dir(options.pop("data_dir"))
    run_dir = options.pop("run_dir") or Path(f"runs/{options['model']}-{options['recipe']}")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors only: its start-up notes are long
    try:
        _check_backend(os.environ["KERAS_BACKEND"])
        settings = config.from_recipe(**options)
        # Keras reads KERAS_BACKEND when it is imported, and takes seconds that --help need not.
        from training import callbacks, train  # noqa: PLC0415

        try:
            result = train.train(settings, run_dir=run_dir, data_dir=data_dir)
        except callbacks.DivergedError as error:
            return _fail(error, 1)
    except (ConfigError, DataError) as error:
        return _fail(error, 2)
    except KeyboardInterrupt:
        return _fail(f"interrupted; the same command resumes the run in {run_dir}", 130)
    metrics = result.metrics
    low, high = metrics["top1_wilson_95"]
    state = "was finished before, nothing to train" if result.was_finished else "finished"
    print(
        f"{run_dir} {state}: {metrics['top1']:.2%} of {metrics['n']:,} test images correct "
        f"(95 % interval {low:.2%} to {high:.2%})"
    )
    return 0


def _fail(message: object, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code


def _check_backend(name: str) -> None:
    if name not in _BACKENDS:
        msg = f"KERAS_BACKEND is {name!r}, expected one of {', '.join(_BACKENDS)}"
        raise ConfigError(msg)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training",
        description="Train a CIFAR-10 classifier. The same command resumes a run that was killed.",
        epilog="KERAS_BACKEND chooses tensorflow (default) or jax. "
        "Settings not given come from the recipe.",
    )
    parser.add_argument("model", choices=get_args(config.ModelName))
    parser.add_argument(
        "--recipe",
        choices=get_args(config.RecipeName),
        default="best",
        help="best (default), or report: the published protocol, flaws included, to compare with",
    )
    parser.add_argument(
        "--data-dir",
        metavar="PATH",
        help="folder or archive with CIFAR-10 as binary or Python batches or as train/<class>/ and "
        f"test/<class>/ images; default: ${cifar10.DATA_DIR_VARIABLE}, else downloaded",
    )
    parser.add_argument(
        "--run-dir",
        type=Path,
        metavar="DIR",
        help="where everything is written; default: runs/MODEL-RECIPE",
    )
    settings = parser.add_argument_group("settings that override the recipe")
    settings.add_argument("--epochs", type=int, metavar="N", help="passes over the training images")
    settings.add_argument("--batch-size", type=int, metavar="N", help="images a step")
    settings.add_argument("--learning-rate", type=float, metavar="X", help="(peak) learning rate")
    settings.add_argument("--optimizer", choices=get_args(config.OptimizerName))
    settings.add_argument("--weight-decay", type=float, metavar="X", help="decoupled weight decay")
    settings.add_argument("--warmup-epochs", type=int, metavar="N", help="linear warm-up")
    settings.add_argument("--label-smoothing", type=float, metavar="X", help="0 to below 1")
    settings.add_argument(
        "--ema-span", type=float, metavar="X", help="weight averaging, share of all steps; 0 = off"
    )
    settings.add_argument(
        "--validation",
        choices=get_args(config.Validation),
        help="validation images: drawn from the training images, their tail, or the test images",
    )
    settings.add_argument(
        "--validation-fraction", type=float, metavar="X", help="share of the training images"
    )
    settings.add_argument(
        "--weights",
        metavar="none|imagenet|PATH",
        help="initial weights; PATH is a .keras file of an earlier run, or an .h5 file of "
        "ResNet50's ImageNet weights without top",
    )
    settings.add_argument(
        "--upsample",
        type=int,
        choices=(1, 2, 4, 7),
        help="enlarge images before resnet50 (7 = 224x224, the size ImageNet weights know)",
    )
    settings.add_argument(
        "--mixed-precision",
        choices=get_args(config.Precision),
        help="compute type on a GPU; the saved model is float32 all the same",
    )
    settings.add_argument("--xla", choices=get_args(config.Switch), help="compile with XLA")
    settings.add_argument(
        "--seed", type=int, metavar="N", help="seed of everything random (default 0)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())

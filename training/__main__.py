"""Train a model: `python -m training simcnn`. Report on runs: `python -m training report RUN`.

Look at pictures before a training: `python -m training inspect DIR`. Classify pictures with a
trained model: `python -m training predict RUN DIR`. Search the settings of a recipe:
`python -m training search MODEL`.
"""

import logging
import os
import sys
from collections.abc import Callable

from training import native_log, standard_streams, storage
from training.data.cifar10 import DataError, resolve_data_dir
from training.report import command
from training.report.sources.runs import ReportError
from training.run import predict_command
from training.search import arguments as search_arguments
from training.search import plan as search_plan
from training.search.progress import SearchProgress
from training.settings.arguments import default_run_dir, parser
from training.settings.recipes import ConfigError, default_recipe, from_recipe
from training.sources import inspect_command, picture_settings

_RESUMES = "which resumes the run, or start in another --run-dir"
_BACKENDS = ("tensorflow", "jax", "torch")


def main(arguments: list[str] | None = None) -> int:
    """Train and print the result; or report on runs or inspect data, as the first argument says.

    Returns:
        Exit code: 0 if the run, report or inspection is finished, 1 if the training diverged, 2 for
        wrong settings or data and for files that cannot be written, 130 if interrupted.
    """
    standard_streams.open_closed()
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] in COMMANDS:
        return COMMANDS[arguments[0]](arguments[1:])
    return _train(arguments)


def _train(arguments: list[str]) -> int:
    options = vars(parser().parse_args(arguments))
    data_dir = resolve_data_dir(options.pop("data_dir"))
    options["recipe"] = options["recipe"] or default_recipe(options["model"])
    default_dir = default_run_dir(options["model"], options["recipe"])
    run_dir = options.pop("run_dir") or default_dir
    device_count, mlflow = options.pop("devices"), options.pop("mlflow")
    checkpoint_every = options.pop("checkpoint_every")
    refuse_broken, licence = options.pop("refuse_broken"), options.pop("data_licence")
    try:
        _set_up()
        options |= picture_settings.choose(data_dir, run_dir, options)
        settings = from_recipe(**options)
        # Keras reads KERAS_BACKEND when it is imported, and its import takes seconds that --help
        # does not need.
        with native_log.quiet():
            from training import devices  # noqa: PLC0415
            from training.run import callbacks, train  # noqa: PLC0415

            devices.look_for_gpus()

        try:
            result = train.train(
                settings,
                run_dir=run_dir,
                data_dir=data_dir,
                device_count=device_count,
                mlflow=mlflow,
                checkpoint_every=checkpoint_every,
                refuse_broken=refuse_broken,
                licence=licence,
            )
        except callbacks.DivergedError as error:
            return _fail(error, 1)
    except (ConfigError, DataError) as error:
        return _fail(error, 2)
    except (storage.StorageError, OSError) as error:
        told = storage.told(error)
        if told is None:
            raise
        return _fail(f"{told} and repeat the command, {_RESUMES}", 2)
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


def _report(arguments: list[str]) -> int:
    options = command.parser().parse_args(arguments)

    def write() -> str:
        _set_up()
        page = command.write(options.runs, options.output, resolve_data_dir(options.data_dir))
        return f"wrote {page} and {page.with_suffix('.md')}"

    return _finish(write, "the report is incomplete")


def _inspect(arguments: list[str]) -> int:
    options = inspect_command.parser().parse_args(arguments)
    return _finish(
        lambda: inspect_command.run(
            options.data,
            options.output,
            refuse_broken=options.refuse_broken,
            split_seed=options.split_seed,
        )
    )


def _predict(arguments: list[str]) -> int:
    options = predict_command.parser().parse_args(arguments)

    def classify() -> str:
        _set_up()
        return predict_command.run(options.run, options.paths, options.output)

    return _finish(classify)


def _search(arguments: list[str]) -> int:
    options = vars(search_arguments.parser().parse_args(arguments))
    try:
        _set_up()
        plan = search_plan.make(options)
        if options["show_space"]:
            print(plan.describe())
            return 0
        search_plan.check_packages(plan)
        from training.search import command as search_command  # noqa: PLC0415  imports Optuna

        try:
            return search_command.search(plan, SearchProgress(plan))
        except search_command.SearchError as error:
            return _fail(error, 1)
    except (ConfigError, DataError) as error:
        return _fail(error, 2)
    except (storage.StorageError, OSError) as error:
        told = storage.told(error)
        if told is None:
            raise
        return _fail(f"{told} and repeat the command, which goes on with the search", 2)
    except KeyboardInterrupt:
        return _fail("interrupted; the same command goes on with the search", 130)


def _finish(write: Callable[[], str], interrupted: str = "nothing was written") -> int:
    """Print what a command says that writes files into --output; return the exit code."""
    try:
        print(write())
    except (ConfigError, DataError, ReportError) as error:
        return _fail(error, 2)
    except storage.StorageError as error:
        return _fail(f"{error}, or name another --output", 2)
    except KeyboardInterrupt:
        return _fail(f"interrupted; {interrupted}", 130)
    return 0


# Every other first argument is a model to train.
COMMANDS = {"report": _report, "inspect": _inspect, "predict": _predict, "search": _search}


def _fail(message: object, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code


def _set_up() -> None:
    """Prepare logging and the environment that Keras reads when it is imported."""
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    # Only this package's notes: JAX, for example, notes that it found no TPU.
    logging.getLogger("training").setLevel(logging.INFO)
    name = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if name not in _BACKENDS:
        msg = f"KERAS_BACKEND is {name!r}, expected one of {', '.join(_BACKENDS)}"
        raise ConfigError(msg)


if __name__ == "__main__":
    sys.exit(main())

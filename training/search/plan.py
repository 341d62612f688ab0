"""The plan of a search: what is searched, on which data, for how long, and what comes of it."""

import importlib.util
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from training import storage
from training.data import cifar10
from training.data.cifar10 import resolve_data_dir
from training.search import space as spaces
from training.search.space import Parameter, Value
from training.settings.arguments import default_search_dir
from training.settings.recipes import ConfigError, TrainConfig, default_recipe, from_recipe
from training.sources import opening, picture_settings

# Environment variable: the Python of another environment with the extra export, as in the image.
EXPORT_PYTHON = "EXPORT_PYTHON"
PrunerName = Literal["median", "hyperband", "none"]
DEFAULT_MINUTES = 60.0
DEFAULT_STARTUP_TRIALS = 5
_LEAST_EPOCHS = 3
# Flags of the search that are no settings of a training.
_OTHERS = (
    *("data_dir", "output_dir", "minutes", "trials", "trial_epochs", "param", "show_space"),
    *("pruner", "startup_trials", "refit", "models_dir", "name", "devices", "checkpoint_every"),
    *("refuse_broken", "data_licence"),
)


@dataclass(frozen=True, kw_only=True)
class SearchPlan:
    """All choices of a search.

    Attributes:
        base: Settings of the final training, before the search changes them.
        given: The settings among them that the user chose; see from_recipe.
        trial_epochs: Epochs of a trial.
        space: What is searched, by name of the setting.
        minutes: Time of the search with the final training, over all calls together.
        trials: Most trials; None for as many as the time allows.
        pruner: Rule that ends trials early.
        startup_trials: Trials before any is ended early and before the sampler learns from them.
        data_dir: See training.sources.opening.find.
        output_dir: Folder of the search.
        refit: Whether the best settings are trained with all epochs.
        models_dir: Folder to publish the final training in; None if it is not published.
        name: Name of the published model; None for that of its architecture.
        devices, checkpoint_every, refuse_broken, licence: See training.run.train.train.
    """

    base: TrainConfig
    given: Mapping[str, Any]
    trial_epochs: int
    space: Mapping[str, Parameter]
    minutes: float
    trials: int | None
    pruner: PrunerName
    startup_trials: int
    data_dir: Path | None
    output_dir: Path
    refit: bool
    models_dir: Path | None
    name: str | None
    devices: int | Literal["all"]
    checkpoint_every: int
    refuse_broken: bool
    licence: str | None

    def final_settings(self, parameters: Mapping[str, Value]) -> TrainConfig:
        """Return the settings of the final training with values that the search chose.

        Raises:
            ConfigError: The values do not go together.
        """
        return _settings(self.base, self.given, parameters)

    def trial_settings(self, parameters: Mapping[str, Value]) -> TrainConfig:
        """Return the settings of a trial.

        Raises:
            ConfigError: The values do not go together.
        """
        return _trial(self.base, self.given, self.trial_epochs, parameters)

    def defaults(self) -> dict[str, Value]:
        """Return the recipe's own values of what is searched, where the space has them."""
        trial = self.trial_settings({})
        return {
            name: getattr(trial, name)
            for name, parameter in self.space.items()
            if parameter.contains(getattr(trial, name))
        }

    def describe(self) -> str:
        """Return what is searched, as a table for --show-space."""
        trial = self.trial_settings({})
        width = max(map(len, self.space))
        texts = {name: str(parameter) for name, parameter in self.space.items()}
        middle = max(map(len, texts.values()))
        epochs = f"{self.base.epochs} epochs, trials of {self.trial_epochs}"
        lines = [
            f"{self.base.model}, recipe {self.base.recipe}: {epochs}",
            *(
                f"{name:<{width}}  {text:<{middle}}  recipe: {spaces.text(getattr(trial, name))}"
                for name, text in texts.items()
            ),
            f"more with --param: {', '.join(spaces.more(self.space))}",
        ]
        return "\n".join(lines)

    def identity(self) -> dict[str, Any]:
        """Return what has to stay the same when a search goes on, as values for JSON."""
        searched = {name: str(parameter) for name, parameter in self.space.items()}
        settings = {
            name: value for name, value in self.base.as_dict().items() if name not in searched
        }
        return {
            **settings,
            "trial_epochs": self.trial_epochs,
            "pruner": self.pruner,
            "startup_trials": self.startup_trials,
            **{f"param {name}": text for name, text in searched.items()},
        }


def make(options: Mapping[str, Any]) -> SearchPlan:
    """Return the plan that the command line describes, without reading any picture's pixels.

    Args:
        options: The values of the flags of training.search.arguments.

    Raises:
        ConfigError: The settings or the space are not allowed.
        DataError: The data cannot be trained on.
    """
    model = options["model"]
    recipe = options["recipe"] or default_recipe(model)
    output_dir = options["output_dir"] or default_search_dir(model, recipe)
    data_dir = resolve_data_dir(options["data_dir"])
    given = {name: value for name, value in options.items() if name not in _OTHERS}
    given["recipe"] = recipe
    if not options["show_space"]:
        given |= picture_settings.choose(data_dir, output_dir, given)
    given = {name: value for name, value in given.items() if value is not None}
    base = from_recipe(**given)
    _check_validation(base)
    trial_epochs = _trial_epochs(options["trial_epochs"], base)
    plan = SearchPlan(
        base=base,
        given=given,
        trial_epochs=trial_epochs,
        space=_space(options["param"], base, given, trial_epochs),
        minutes=options["minutes"],
        trials=options["trials"],
        pruner=options["pruner"],
        startup_trials=options["startup_trials"],
        data_dir=data_dir,
        output_dir=output_dir,
        refit=options["refit"],
        models_dir=options["models_dir"],
        name=options["name"],
        devices=options["devices"],
        checkpoint_every=options["checkpoint_every"],
        refuse_broken=options["refuse_broken"],
        licence=options["data_licence"],
    )
    _check_publishing(plan)
    return plan


def data_identity(data_dir: Path | None) -> dict[str, str]:
    """Return what tells a data set from others, without decoding pictures.

    Raises:
        DataError: The data cannot be trained on.
    """
    listing = opening.find(data_dir)
    if listing is not None:
        return {"variant": listing.variant, "listing": listing.sha256()}
    if data_dir is None:  # Keras, whose import takes seconds, would have to find the download
        return {"variant": "keras-download"}
    data = cifar10.load(data_dir)
    return {"variant": data.variant, "train": data.train.sha256(), "test": data.sha256}


def check_packages(plan: SearchPlan) -> None:
    """Check that the libraries of the search are installed, without importing them.

    Raises:
        ConfigError: One is missing; the message names the extra.
    """
    extras = {"optuna": "search"}
    if plan.models_dir is not None and EXPORT_PYTHON not in os.environ:
        extras |= {"export": "export", "tf2onnx": "export", "onnxruntime": "export"}
    for package, extra in extras.items():
        if importlib.util.find_spec(package) is None:
            reason = "--models-dir" if extra == "export" else "the search"
            msg = (
                f"{reason} needs {package}, which is not installed; install the extra {extra}, "
                f"from a checkout: pip install '.[train,{extra}]'"
            )
            raise ConfigError(msg)
    if plan.models_dir is not None:
        storage.check(plan.models_dir)


def _settings(
    base: TrainConfig, given: Mapping[str, Any], parameters: Mapping[str, Value]
) -> TrainConfig:
    changed = {**given, **parameters}
    return from_recipe(**changed) if parameters else base


def _trial(
    base: TrainConfig, given: Mapping[str, Any], epochs: int, parameters: Mapping[str, Value]
) -> TrainConfig:
    # The search has a time budget of its own.
    changes = {**parameters, "epochs": epochs, "time_budget": 0}
    return _settings(base, given, changes)


def _trial_epochs(chosen: int | None, base: TrainConfig) -> int:
    if chosen is None:
        return min(base.epochs, max(_LEAST_EPOCHS, math.ceil(base.epochs / 4)))
    if chosen > base.epochs:
        msg = (
            f"--trial-epochs {chosen} received for a training of {base.epochs} epochs, expected at "
            "most as many; raise --epochs, or lower --trial-epochs"
        )
        raise ConfigError(msg)
    return chosen


def _space(
    flags: list[str], base: TrainConfig, given: Mapping[str, Any], trial_epochs: int
) -> dict[str, Parameter]:
    def check(name: str, value: Value) -> None:
        _trial(base, given, trial_epochs, {name: value})

    chosen: dict[str, Parameter] = {}
    for text in flags:
        parameter = spaces.parse(text, check)
        flag = f"--{parameter.name.replace('_', '-')}"
        if parameter.name in given:
            msg = f"--param {text} received with {flag}; leave one of them out"
            raise ConfigError(msg)
        if parameter.name in chosen:
            msg = f"--param {text} is the second one of {parameter.name}; leave one of them out"
            raise ConfigError(msg)
        chosen[parameter.name] = parameter
    trial = _trial(base, given, trial_epochs, {})
    space = spaces.default(trial, given) | chosen
    if not space:
        msg = "the flags leave no setting to search; leave one out, or pass --param"
        raise ConfigError(msg)
    return space


def _check_validation(base: TrainConfig) -> None:
    if base.validation == "test":
        msg = (
            f"validation test received (recipe {base.recipe}): the test images would choose the "
            "settings that they measure; pass --validation stratified"
        )
        raise ConfigError(msg)


def _check_publishing(plan: SearchPlan) -> None:
    if plan.models_dir is not None and not plan.refit:
        msg = "--models-dir received with --no-refit, which trains nothing to publish; pass one"
        raise ConfigError(msg)
    if plan.name is not None and plan.models_dir is None:
        msg = f"--name {plan.name} received without --models-dir; pass the folder to publish in"
        raise ConfigError(msg)

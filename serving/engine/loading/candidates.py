"""Candidates: the models of a reload, which are loaded while the old models are still served."""

from collections.abc import Mapping
from dataclasses import dataclass

from serving.engine.managed_model import ManagedModel
from serving.errors import UnknownError
from serving.repository.model_config import ModelConfig


@dataclass
class PreparedModels:
    """A set of models that is loaded but not served yet.

    Attributes:
        configs: The settings of the models by name.
        candidates: The loaded models by name.
    """

    configs: Mapping[str, ModelConfig]
    candidates: dict[str, ManagedModel]


def candidate(config: ModelConfig, now: ManagedModel | None) -> ManagedModel:
    """Return a model with a new configuration.

    If the model is served now from the same folder with the same batching settings, the result
    shares its loaded versions.

    Args:
        config: The new configuration.
        now: The model of the same name that is served now; None if there is none.
    """
    if now is None or _kept(now.config) != _kept(config):
        return ManagedModel(config)
    return ManagedModel(config, servables=dict(now.servables), statuses=dict(now.statuses))


def _kept(config: ModelConfig) -> object:
    """Return what must be equal in two configurations that share loaded versions."""
    return config.base_path, dict(config.batching)


def replaced(
    before: Mapping[str, ManagedModel], now: Mapping[str, ManagedModel]
) -> dict[str, ManagedModel]:
    """Return the models of `before` that are not in `now`, or have another folder there."""
    return {
        name: model
        for name, model in before.items()
        if name not in now or now[name].config.base_path != model.config.base_path
    }


def check_available(candidates: Mapping[str, ManagedModel]) -> None:
    """Check that every model has a loaded version, and a model that is to be complete has all.

    Raises:
        UnknownError: a model lacks a version; the message is TensorFlow Serving's.
    """
    failed = [
        name
        for name, model in candidates.items()
        if not model.servables or (model.config.complete and _missing(model))
    ]
    if failed:
        reasons = "".join(f"{{{_reason(name, candidates[name])}}}, " for name in failed)
        msg = (
            f"{len(failed)} model(s) did not become available: {{{reasons}}}; "
            "the previous models are still served"
        )
        raise UnknownError(msg)


def _missing(model: ManagedModel) -> list[int]:
    """Return the wanted versions of a model that are not loaded."""
    return [version for version in model.wanted or () if version not in model.servables]


def _reason(name: str, model: ManagedModel) -> str:
    """Return why a model is not available: the error of its newest version that is missing."""
    if not model.statuses:
        return f"{{name: {name}}} due to error: {model.complaint}"
    status = model.statuses[max(_missing(model) or model.statuses)]
    return (
        f"{{name: {name} version: {status.version}}} due to error: "
        f"{status.error_code.name}: {status.error_message}"
    )

"""Candidates: the models of a reload, loaded beside those that are served and not served yet."""

from collections.abc import Mapping
from dataclasses import dataclass

from serving.engine.managed_model import ManagedModel
from serving.errors import UnknownError
from serving.repository.model_config import ModelConfig


@dataclass
class PreparedModels:
    """A set of models that is loaded and not served yet."""

    configs: Mapping[str, ModelConfig]
    candidates: dict[str, ManagedModel]


def candidate(config: ModelConfig, now: ManagedModel | None) -> ManagedModel:
    """A model as it would be under a new configuration, sharing what is loaded already.

    Args:
        config: The new configuration.
        now: The model of that name that is served now, if there is one.
    """
    if now is None or now.config.base_path != config.base_path:
        return ManagedModel(config)
    return ManagedModel(config, servables=dict(now.servables), statuses=dict(now.statuses))


def replaced(
    before: Mapping[str, ManagedModel], now: Mapping[str, ManagedModel]
) -> dict[str, ManagedModel]:
    """The models of a set that another set does not have, or has in another folder."""
    return {
        name: model
        for name, model in before.items()
        if name not in now or now[name].config.base_path != model.config.base_path
    }


def check_available(candidates: Mapping[str, ManagedModel]) -> None:
    """Refuse a set of which a model has no version that could be loaded.

    Raises:
        UnknownError: a model did not become available, in TensorFlow Serving's words.
    """
    failed = [name for name, model in candidates.items() if not model.servables]
    if failed:
        reasons = "".join(f"{{{_reason(name, candidates[name])}}}, " for name in failed)
        msg = (
            f"{len(failed)} model(s) did not become available: {{{reasons}}}; "
            "the models served before go on"
        )
        raise UnknownError(msg)


def _reason(name: str, model: ManagedModel) -> str:
    """Why a model is not available: what its newest version failed with."""
    if not model.statuses:
        return f"{{name: {name}}} due to error: {model.complaint}"
    status = model.statuses[max(model.statuses)]
    return (
        f"{{name: {name} version: {status.version}}} due to error: "
        f"{status.error_code.name}: {status.error_message}"
    )

"""Version labels: which of them may be assigned, by TensorFlow Serving's rules."""

from collections.abc import Mapping

from serving.engine.catalog import ModelEntry
from serving.errors import FailedPrecondition


def check_labels(
    now: Mapping[str, ModelEntry], then: Mapping[str, ModelEntry], *, allow_unavailable: bool
) -> None:
    """Refuse labels that lead nowhere (model_servers/server_core.cc, UpdateModelVersionLabelMap).

    Args:
        now: The models as they are served, by name.
        then: The models as they are to be served.
        allow_unavailable: Accept a new label on a version that is not loaded. A label in use moves
            to loaded versions alone: callers that ask for it must not be left without an answer.

    Raises:
        FailedPrecondition: a label names a version that is not available.
    """
    for name, model in then.items():
        before = now.get(name)
        for label, version in model.config.labels.items():
            moves = before is not None and before.config.labels.get(label, version) != version
            if version not in model.servables and (moves or not allow_unavailable):
                msg = (
                    f"Request to assign label to version {version} of model {name}, which is "
                    f"not currently available for inference (label {label})"
                )
                raise FailedPrecondition(msg)

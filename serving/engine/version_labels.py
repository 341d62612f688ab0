"""Version labels: TensorFlow Serving's rules for assigning them."""

from collections.abc import Mapping

from serving.engine.catalog import ModelEntry
from serving.errors import FailedPrecondition


def check_labels(
    now: Mapping[str, ModelEntry], then: Mapping[str, ModelEntry], *, allow_unavailable: bool
) -> None:
    """Refuse labels on versions that are not available.

    TensorFlow Serving does so in model_servers/server_core.cc, UpdateModelVersionLabelMap.

    Args:
        now: The models that are served now, by name.
        then: The models to be served next, by name.
        allow_unavailable: Accept a new label on a version that is not loaded. A label that is in
            use can move only to a loaded version, because callers already use it.

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

"""Finds the output of a signature that holds a score for each class."""

from export.errors import ExportError
from serving.tensors.signature import DataType, Signature, TensorSpec

# If several outputs could hold the scores, the first of these names that exists is chosen.
_USUAL_NAMES = ("probabilities", "scores", "predictions", "logits", "output_0", "output")
_FLOATS = (DataType.DT_FLOAT, DataType.DT_DOUBLE, DataType.DT_HALF)


def find(signature: Signature, *, wanted: str | None = None, classes: int | None = None) -> str:
    """Return the alias of the output with the scores, float, shape (n, classes).

    The scores are probabilities or logits: the class of a row is its largest score.

    Args:
        signature: The signature that classifies.
        wanted: The output that the user named; None to choose one.
        classes: Number of classes; None if it is not known.

    Raises:
        ExportError: the wanted output does not exist or cannot hold scores. Without a wanted
            output: no output can hold scores, or several can and none has a usual name.
    """
    found = [alias for alias, spec in signature.outputs.items() if _may_be_scores(spec, classes)]
    if wanted in found or (wanted is None and len(found) == 1):
        return wanted or found[0]
    usual = [name for name in _USUAL_NAMES if name in found]
    if wanted is None and usual:
        return usual[0]
    outputs = ", ".join(
        f"{alias} {spec.dtype.name} {spec.shape_text}" for alias, spec in signature.outputs.items()
    )
    many = "2 or more" if classes is None else f"{classes}"
    expected = f"expected a float output of shape (-1, classes) with {many} classes"
    if wanted is not None:
        msg = f"output {wanted!r} received as --scores, {expected}; the outputs are {outputs}"
    elif found:
        msg = f"the outputs {', '.join(found)} may all hold the scores; name one as --scores OUTPUT"
    else:
        msg = (
            f"the outputs are {outputs}, {expected}; export the model with such an output, or "
            "leave out class names, labels and precisions"
        )
    raise ExportError(msg)


def _may_be_scores(spec: TensorSpec, classes: int | None) -> bool:
    if spec.dtype not in _FLOATS or spec.shape is None or len(spec.shape) != 2:
        return False
    rows, width = spec.shape
    return rows == -1 and width not in {0, 1} and (classes is None or width in {-1, classes})

"""The model card's text on how to call a version."""

from collections.abc import Mapping

from export.papers import cells
from serving.tensors.feature_spec import FeatureKind
from serving.tensors.signature import DataType, Signature, TensorSpec

_CLASSIFY = "classify"


def tensors(signatures: Mapping[str, Signature]) -> str:
    """A table of all inputs and outputs."""
    rows = [
        (
            f"`{name}`",
            kind,
            f"`{alias}`",
            spec.dtype.name,
            "any rank" if spec.shape is None else str(list(spec.shape)),
        )
        for name, signature in signatures.items()
        for kind, specs in (("input", signature.inputs), ("output", signature.outputs))
        for alias, spec in specs.items()
    ]
    return cells.table(("Signature", "", "Name", "Type", "Shape"), rows)


def batching(signatures: Mapping[str, Signature]) -> str:
    """Sentences that say whether requests to each signature may share runs, with the evidence.

    Returns:
        Empty if no signature has a verdict.
    """
    sentences = []
    for name, signature in signatures.items():
        dependent = [each for each in signature.verdicts.values() if not each.independent]
        if dependent:
            sentences.append(f"Requests to `{name}` run alone: {dependent[0].evidence}.")
        elif signature.verdicts:
            evidence = next(iter(signature.verdicts.values())).evidence
            sentences.append(f"Requests to `{name}` may share runs: {evidence}.")
    return " ".join(sentences)


def snippet(model: str, signatures: Mapping[str, Signature], *, pictures: bool = False) -> str:
    """Six lines of Python that call the first signature.

    Args:
        model: Name of the model.
        signatures: Signatures by name.
        pictures: Whether the input `images` holds pixels, as in the models trained here.
    """
    name, signature = next(iter(signatures.items()))
    inputs = ", ".join(f'"{alias}": {_example(spec)}' for alias, spec in signature.inputs.items())
    named = "" if name == "serving_default" else f', signature_name="{name}"'
    lines = [
        "import numpy as np",
        "from serving.client import PredictClient",
        "",
        f"inputs = {{{inputs}}}",
        'with PredictClient("localhost:8500") as client:',
        f'    print(client.predict("{model}", inputs{named}))',
    ]
    text = "Replace the zeros with your own arrays"
    if pictures and "images" in signature.inputs:
        text += " (RGB, 0 to 255; scaling and softmax are in the graph)"
    elif signature.feature_spec:
        text += ", and the empty string with serialized tf.Examples"
    return f"{text}:\n\n```python\n" + "\n".join(lines) + "\n```"


def picture(model: str, signatures: Mapping[str, Signature]) -> str:
    """Two lines of shell that send a picture file to the signature `classify`.

    Returns:
        Empty if no signature of that name takes pictures.
    """
    signature = signatures.get(_CLASSIFY)
    features = list(signature.feature_spec.values()) if signature else []
    if not any(feature.kind is FeatureKind.IMAGE for feature in features):
        return ""
    key = features[0].key
    body = (
        f'{{"signature_name": "{_CLASSIFY}", "examples": [{{"{key}/encoded": {{"b64": '
        "\"'$(base64 -w 0 picture.png)'\"}}]}"
    )
    return (
        f"Signature `{_CLASSIFY}` takes a PNG or JPEG file of any size, and answers all class "
        "names with their scores:\n\n```bash\n"
        f"echo '{body}' |\n  curl -d @- http://localhost:8500/v1/models/{model}:classify\n```"
    )


def _example(spec: TensorSpec) -> str:
    if spec.dtype is DataType.DT_STRING:
        return 'np.array([b""], object)'
    shape = tuple(1 if size == -1 else size for size in spec.shape or ())
    return f"np.zeros({shape}, np.{spec.dtype.numpy.name})"

"""The model card's text on how to call a version."""

from collections.abc import Mapping

from export.papers import cells
from serving.tensors.feature_spec import FeatureKind
from serving.tensors.signature import CLASSIFY_METHOD_NAME, DataType, Signature, TensorSpec


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


def pictures(model: str, signatures: Mapping[str, Signature]) -> str:
    """How to send a picture as a file, for a model with a Classify signature for images.

    Returns:
        Empty if no signature answers pictures with class names.
    """
    for name, signature in signatures.items():
        features = signature.feature_spec.values()
        keys = [feature.key for feature in features if feature.kind is FeatureKind.IMAGE]
        if signature.method_name == CLASSIFY_METHOD_NAME and len(keys) == len(features) == 1:
            return _picture_commands(model, name, keys[0])
    return ""


def _picture_commands(model: str, signature_name: str, key: str) -> str:
    document = (
        f'{{"signature_name": "{signature_name}", "examples": [{{"{key}/encoded": '
        '{"b64": "$(base64 < picture.png | tr -d \'\\n\')"}}]}'
    )
    return f"""A PNG or JPEG file is answered with the name and the score of every class:

```bash
curl -s http://localhost:8501/v1/models/{model}:classify -d @- <<END
{document}
END
```"""


def _example(spec: TensorSpec) -> str:
    if spec.dtype is DataType.DT_STRING:
        return 'np.array([b""], object)'
    shape = tuple(1 if size == -1 else size for size in spec.shape or ())
    return f"np.zeros({shape}, np.{spec.dtype.numpy.name})"

"""`MODEL_CARD.md`: what metrics.json says, for people."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from serving.signature import DataType, Signature, TensorSpec
from training import config

_INTENDED_USE = """\
A small model to try, test and measure a serving set-up with: known accuracy, known answers, low
cost. It is no building block for decisions about people or safety."""
_LIMITS = """\
- It always answers one of these ten classes. A photograph of anything else gets one of them too,
  often with a high probability: there is no "none of these".
- It has seen 32x32 pixels with one object that fills the frame. Larger photographs have to be
  scaled down first, and crowded or distant scenes are outside what was measured.
- The figures hold for the images named here, which are lossless. Recompressing the same images as
  JPEG (quality 75, 4:2:0) was reported to cost 2 to 3 points; other cameras and crops cost more.
- The interval covers the choice of test images. It does not cover the spread between trainings:
  another seed gives another accuracy.
- The probabilities are a softmax and were not calibrated.
- CIFAR-10 (A. Krizhevsky, 2009) was published without a licence. Its photographs were collected
  from the web for the Tiny Images data set, which its authors withdrew in 2020; the rights remain
  with the photographers. Check what that means for you before any commercial use."""

_FROM_ELSEWHERE = """\
A SavedModel made elsewhere, published by `python -m export saved-model`. Nothing is known here
about its purpose, training data or accuracy: ask its author."""
_TRAINING_FACTS = (
    ("recipe", "Recipe"),
    ("seed", "Seed"),
    ("epochs", "Epochs"),
    ("wall_seconds", "Time (s)"),
    ("train_images_per_second", "Training images per second"),
    ("git_commit", "Commit"),
    ("finished_utc", "Finished (UTC)"),
)


def render(
    metrics: Mapping[str, Any],
    signatures: Mapping[str, Signature],
    pictures: Sequence[str] = (),
) -> str:
    """Write the model card.

    Args:
        metrics: Content of metrics.json; see version_metrics. Sections that are missing, as those
            about accuracy and training of a SavedModel from elsewhere, are left out.
        signatures: Content of signature.json.
        pictures: Names of picture files in the folder to show.

    Returns:
        Markdown that ends with a newline.
    """
    is_classifier = "variants" in metrics
    parts = [f"# {metrics['model']}"]
    if is_classifier:
        parts += _classifier(metrics, pictures)
    else:
        parts.append(_FROM_ELSEWHERE)
    parts += ["## Parity", _parity(metrics["parity"]), "## How to call it", _signatures(signatures)]
    parts.append(_snippet(metrics["model"], signatures))
    parts += ["## Files", _files(metrics)]
    return "\n\n".join(parts) + "\n"


def _classifier(metrics: Mapping[str, Any], pictures: Sequence[str]) -> list[str]:
    names, data = metrics["class_names"], metrics["data"]
    first = next(iter(metrics["variants"].values()))
    purpose = (
        f"Classifies 32x32 colour photographs as one of ten things: {', '.join(names)}. "
        f"{metrics['parameters']:,} parameters, trained on CIFAR-10."
    )
    origin = (
        f"Measured with ONNX Runtime on the published file, on the {data['images']:,} "
        f"{data['name']} (variant `{data['variant']}`; SHA-256 of pixels and labels "
        f"`{data['sha256'][:16]}...`)."
    )
    return [
        purpose,
        _table(
            ("Variant", "Top-1", "95 % interval", "Correct", "Images", "Size"),
            (_result(precision, entry) for precision, entry in metrics["variants"].items()),
        ),
        origin,
        "## Intended use",
        _INTENDED_USE,
        "## Limits",
        _LIMITS,
        "## Accuracy by class",
        _by_class(names, first["confusion_matrix"]),
        "## Confusion matrix",
        "Rows: label. Columns: answer.",
        _table(
            ("", *names),
            (
                (f"**{name}**", *(str(count) for count in row))
                for name, row in zip(names, first["confusion_matrix"], strict=True)
            ),
        ),
        *(f"![{picture.partition('.')[0].replace('_', ' ')}]({picture})" for picture in pictures),
        "## Training",
        _training(metrics["training"]),
    ]


def _result(precision: str, entry: Mapping[str, Any]) -> tuple[str, ...]:
    low, high = entry["top1_wilson_95"]
    return (
        f"{precision} (`{entry['file']}`)",
        f"**{entry['top1']:.2%}**",
        f"{low:.2%} to {high:.2%}",
        f"{entry['correct']:,}",
        f"{entry['n']:,}",
        f"{entry['bytes'] / 1e6:.2f} MB",
    )


def _by_class(names: Sequence[str], matrix: Sequence[Sequence[int]]) -> str:
    rows = []
    for label, (name, row) in enumerate(zip(names, matrix, strict=True)):
        total = sum(row)
        confused = max((count, other) for other, count in enumerate(row) if other != label)
        rows.append(
            (
                name,
                f"{row[label] / total:.1%}" if total else "-",
                f"{row[label]:,} of {total:,}",
                f"{names[confused[1]]} ({confused[0]})" if confused[0] else "-",
            )
        )
    return _table(("Class", "Accuracy", "Correct", "Most often taken for"), rows)


def _training(training: Mapping[str, Any]) -> str:
    settings = dict(training.get("config", {}))
    model, recipe = training.get("model", settings.get("model")), training.get("recipe")
    command = f"python -m training {model} --recipe {recipe} --seed {training.get('seed')}"
    rows = [
        (label, str(training[key]))
        for key, label in _TRAINING_FACTS
        if training.get(key) is not None
    ]
    hardware = training.get("hardware") or {}
    if hardware:
        devices = ", ".join(hardware.get("gpus") or []) or "no GPU"
        rows.append(
            ("Hardware", f"{hardware.get('cpu')}, {hardware.get('cores')} cores, {devices}")
        )
    if training.get("versions"):
        rows.append(("Versions", ", ".join(f"{k} {v}" for k, v in training["versions"].items())))
    data = training.get("data") or {}
    if "train_images" in data:
        rows.append(
            (
                "Images",
                f"{data['train_images']:,} to train, {data['validation_images']:,} to validate",
            )
        )
    changed = _overrides(model, recipe, settings)
    note = f", with {', '.join(changed)}" if changed else ""
    shown = ", ".join(f"{key} {value}" for key, value in settings.items())
    return f"`{command}`{note}\n\n{_table(('', ''), rows)}\n\nSettings: {shown}."


def _overrides(model: Any, recipe: Any, settings: Mapping[str, Any]) -> list[str]:  # noqa: ANN401  JSON values
    """Settings in which a training departed from its recipe, as it is today."""
    try:
        standard = config.from_recipe(model, recipe).as_dict()
    except config.ConfigError:
        return []  # a recipe that no longer exists, or one of another project
    return [
        f"{key} {settings[key]}"
        for key in standard
        if key != "seed" and key in settings and settings[key] != standard[key]
    ]


def _parity(parity: Mapping[str, Any]) -> str:
    if "pairs" not in parity:
        text = (
            "No test data are known, so TensorFlow and ONNX Runtime were asked the same random "
            f"questions (seed {parity['seed']})."
        )
        answers = [
            (entry["signature"], str(entry["rows"]), entry["output"], _delta(entry))
            for entry in parity["outputs"]
        ]
        return f"{text}\n\n{_table(('Signature', 'Rows', 'Output', 'Largest delta'), answers)}"
    text = (
        "The Keras model, the SavedModel and the ONNX file answered every test image. Tolerance of "
        f"the logits: rtol {parity['rtol']:g}, atol {parity['atol']:g}. A tie has its two largest "
        f"logits less than {parity['tie_margin']:g} apart."
    )
    rows = [
        (
            f"{pair['candidate']} against {pair['reference']}",
            _delta(pair),
            f"{pair['tolerance_used']:.0%}",
            f"{pair['same_class']:,} of {pair['images']:,}",
            str(pair["ties"]),
        )
        for pair in parity["pairs"]
    ]
    header = ("Pair", "Largest delta of logits", "Of the tolerance", "Same class", "Ties")
    return f"{text}\n\n{_table(header, rows)}{_classify_parity(parity)}"


def _classify_parity(parity: Mapping[str, Any]) -> str:
    found = parity.get("classify")
    if found is None:
        return ""
    return (
        f"\n\nSignature `classify`, the first {found['images']:,} images in tf.Examples: the "
        f"scores of SavedModel and ONNX differ by {found['max_abs_delta_png']:.1e} at most as PNG "
        f"files and by {found['max_abs_delta_raw']:.1e} as raw pixels."
    )


def _delta(entry: Mapping[str, Any]) -> str:
    delta = entry["max_abs_delta"]
    return f"{delta:.1e}" if delta else "none"


def _signatures(signatures: Mapping[str, Signature]) -> str:
    rows = [
        (f"`{name}`", kind, f"`{alias}`", spec.dtype.name, str(list(spec.shape)))
        for name, signature in signatures.items()
        for kind, specs in (("input", signature.inputs), ("output", signature.outputs))
        for alias, spec in specs.items()
    ]
    return _table(("Signature", "", "Name", "Type", "Shape"), rows)


def _snippet(model: str, signatures: Mapping[str, Signature]) -> str:
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
    text = "Put your own arrays where the zeros stand"
    if "images" in signature.inputs:
        text += " (RGB, 0 to 255; scaling and softmax are in the graph)"
    elif signature.feature_spec:
        text += ", and serialized tf.Examples where the empty one stands"
    return f"{text}:\n\n```python\n" + "\n".join(lines) + "\n```"


def _example(spec: TensorSpec) -> str:
    if spec.dtype is DataType.DT_STRING:
        return 'np.array([b""], object)'
    shape = tuple(1 if size == -1 else size for size in spec.shape)
    return f"np.zeros({shape}, np.{spec.dtype.numpy.name})"


def _files(metrics: Mapping[str, Any]) -> str:
    graphs = [*metrics.get("variants", {}).values(), *metrics.get("files", [])]
    lines = [f"- `{entry['file']}`: ONNX, SHA-256 `{entry['sha256']}`" for entry in graphs]
    lines += [
        "- `saved_model.pb`, `variables/`: the same as a SavedModel, for TensorFlow Serving",
        "- `signature.json`: names, types and shapes of the tensors in both",
        "- `metrics.json`: everything above for programs"
        + (
            "; `variants.<variant>.predictions` holds the answer to every test image in order, "
            "one digit (class index) each"
            if "variants" in metrics
            else ""
        ),
        "- `manifest.json`: size and SHA-256 of every file",
    ]
    made = metrics["export"]
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    return (
        "\n".join(lines)
        + f"\n\nExported {made['finished_utc']} at commit {made['git_commit']} with opset "
        f"{made['opset']} by {versions}."
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

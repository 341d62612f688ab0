"""`MODEL_CARD.md`: the content of metrics.json as text and tables."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from export.papers import cells, robustness_table, speed_table, training_runs, usage
from export.sources import training_run
from serving.tensors.signature import Signature

_INTENDED_USE = """\
A small model for trying, testing and measuring a serving set-up: its accuracy and its answers are
known, and it is cheap to run. Do not use it for decisions about people or safety."""
_LIMITS = """\
- The model always answers one of these ten classes. A photograph of anything else gets one of them
  too, often with a high probability: there is no class for "none of these".
- The model was trained on images of 32x32 pixels with one object that fills the frame. Larger
  photographs have to be scaled down first. Crowded or distant scenes were not measured.
- The figures hold for the images named here, which are lossless. Recompressing them as JPEG
  (quality 75, 4:2:0) {jpeg}; other cameras and crops cost more.
- The interval covers the choice of test images. It does not cover the spread between trainings:
  another seed gives another accuracy.
- The probabilities are the outputs of a softmax and were not calibrated."""
_CIFAR10_LICENCE = """
- CIFAR-10 (A. Krizhevsky, 2009) was published without a licence. Its photographs were collected
  from the web for the Tiny Images data set, which its authors withdrew in 2020; the rights remain
  with the photographers. Check what that means for you before any commercial use."""
_FROM_ELSEWHERE = """\
A SavedModel made elsewhere, published by `python -m export saved-model`. Its purpose, training data
and accuracy are not known here: ask its author."""
_ONNX_FROM_ELSEWHERE = """\
An ONNX file made elsewhere{producer}, published by `python -m export onnx`. Its purpose, training
data and accuracy are not known here: ask its author."""
_SAVED_MODEL_FILE = "saved_model.pb"
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
    files: Collection[str],
) -> str:
    """Write the model card.

    Args:
        metrics: Content of metrics.json; see version_metrics, benchmark and robustness. The card
            leaves out what metrics.json does not have, for example the accuracy and training of a
            SavedModel from elsewhere.
        signatures: The signatures in signature.json, by name.
        files: Names of the other files in the folder: graphs, SavedModel, images to show.

    Returns:
        Markdown that ends with a newline.
    """
    is_classifier = "variants" in metrics
    parts = [f"# {metrics['model']}"]
    if is_classifier:
        parts += _classifier(metrics, files)
    else:
        parts += _from_elsewhere(metrics)
    if metrics.get("benchmark"):
        parts += ["## Speed", speed_table.render(metrics["benchmark"])]
    if metrics.get("parity"):
        parts += ["## Parity", _parity(metrics["parity"])]
    parts += ["## How to call it", usage.tensors(signatures)]
    if batching := usage.batching(signatures):
        parts.append(batching)
    parts.append(usage.snippet(metrics["model"], signatures, pictures=is_classifier))
    if pictures := usage.pictures(metrics["model"], signatures):
        parts.append(pictures)
    parts += ["## Files", _files(metrics, files)]
    return "\n\n".join(parts) + "\n"


def _from_elsewhere(metrics: Mapping[str, Any]) -> list[str]:
    source = metrics.get("source") or {}
    if source.get("kind") != "onnx":
        return [_FROM_ELSEWHERE]
    producer = f" (by {source['producer']})" if "producer" in source else ""
    parts = [_ONNX_FROM_ELSEWHERE.format(producer=producer)]
    if cut := source.get("zip_map_cut_from"):
        outputs = ", ".join(f"`{name}`" for name in cut)
        parts.append(f"A ZipMap was removed from {outputs}: the scores are a matrix.")
    if names := metrics.get("class_names"):
        parts.append(f"Classes in output order: {', '.join(names)}.")
    return parts


def _classifier(metrics: Mapping[str, Any], files: Collection[str]) -> list[str]:
    robustness, training = metrics.get("robustness"), metrics.get("training")
    first = next(iter(metrics["variants"].values()))
    parts = [_purpose(metrics), _variants(metrics), _origin(metrics)]
    limits = _LIMITS.format(jpeg=_jpeg(robustness))
    if _saw_cifar10(metrics):
        limits += _CIFAR10_LICENCE
    parts += ["## Intended use", _INTENDED_USE, "## Limits", limits]
    if robustness:
        parts += ["## Robustness", robustness_table.render(robustness)]
    if "confusion_matrix" in first:
        parts += _confusions(metrics["class_names"], first["confusion_matrix"])
    parts += [
        f"![{picture.partition('.')[0].replace('_', ' ')}]({picture})"
        for picture in training_run.PICTURES
        if picture in files
    ]
    if training:
        parts += ["## Training", _training(training)]
    return [part for part in parts if part]


def _purpose(metrics: Mapping[str, Any]) -> str:
    parameters = metrics.get("parameters")
    size = "Number of parameters unknown" if parameters is None else f"{parameters:,} parameters"
    images = "CIFAR-10" if _saw_cifar10(metrics) else "images of a folder"
    return (
        "Classifies 32x32 colour photographs as one of ten things: "
        f"{', '.join(metrics['class_names'])}. {size}, trained on {images}."
    )


def _saw_cifar10(metrics: Mapping[str, Any]) -> bool:
    data = metrics.get("data")
    return not data or data["name"].startswith("CIFAR-10")


def _origin(metrics: Mapping[str, Any]) -> str:
    data = metrics.get("data")
    if not data:
        return ""
    return (
        f"Measured with ONNX Runtime on the published file, on the {data['images']:,} "
        f"{data['name']} (variant `{data['variant']}`; SHA-256 of pixels and labels "
        f"`{data['sha256'][:16]}...`)."
    )


def _confusions(names: Sequence[str], matrix: Sequence[Sequence[int]]) -> list[str]:
    rows = (
        (f"**{name}**", *(str(count) for count in row))
        for name, row in zip(names, matrix, strict=True)
    )
    return [
        "## Accuracy by class",
        _by_class(names, matrix),
        "## Confusion matrix",
        "Rows: label. Columns: answer.",
        cells.table(("", *names), rows),
    ]


def _variants(metrics: Mapping[str, Any]) -> str:
    variants = metrics["variants"]
    header = ["Variant", "Top-1", "95 % interval", "Correct", "Images", "Size"]
    entries = [(f"{name} (`{entry['file']}`)", entry) for name, entry in variants.items()]
    reference = metrics.get("reference")
    if reference:  # the float32 model that the variants were compared with, if not published
        entries.append((f"{reference['precision']} (not in this folder)", reference))
    rows = [_result(name, entry) for name, entry in entries]
    if any("agreement" in entry for _, entry in entries):
        header += ["Class of fp32", "Points lost (95 % interval)"]
        rows = [[*row, *_loss(entry)] for row, (_, entry) in zip(rows, entries, strict=True)]
    text = cells.table(header, rows)
    text += "".join(
        f"\n\n{name} was made from `{entry['made_from']}` (commit "
        f"{cells.commit(entry['git_commit'])}) and compared with the recorded answers of fp32."
        for name, entry in variants.items()
        if "made_from" in entry
    )
    rejected = metrics.get("rejected_variants") or {}
    if rejected:
        reasons = [
            f"- {precision} ({cells.percent(entry.get('top1'))}): {'; '.join(entry['objections'])}"
            for precision, entry in rejected.items()
        ]
        text += "\n\nTried, but not published:\n\n" + "\n".join(reasons)
    return text


def _result(name: str, entry: Mapping[str, Any]) -> list[str]:
    if "top1" not in entry:
        return [name, *[cells.NONE] * 4, cells.megabytes(entry.get("bytes"))]
    low, high = entry["top1_wilson_95"]
    return [
        name,
        f"**{entry['top1']:.2%}**",
        f"{low:.2%} to {high:.2%}",
        f"{entry['correct']:,}",
        f"{entry['n']:,}",
        cells.megabytes(entry.get("bytes")),
    ]


def _loss(entry: Mapping[str, Any]) -> list[str]:
    """Two cells: agreement with the float32 model and points lost; dashes for the float32 model."""
    if "agreement" not in entry:
        return [cells.NONE, cells.NONE]
    return [cells.percent(entry["agreement"]), robustness_table.loss(entry)]


def _jpeg(robustness: Mapping[str, Any] | None) -> str:
    """A phrase about the cost of recompression: measured, or else reported elsewhere."""
    variants = ((robustness or {}).get("checks") or {}).get("jpeg_75", {}).get("variants", {})
    if not variants:
        return "was reported to cost 2 to 3 points"
    precision, result = next(iter(variants.items()))
    return f"costs {precision} {robustness_table.loss(result)} points"


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
    return cells.table(("Class", "Accuracy", "Correct", "Most often taken for"), rows)


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
    changed = [
        f"{name} {value}" for name, value in training_runs.changed_settings(training).items()
    ]
    note = f", with {', '.join(changed)}" if changed else ""
    shown = ", ".join(f"{key} {value}" for key, value in settings.items())
    return f"`{command}`{note}\n\n{cells.table(('', ''), rows)}\n\nSettings: {shown}."


def _asked(entry: Mapping[str, Any]) -> str:
    rows = entry.get("rows")
    if rows is None:
        return f"shape {entry['shape']}"
    return f"{rows} rows" if rows > 1 else "1 row"


def _parity(parity: Mapping[str, Any]) -> str:
    if "pairs" not in parity:
        text = (
            "No test data are known, so TensorFlow and ONNX Runtime were compared on the same "
            f"random inputs (seed {parity['seed']})."
        )
        if served := parity.get("served"):
            most = max(entry["most_rows"] for entry in served)
            text += (
                f" Then the served model got {sum(e['requests'] for e in served)} concurrent "
                "requests"
                + (f", with up to {most} rows in one run," if most > 1 else "")
                + " and answered each of them as TensorFlow answers it alone."
            )
        answers = [
            (entry["signature"], _asked(entry), entry["output"], _delta(entry))
            for entry in parity["outputs"]
        ]
        return (
            f"{text}\n\n{cells.table(('Signature', 'Inputs', 'Output', 'Largest delta'), answers)}"
        )
    text = (
        "The Keras model, the SavedModel and the ONNX file answered every test image. Tolerance of "
        f"the logits: rtol {parity['rtol']:g}, atol {parity['atol']:g}. In a tie, the two largest "
        f"logits differ by less than {parity['tie_margin']:g}."
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
    return f"{text}\n\n{cells.table(header, rows)}{_classify_parity(parity)}"


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


def _files(metrics: Mapping[str, Any], files: Collection[str]) -> str:
    graphs = [*metrics.get("variants", {}).values(), *metrics.get("files", [])]
    lines = [
        f"- `{entry['file']}`: ONNX"
        + (f", SHA-256 `{entry['sha256']}`" if "sha256" in entry else "")
        + ("" if entry["file"] in files else " (not in this folder)")
        for entry in graphs
    ]
    if _SAVED_MODEL_FILE in files:
        lines.append(
            "- `saved_model.pb`, `variables/`: the same model as a SavedModel, for TensorFlow "
            "Serving"
        )
    lines += [
        "- `signature.json`: names, types and shapes of the tensors"
        + (" in both" if "source" not in metrics else ""),
        "- `metrics.json`: all of the above for programs"
        + (
            "; `variants.<variant>.predictions` holds the answer to every test image in order, "
            "one digit (class index) each"
            if "variants" in metrics
            else ""
        ),
        "- `manifest.json`: size and SHA-256 of every file",
    ]
    made = metrics.get("export")
    if not made:
        return "\n".join(lines)
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    return (
        "\n".join(lines)
        + f"\n\nExported {made['finished_utc']} at commit {made['git_commit']} with opset "
        f"{made['opset']} by {versions}."
    )

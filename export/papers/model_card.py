"""`MODEL_CARD.md`: the content of metrics.json as text and tables."""

from collections.abc import Collection, Mapping
from typing import Any

from export.papers import (
    accuracy_tables,
    cells,
    from_elsewhere,
    held_out_table,
    picture_data,
    robustness_table,
    speed_table,
    training_runs,
    usage,
)
from export.sources import training_run
from serving.tensors.signature import Signature
from training.settings import search_record
from training.settings.recipes import changes_of_architecture

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
- The probabilities are the outputs of a softmax and were {not_}calibrated."""
_CIFAR10_LICENCE = """
- CIFAR-10 (A. Krizhevsky, 2009) was published without a licence. Its photographs were collected
  from the web for the Tiny Images data set, which its authors withdrew in 2020; the rights remain
  with the photographers. Check what that means for you before any commercial use."""
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
    was_trained_here = "variants" in metrics and "labels" not in (metrics.get("data") or {})
    parts = [f"# {metrics['model']}"]
    if was_trained_here:
        parts += _classifier(metrics, files)
    else:
        parts += from_elsewhere.parts(metrics)
    if metrics.get("benchmark"):
        parts += ["## Speed", speed_table.render(metrics["benchmark"])]
    if metrics.get("parity"):
        parts += ["## Parity", _parity(metrics["parity"])]
    parts += ["## How to call it", usage.tensors(signatures)]
    if batching := usage.batching(signatures):
        parts.append(batching)
    parts.append(usage.snippet(metrics["model"], signatures, pictures=was_trained_here))
    if pictures := usage.pictures(metrics["model"], signatures):
        parts.append(pictures)
    parts += ["## Files", _files(metrics, files)]
    return "\n\n".join(parts) + "\n"


def _classifier(metrics: Mapping[str, Any], files: Collection[str]) -> list[str]:
    robustness, training = metrics.get("robustness"), metrics.get("training")
    first = next(iter(metrics["variants"].values()))
    parts = [_purpose(metrics), accuracy_tables.variants(metrics), _origin(metrics)]
    if _is_of_pictures(metrics):
        parts += ["## Limits", picture_data.limits(metrics["training"])]
    else:
        limits = _LIMITS.format(
            jpeg=_jpeg(robustness), not_="" if (training or {}).get("calibration") else "not "
        )
        if _saw_cifar10(metrics):
            limits += _CIFAR10_LICENCE
        parts += ["## Intended use", _INTENDED_USE, "## Limits", limits]
    if metrics.get("held_out"):
        parts += ["## Held-out images", held_out_table.render(metrics["held_out"])]
    if robustness:
        parts += ["## Robustness", robustness_table.render(robustness)]
    if "confusion_matrix" in first:
        parts += accuracy_tables.confusions(metrics["class_names"], first["confusion_matrix"])
    parts += [
        f"![{picture.partition('.')[0].replace('_', ' ')}]({picture})"
        for picture in training_run.PICTURES
        if picture in files
    ]
    if _is_of_pictures(metrics):
        parts += ["## Pictures", picture_data.section(metrics["training"])]
    if training:
        parts += ["## Training", _training(training)]
    return [part for part in parts if part]


def _purpose(metrics: Mapping[str, Any]) -> str:
    parameters = metrics.get("parameters")
    size = "Number of parameters unknown" if parameters is None else f"{parameters:,} parameters"
    settings = (metrics.get("training") or {}).get("config") or {}
    built = ", ".join([size, *changes_of_architecture(settings)])
    if _is_of_pictures(metrics):
        names = metrics["class_names"]
        return (
            f"Classifies pictures as one of {len(names)} classes: {picture_data.names(names)}. "
            f"{built}, trained on {metrics['training']['pictures']['pictures']:,} pictures."
        )
    images = "CIFAR-10" if _saw_cifar10(metrics) else "images of a folder"
    return (
        "Classifies 32x32 colour photographs as one of ten things: "
        f"{', '.join(metrics['class_names'])}. {built}, trained on {images}."
    )


def _is_of_pictures(metrics: Mapping[str, Any]) -> bool:
    return training_run.is_of_pictures(metrics.get("training") or {})


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


def _jpeg(robustness: Mapping[str, Any] | None) -> str:
    """A phrase about the cost of recompression: measured, or else reported elsewhere."""
    variants = ((robustness or {}).get("checks") or {}).get("jpeg_75", {}).get("variants", {})
    if not variants:
        return "was reported to cost 2 to 3 points"
    precision, result = next(iter(variants.items()))
    return f"costs {precision} {robustness_table.loss(result)} points"


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
    if found := training.get("calibration"):
        rows.append(("Temperature", _temperature(found)))
    if record := training.get("search"):
        rows.append(("Search", search_record.describe(record)))
    changed = [
        f"{name} {value}" for name, value in training_runs.changed_settings(training).items()
    ]
    note = f", with {', '.join(changed)}" if changed else ""
    shown = ", ".join(f"{key} {value}" for key, value in settings.items())
    return f"`{command}`{note}\n\n{cells.table(('', ''), rows)}\n\nSettings: {shown}."


def _temperature(found: Mapping[str, Any]) -> str:
    return (
        f"{found['temperature']:.3f}, chosen by {found['validation_images']:,} validation images; "
        "the logits in the graph are divided by it. Calibration error of the test images before: "
        f"{cells.percent(found['test_error_before'])}"
    )


def _asked(entry: Mapping[str, Any]) -> str:
    rows = entry.get("rows")
    if rows is None:
        return f"shape {entry['shape']}"
    return f"{rows} rows" if rows > 1 else "1 row"


def _parity(parity: Mapping[str, Any]) -> str:
    if "pairs" not in parity:
        text = (
            "TensorFlow and ONNX Runtime were compared on the same random inputs (seed "
            f"{parity['seed']})."
        )
        if data := parity.get("test_data"):
            largest = max((each["max_abs_delta"] for each in data["outputs"]), default=0.0)
            text += (
                f" Both also answered the {data['rows']:,} rows of the test data (rtol "
                f"{data['rtol']:g}, atol {data['atol']:g}); the largest delta is {largest:.1e}"
            )
            if "same_class" in data:
                text += f", and {data['same_class']:,} rows get the same class"
            text += "."
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
        + (" in both" if "source" not in metrics or _SAVED_MODEL_FILE in files else ""),
        "- `metrics.json`: all of the above for programs"
        + (
            "; `variants.<variant>.predictions` holds the answer to every test image in order, "
            "one digit (class index) each"
            if "variants" in metrics and "labels" not in (metrics.get("data") or {})
            else "; `variants.<variant>.predictions` holds the class index of every row in order"
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

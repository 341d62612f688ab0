"""Read the file that holds a SavedModel's graph, and explain why a path has none."""

from pathlib import Path
from typing import Any

from google.protobuf import text_format
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2

from export.errors import ExportError
from export.failures import reason

SAVED_MODEL_FILE = "saved_model.pb"
SAVED_MODEL_TEXT = "saved_model.pbtxt"
# Explanations for files that users pass instead of a SavedModel's folder, by suffix.
_FILES = {
    (".keras", ".h5", ".hdf5"): "a Keras file, expected a SavedModel or a .keras file of Keras 3: "
    "write a SavedModel with keras.saving.load_model(file).export(folder)",
    (".tflite", ".lite"): "a TensorFlow Lite file, expected the SavedModel that it was made of",
    (".onnx",): "an ONNX file, expected a SavedModel: publish it with python -m export onnx",
    (".pb", ".pbtxt"): "a file, expected the folder of a saved_model.pb; save a frozen graph "
    "as a SavedModel with tf.compat.v1.saved_model.simple_save",
}
_MOST_NAMES = 5


def read(folder: Path) -> Any:  # noqa: ANN401  SavedModel, of an untyped module
    """Read the SavedModel message of a folder.

    Args:
        folder: Folder of saved_model.pb or saved_model.pbtxt.

    Raises:
        ExportError: the file does not exist, cannot be read or is damaged.
    """
    file = find(folder)
    if file is None:
        raise ExportError(_missing(folder))
    saved_model = saved_model_pb2.SavedModel()
    try:
        content = file.read_bytes()
        if file.name == SAVED_MODEL_TEXT:
            text_format.Parse(content.decode(), saved_model)
        else:
            saved_model.ParseFromString(content)
    except OSError as error:
        msg = f"{file} cannot be read ({error.strerror}); make it readable for this user"
        raise ExportError(msg) from error
    except (DecodeError, text_format.ParseError, UnicodeDecodeError) as error:
        msg = f"{file} is not a SavedModel ({reason(error)}); save or copy it again"
        raise ExportError(msg) from error
    if not saved_model.meta_graphs:
        msg = f"{file} has {len(content):,} bytes and no graph; save or copy it again"
        raise ExportError(msg)
    return saved_model


def find(folder: Path) -> Path | None:
    """The file with the graph; None if there is none."""
    for name in (SAVED_MODEL_FILE, SAVED_MODEL_TEXT):
        try:
            if (folder / name).is_file():
                return folder / name
        except OSError:  # no permission to search the folder
            continue
    return None


def _missing(folder: Path) -> str:
    """The message for a path without a SavedModel."""
    try:
        return _told_missing(folder)
    except OSError as error:
        return f"{folder} cannot be read ({error.strerror}); make it readable for this user"


def _told_missing(folder: Path) -> str:
    expected = "expected a folder with saved_model.pb, as tf.saved_model.save writes it"
    if folder.is_file():
        for suffixes, what in _FILES.items():
            if folder.suffix.lower() in suffixes:
                return f"{folder} is {what}"
        return f"{folder} is a file, {expected}"
    if not folder.is_dir():
        return f"{folder} does not exist; {expected}"
    found = sorted(each.name for each in folder.iterdir())
    inside = ", ".join(found[:_MOST_NAMES]) + (", ..." if len(found) > _MOST_NAMES else "")
    return f"{folder / SAVED_MODEL_FILE} does not exist; {expected}; it has {inside or 'no files'}"

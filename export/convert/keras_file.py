"""Converts a `.keras` file to a SavedModel with Keras' own `model.export`."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keras

from export.convert import to_saved_model
from export.errors import ExportError
from export.failures import reason, told
from training import storage
from training.native_log import quiet

SUFFIX = ".keras"


def is_keras_file(source: Path) -> bool:
    """Return whether a path is a `.keras` file, the format of Keras 3."""
    return source.suffix.lower() == SUFFIX and source.is_file()


@contextmanager
def as_saved_model(source: Path) -> Iterator[Path]:
    """Write the model of a `.keras` file as a SavedModel into a temporary folder.

    A model trained with mixed precision computes in float32 afterwards. Keras runs no code that the
    file contains (its safe mode).

    Args:
        source: The `.keras` file.

    Yields:
        Folder of saved_model.pb, with the signatures `serving_default` and `serve`.

    Raises:
        ExportError: Keras cannot load the file or write the SavedModel. If the block raises an
            ExportError, its message names the file instead of the temporary folder.
    """
    model = _load(source)
    with tempfile.TemporaryDirectory(prefix="export-") as temporary:
        folder = Path(temporary) / source.stem
        way_out = "call model.export(DIR) in the script that trains the model, and pass DIR"
        with (
            quiet(),
            storage.writing(folder),
            told(f"Keras cannot write {source} as a SavedModel", way_out),
        ):
            model.export(folder, format="tf_saved_model", verbose=False)
        try:
            yield folder
        except ExportError as error:
            if str(folder) not in str(error):
                raise
            raise type(error)(str(error).replace(str(folder), str(source))) from error


def _load(source: Path) -> keras.Model:
    try:
        model = keras.saving.load_model(source, compile=False)
    except Exception as error:  # zip, JSON, HDF5 and Keras errors have no common base
        msg = (
            f"Keras {keras.__version__} cannot load {source} ({type(error).__name__}: "
            f"{reason(error)}); if the model has layers or functions of your own, or a Lambda, "
            "call model.export(DIR) in the script that trains it, and pass DIR; otherwise save the "
            "file again"
        )
        raise ExportError(msg) from error
    return to_saved_model.in_float32(model, source)

import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from export.convert import keras_file
from export.errors import ExportError
from export.sources import saved_model


class Doubled(keras.layers.Layer):
    """A layer that a process without this module does not know."""

    def call(self, inputs):
        """Twice the inputs."""
        return 2 * inputs


def save(file, *layers):
    """Save a model of the layers as a .keras file and return the model."""
    inputs = keras.Input((4,), name="x")
    outputs = inputs
    for layer in layers:
        outputs = layer(outputs)
    model = keras.Model(inputs, outputs)
    model.save(file)
    return model


def test_saved_model_gives_the_answers_of_the_file(tmp_path):
    """The SavedModel has Keras' two signatures and the file's answers; its folder is removed."""
    model = save(tmp_path / "own.keras", keras.layers.Dense(3))
    x = np.ones((2, 4), np.float32)

    with keras_file.as_saved_model(tmp_path / "own.keras") as folder:
        names = list(saved_model.read_signatures(folder))
        loaded = tf.saved_model.load(str(folder))
        answer = loaded.signatures["serving_default"](x=tf.constant(x))

    np.testing.assert_allclose(answer["output_0"], model(x), rtol=1e-6)
    assert names == ["serving_default", "serve"]
    assert not folder.exists()


def test_mixed_precision_becomes_float32(tmp_path):
    """A layer that was trained in float16 arithmetic computes in float32 afterwards."""
    save(tmp_path / "own.keras", keras.layers.Dense(3, dtype="mixed_float16"))

    with keras_file.as_saved_model(tmp_path / "own.keras") as folder:
        signature = saved_model.read_signatures(folder)["serving_default"]

    assert signature.outputs["output_0"].dtype.name == "DT_FLOAT"


@pytest.mark.parametrize(
    "layer", [keras.layers.Lambda(lambda x: x * 2), Doubled()], ids=["Lambda", "custom"]
)
def test_code_of_ones_own_ends_with_the_way_out(tmp_path, layer):
    """A Lambda or a custom layer raises ExportError of one line that names model.export."""
    save(tmp_path / "own.keras", layer)

    with (
        pytest.raises(
            ExportError, match=r"cannot load .*own.keras .*call model\.export\(DIR\)"
        ) as e,
        keras_file.as_saved_model(tmp_path / "own.keras"),
    ):
        pass
    assert "\n" not in str(e.value)


def test_damaged_files_are_refused(tmp_path):
    """An archive without a model raises ExportError."""
    with zipfile.ZipFile(tmp_path / "own.keras", "w") as archive:
        archive.writestr("x", "")

    with (
        pytest.raises(ExportError, match="cannot load"),
        keras_file.as_saved_model(tmp_path / "own.keras"),
    ):
        pass


def test_errors_of_the_block_name_the_file(tmp_path):
    """An ExportError of the block names the .keras file and not the temporary folder."""
    save(tmp_path / "own.keras", keras.layers.Dense(3))

    with (
        pytest.raises(
            ExportError, match=r"own\.keras has no signature up; it has serve, serving_def"
        ),
        keras_file.as_saved_model(tmp_path / "own.keras") as folder,
    ):
        saved_model.read_signatures(folder, ["up"])


def test_only_keras_files_are_taken(tmp_path):
    """A folder named .keras is no Keras file; an .h5 file is refused with the accepted formats."""
    (tmp_path / "folder.keras").mkdir()
    (tmp_path / "old.h5").touch()

    assert not keras_file.is_keras_file(tmp_path / "folder.keras")
    assert not keras_file.is_keras_file(tmp_path / "old.h5")
    assert not keras_file.is_keras_file(tmp_path / "missing.keras")
    with pytest.raises(
        ExportError, match=r"old\.h5 is a Keras file, expected a SavedModel or a \.k"
    ):
        saved_model.read_signatures(tmp_path / "old.h5")

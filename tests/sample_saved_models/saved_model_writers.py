"""Writers of SavedModels and of other files, from which the odd ones are made."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

PB, PBTXT = "saved_model.pb", "saved_model.pbtxt"
INDEX, DATA = "variables/variables.index", "variables/variables.data-00000-of-00001"
Write = Callable[[Path], Path]
FLOATS = tf.TensorSpec([None, 3], tf.float32, name="x")


def save(folder: Path, function: Any, *specs: Any, name: str = "serving_default") -> Path:
    """Write a SavedModel with one signature."""
    module = tf.Module()
    module.weights = tf.Variable(np.arange(6, dtype=np.float32).reshape(3, 2))
    module.function = tf.function(
        lambda *inputs: function(module, *inputs), input_signature=specs or (FLOATS,)
    )
    tf.saved_model.save(module, str(folder), {name: module.function})
    return folder


def plain(folder: Path) -> Path:
    """Write an intact SavedModel of a matrix product with variables, which others break."""
    return save(folder, lambda module, x: {"y": x @ module.weights})


def changed(folder: Path, change: Callable[[Any], None]) -> Path:
    """Write `plain` and change its SavedModel message."""
    plain(folder)
    message = saved_model_pb2.SavedModel()
    message.ParseFromString((folder / PB).read_bytes())
    change(message)
    (folder / PB).write_bytes(message.SerializeToString())
    return folder


def changed_signature(change: Callable[[Any], None]) -> Write:
    return lambda folder: changed(
        folder,
        lambda message: change(message.meta_graphs[0].signature_def["serving_default"]),
    )


def changed_graph(change: Callable[[Any], None]) -> Write:
    return lambda folder: changed(folder, lambda message: change(message.meta_graphs[0]))


def broken(name: str, content: Callable[[bytes], bytes | None]) -> Write:
    def write(folder: Path) -> Path:
        file = plain(folder) / name
        left = content(file.read_bytes())
        file.unlink()
        if left is not None:
            file.write_bytes(left)
        return folder

    return write


def other_file(name: str, content: bytes) -> Write:
    def write(folder: Path) -> Path:
        folder.mkdir()
        (folder / name).write_bytes(content)
        return folder / name

    return write


def other_folder(files: Mapping[str, bytes]) -> Write:
    def write(folder: Path) -> Path:
        folder.mkdir()
        for name, content in files.items():
            (folder / name).parent.mkdir(exist_ok=True, parents=True)
            (folder / name).write_bytes(content)
        return folder

    return write


def of_function(function: Callable[..., Any], *specs: Any) -> Write:
    return lambda folder: save(folder, lambda _, *inputs: function(*inputs), *specs)


def input_spec(dtype: Any, *shape: int | None) -> Any:
    return tf.TensorSpec(list(shape) or [None, 3], dtype, name="x")


def of_strings(function: Callable[..., Any]) -> Write:
    return of_function(function, tf.TensorSpec([None], tf.string, name="x"))


def keras_file(suffix: str) -> Write:
    def write(folder: Path) -> Path:
        folder.mkdir()
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        file = folder / f"model{suffix}"
        if suffix == ".tflite":
            function = tf.function(lambda x: 2 * x, input_signature=[FLOATS])
            concrete = function.get_concrete_function()
            file.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([concrete]).convert())
        else:
            model.save(file)
        return file

    return write


def frozen_graph() -> bytes:
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None, 3], name="x")
        tf.identity(x * 2, name="y")
        content: bytes = graph.as_graph_def().SerializeToString()
    return content

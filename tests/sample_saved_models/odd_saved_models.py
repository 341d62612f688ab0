"""Broken and odd SavedModels, and files of other formats, that users pass to the export.

Each `Write` function writes one of them at the path it gets, and returns the path for the command.
"""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf import text_format
from sample_saved_models.saved_model_writers import (
    DATA,
    FLOATS,
    INDEX,
    PB,
    PBTXT,
    Write,
    broken,
    changed,
    changed_graph,
    changed_signature,
    frozen_graph,
    input_spec,
    keras_file,
    of_function,
    of_strings,
    other_file,
    other_folder,
    plain,
    save,
)
from tensorflow.core.protobuf import saved_model_pb2


def _as_text(folder: Path) -> Path:
    plain(folder)
    message = saved_model_pb2.SavedModel()
    message.ParseFromString((folder / PB).read_bytes())
    (folder / PBTXT).write_text(text_format.MessageToString(message))
    (folder / PB).unlink()
    return folder


def _no_signature(folder: Path) -> Path:
    module = tf.Module()
    module.function = tf.function(lambda x: 2 * x, input_signature=[FLOATS])
    tf.saved_model.save(module, str(folder), {})
    return folder


def _training_only(folder: Path) -> Path:
    module = tf.Module()
    module.weights = tf.Variable(tf.ones([3, 1]))
    module.train = tf.function(
        lambda x: {
            "loss": tf.reduce_sum(module.weights.assign_sub(0.1 * tf.transpose(x) @ x[:, :1]))
        },
        input_signature=[FLOATS],
    )
    tf.saved_model.save(module, str(folder), {"train": module.train})
    return folder


def _self_link(name: str) -> Write:
    def write(folder: Path) -> Path:
        plain(folder)
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(folder / name)
        return folder

    return write


def _link_to_parent(folder: Path) -> Path:
    plain(folder)
    (folder / "variables" / "again").symlink_to(folder, target_is_directory=True)
    return folder


def _whole_loop(folder: Path) -> Path:
    folder.symlink_to(folder)
    return folder


def _asset_gone(folder: Path) -> Path:
    vocabulary = folder.parent / "words.txt"
    vocabulary.write_text("red\ngreen\n")

    class Words(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.table = tf.lookup.StaticVocabularyTable(
                tf.lookup.TextFileInitializer(
                    str(vocabulary),
                    tf.string,
                    tf.lookup.TextFileIndex.WHOLE_LINE,
                    tf.int64,
                    tf.lookup.TextFileIndex.LINE_NUMBER,
                ),
                num_oov_buckets=1,
            )

        @tf.function(input_signature=[FLOATS])
        def function(self, x: Any) -> Any:
            return {"y": x + tf.cast(self.table.lookup(tf.constant(["red"])), tf.float32)}

    module = Words()
    tf.saved_model.save(module, str(folder), {"serving_default": module.function})
    shutil.rmtree(folder / "assets")
    return folder


def _base_path(folder: Path) -> Path:
    plain(folder / "1")
    (folder / "2").mkdir()
    (folder / "2" / PB).write_bytes(b"garbage")
    return folder


def _rename_op(graph: Any) -> None:
    for function in graph.graph_def.library.function:
        for node in function.node_def:
            if node.op == "MatMul":
                node.op = "SimpleMLInferenceOpWithHandle"
                node.attr.clear()


def _add_node(**fields: Any) -> Callable[[Any], None]:
    def add(graph: Any) -> None:
        graph.graph_def.node.add(**fields)

    return add


def _future(graph: Any) -> None:
    graph.graph_def.versions.producer = 999_999
    graph.graph_def.versions.min_consumer = 999_999


def _hub_module(folder: Path) -> Path:
    def untag(message: Any) -> None:
        del message.meta_graphs[0].meta_info_def.tags[:]

    changed(folder, untag)
    (folder / "tfhub_module.pb").write_bytes(b"\x08\x03")
    return folder


def _ragged(folder: Path) -> Path:
    spec = tf.RaggedTensorSpec([None, None], tf.float32)
    return save(folder, lambda _, x: {"y": tf.reduce_sum(x, axis=1)}, spec)


def _sparse(folder: Path) -> Path:
    spec = tf.SparseTensorSpec([None, 3], tf.float32)
    return save(folder, lambda _, x: {"y": tf.sparse.to_dense(x)}, spec)


def _sparse_output(x: Any) -> Any:
    return {"y": tf.sparse.from_dense(x)}


def _resource(folder: Path) -> Path:
    def change(message: Any) -> None:
        graph = message.meta_graphs[0]
        handle = next(node.name for node in graph.graph_def.node if node.op == "VarHandleOp")
        output = graph.signature_def["serving_default"].outputs["y"]
        output.name, output.dtype = f"{handle}:0", tf.resource.as_datatype_enum

    return changed(folder, change)


def _set(**fields: Any) -> Callable[[Any], None]:
    def change(definition: Any) -> None:
        for kind, values in fields.items():
            info = next(iter(getattr(definition, kind).values()))
            for name, value in values.items():
                setattr(info, name, value)

    return change


def _renamed(alias: str) -> Callable[[Any], None]:
    def change(definition: Any) -> None:
        definition.inputs[alias].CopyFrom(definition.inputs["x"])
        del definition.inputs["x"]

    return change


def _negative_size(definition: Any) -> None:
    definition.inputs["x"].tensor_shape.dim[1].size = -5


def _sequence_examples(x: Any) -> Any:
    _, parsed, _ = tf.io.parse_sequence_example(
        x, sequence_features={"v": tf.io.FixedLenSequenceFeature([], tf.float32)}
    )
    return {"y": parsed["v"]}


def _counter(folder: Path) -> Path:
    return save(folder, lambda module, x: {"y": x @ module.weights.assign_add(tf.ones([3, 2]))})


def _loop(x: Any) -> Any:
    return {"y": tf.while_loop(lambda y: tf.reduce_sum(y) < 100, lambda y: [y * y + 1], [x])[0]}


# Models that are refused before TensorFlow loads them.
NO_MODEL: Mapping[str, Write] = {
    "base path with a broken version": _base_path,
    "missing": lambda folder: folder,
    "empty": other_folder({}),
    "text file": other_file("model.txt", b"a model"),
    "h5 file": keras_file(".h5"),
    "tflite file": keras_file(".tflite"),
    "frozen graph": other_file("frozen.pb", frozen_graph()),
    "frozen graph as saved_model.pb": other_folder({PB: frozen_graph()}),
    "folder of a frozen graph": other_folder({"graph.pb": frozen_graph()}),
    "checkpoint": other_folder({"checkpoint": b"x", "model.ckpt.index": b"x"}),
    "onnx file": other_file("model.onnx", b"x"),
    "no saved_model.pb": broken(PB, lambda _: None),
    "empty saved_model.pb": broken(PB, lambda _: b""),
    "garbage saved_model.pb": broken(PB, lambda _: b"\xff\xfe garbage" * 99),
    "truncated saved_model.pb": broken(PB, lambda content: content[: len(content) // 2]),
    "saved_model.pb is a folder": other_folder({f"{PB}/x": b""}),
    "saved_model.pb is a pointer": other_folder(
        {PB: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"}
    ),
    "garbage pbtxt": other_folder({PBTXT: b"no { protobuf"}),
    "pbtxt that is no text": other_folder({PBTXT: b"\xff\xfe\x00"}),
    "no meta graph": lambda folder: changed(folder, lambda m: m.ClearField("meta_graphs")),
    "no signature": _no_signature,
    "tagged train": changed_graph(lambda graph: graph.meta_info_def.tags.__setitem__(0, "train")),
    "tagged serve and gpu": changed_graph(lambda graph: graph.meta_info_def.tags.append("gpu")),
    "hub module": _hub_module,
    "link to itself": _whole_loop,
    "saved_model.pb links to itself": _self_link(PB),
    "link to nothing": lambda folder: (_self_link(PB)(folder), folder)[1],
    "base path of empty folders": other_folder({"1/x": b"", "2/x": b""}),
    "resource output": _resource,
    "bfloat16": of_function(lambda x: {"y": 2 * x}, input_spec(tf.bfloat16)),
    "float8 output": changed_signature(_set(outputs={"dtype": 24})),
    "variant output": changed_signature(_set(outputs={"dtype": tf.variant.as_datatype_enum})),
    "dtype of the future": changed_signature(_set(outputs={"dtype": 77})),
    "no dtype": changed_signature(_set(outputs={"dtype": 0})),
    "no input": changed_signature(lambda definition: definition.inputs.clear()),
    "no output": changed_signature(lambda definition: definition.outputs.clear()),
    "strings": of_strings(lambda x: {"y": tf.strings.length(x)}),
    "picture": of_strings(lambda x: {"y": tf.io.decode_jpeg(x[0])}),
    "sequence examples": of_strings(_sequence_examples),
}

# Models that TensorFlow or the converter refuses.
REFUSED: Mapping[str, Write] = {
    "no index": broken(INDEX, lambda _: None),
    "no data": broken(DATA, lambda _: None),
    "empty index": broken(INDEX, lambda _: b""),
    "garbage index": broken(INDEX, lambda _: b"garbage" * 99),
    "truncated index": broken(INDEX, lambda content: content[: len(content) // 2]),
    "empty data": broken(DATA, lambda _: b""),
    "truncated data": broken(DATA, lambda content: content[:-9]),
    "no variables": lambda folder: (shutil.rmtree(plain(folder) / "variables"), folder)[1],
    "variables link to their parent": _link_to_parent,
    "asset is gone": _asset_gone,
    "input that is not there": changed_signature(_set(inputs={"name": "gone:0"})),
    "output that is not there": changed_signature(_set(outputs={"name": "gone:0"})),
    "output of a number that is not there": changed_signature(
        _set(outputs={"name": "StatefulPartitionedCall:7"})
    ),
    "input that is no tensor": changed_signature(_set(inputs={"name": "serving_default_x"})),
    "output without a name": changed_signature(_set(outputs={"name": ""})),
    "control input as output": changed_signature(_set(outputs={"name": "^serving_default_x"})),
    "empty graph": changed_graph(lambda graph: graph.graph_def.Clear()),
    "unknown operation": changed_graph(_rename_op),
    "unknown operation beside": changed_graph(_add_node(name="odd", op="NoSuchOp")),
    "dangling input": changed_graph(_add_node(name="odd", op="Identity", input=["gone"])),
    "same name twice": changed_graph(_add_node(name="serving_default_x", op="NoOp")),
    "functions gone": changed_graph(lambda graph: graph.graph_def.library.Clear()),
    "graph of the future": changed_graph(_future),
    "saver gone": changed_graph(lambda graph: graph.ClearField("saver_def")),
    "python function": of_function(
        lambda x: {"y": tf.ensure_shape(tf.py_function(lambda y: 2 * y, [x], tf.float32), x.shape)}
    ),
    "numpy function": of_function(
        lambda x: {"y": tf.numpy_function(lambda y: 2 * y, [x], tf.float32)}
    ),
    "text output": of_function(lambda x: {"y": tf.strings.as_string(x)}),
    "text inside": of_function(lambda x: {"y": tf.strings.length(tf.strings.as_string(x))}),
    "complex output": of_function(lambda x: {"y": tf.signal.fft(tf.cast(x, tf.complex64))}),
    "singular values": of_function(lambda x: {"y": tf.linalg.svd(x, compute_uv=False)}),
    "inverse": of_function(lambda x: {"y": tf.linalg.inv(tf.transpose(x) @ x)}),
    "counter": _counter,
    "training step": _training_only,
    "sparse output": of_function(_sparse_output),
    "assertion": of_function(
        lambda x: {"y": tf.cond(tf.reduce_all(x > 1e9), lambda: x, lambda: tf.linalg.cholesky(-x))}
    ),
    "bessel": of_function(lambda x: {"y": tf.math.bessel_i0(x)}),
    "digamma": of_function(lambda x: {"y": tf.math.digamma(x)}),
    "dataset": of_function(
        lambda x: {
            "y": tf.data.Dataset.from_tensor_slices(x).reduce(tf.zeros([3]), lambda a, b: a + b)
        }
    ),
}

# Models that are refused only after TensorFlow was asked in another process.
REFUSED_SLOWLY: Mapping[str, Write] = {
    "ragged input": _ragged,
    "sparse input": _sparse,
    "random": of_function(lambda x: {"y": x + tf.random.normal(tf.shape(x))}),
    "five columns": of_function(
        lambda x: {"y": x @ tf.ones([5, 2])}, input_spec(tf.float32, None, None)
    ),
}

# Models that are published and answer as TensorFlow does.
PUBLISHED: Mapping[str, Write] = {
    "keras file": keras_file(".keras"),
    "qint8 input": changed_signature(_set(inputs={"dtype": tf.qint8.as_datatype_enum})),
    "other dtype": changed_signature(_set(outputs={"dtype": tf.int32.as_datatype_enum})),
    "negative size": changed_signature(_negative_size),
    "uint64 arithmetic": of_function(
        lambda x: {"y": tf.bitwise.left_shift(x, x)}, input_spec(tf.uint64)
    ),
    "plain": plain,
    "text": _as_text,
    "unknown method": changed_signature(
        lambda definition: setattr(definition, "method_name", "my/own/method")
    ),
    "garbage fingerprint": lambda folder: (
        (plain(folder) / "fingerprint.pb").write_bytes(b"\xff"),
        folder,
    )[1],
    "slashes": changed_signature(_renamed("a/b/c")),
    "spaces": changed_signature(_renamed("the input x")),
    "unicode": changed_signature(_renamed("größe 数 🙂")),
    "colon": changed_signature(_renamed("x:0")),
    "signature name": lambda folder: save(
        folder, lambda _, x: {"y": 2 * x}, name="../../bad name/ü"
    ),
    "path": lambda folder: plain(folder / "mod el é"),
    "large constant": of_function(lambda x: {"y": x @ tf.ones([3, 500_000])}),
    "no columns": of_function(lambda x: {"y": x[:, :0]}),
    "empty output": of_function(lambda x: {"y": tf.zeros([0]) + tf.reduce_sum(x)}),
    "scalar": of_function(lambda x: {"y": 2 * x}, tf.TensorSpec([], tf.float32, name="x")),
    "loop": of_function(_loop),
    "unique": of_function(lambda x: {"y": tf.unique(tf.reshape(x, [-1]))[0]}),
    "where": of_function(lambda x: {"y": tf.where(x > 0)}),
    "double": of_function(lambda x: {"y": tf.cast(2 * x, tf.float64)}),
    "half": of_function(lambda x: {"y": 2 * x}, input_spec(tf.float16)),
    "boolean": of_function(lambda x: {"y": x > 0}),
    "not a number": of_function(lambda x: {"y": tf.math.log(-tf.abs(x) - 1)}),
    "constant output": of_function(lambda x: {"y": 2 * x, "z": tf.constant([1.0, 2.0])}),
    "unused input": of_function(
        lambda x, z: {"y": 2 * x}, FLOATS, tf.TensorSpec([None], tf.int64, name="z")
    ),
}

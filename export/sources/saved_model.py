"""SavedModels on disk: their signatures and their files."""

import shutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tensorflow.python.framework import tensor_util

from export.errors import ExportError
from export.sources import saved_model_file
from export.sources.saved_model_file import SAVED_MODEL_FILE, SAVED_MODEL_TEXT
from serving.repository.model_folder import ONNX_FILE, PRECISIONS
from serving.tensors.signature import DEFAULT_SIGNATURE_NAME, DataType, Signature, TensorSpec

SUPPORTED = (
    "supported are dense tensors of numbers or booleans, as in a signature with "
    "input_signature=[tf.TensorSpec([None, 4], tf.float32)], serialized tf.Examples that go to "
    "tf.io.parse_example, and outputs of strings that a lookup table gives"
)
# For graphs that decode pictures, or name classes without a lookup table.
_ON_PIXELS = (
    "of a classifier of pictures, export the part on decoded pixels (model.export) and pass "
    "--class-names FILE: the signature classify then takes PNG and JPEG files and answers names"
)
_WITH_TENSORFLOW = "other signatures can be served with TensorFlow itself (the extra tensorflow)"
# TensorFlow's own entry, which runs at load time; clients do not call it.
_INIT_SIGNATURE = "__saved_model_init_op"
# Operations that parse tf.Examples and can be cut out of a graph (see convert.example_cut).
PARSE_OPS = ("ParseExample", "ParseExampleV2")
# Other parsing operations; they are only named in the message that refuses a signature.
_OTHER_PARSE_OPS = ("ParseSequenceExample", "ParseSingle")
# The lookup in a table, which may make a string output (see convert.lookup_tables).
_LOOKUP_OP = "LookupTableFindV2"
_PLACEHOLDERS = ("Placeholder", "PlaceholderWithDefault")
# The files and folders of a SavedModel; others in its folder are not copied.
_PARTS = (
    SAVED_MODEL_FILE,
    SAVED_MODEL_TEXT,
    "fingerprint.pb",
    "keras_metadata.pb",
    "variables",
    "assets",
    "assets.extra",
)


def read_signatures(folder: Path, wanted: Collection[str] = ()) -> dict[str, Signature]:
    """Read the signatures of a SavedModel, `serving_default` first, then by name.

    The graph of the first signature is written to `model.onnx`, the graph of any other signature
    to `model.<name>.onnx`. Tensors of the ONNX graph have the aliases as names; an output with the
    alias of an input is named `<alias>_output`. `graph_name` is the name in the SavedModel's graph.

    Args:
        folder: Folder of saved_model.pb.
        wanted: Names of the signatures to read; all by default.

    Returns:
        Signatures by name; at least one.

    Raises:
        ExportError: the SavedModel cannot be read, it lacks a signature in `wanted`, or it has a
            tensor that ONNX Runtime does not support, such as strings that are not serialized
            tf.Examples.
    """
    graph = _serving_graph(folder)
    names = sorted(name for name in graph.signature_def if name != _INIT_SIGNATURE)
    if not names:
        msg = (
            f"{folder} has no signature; expected at least one: save it with "
            "tf.saved_model.save(module, path, signatures={'serving_default': function})"
        )
        raise ExportError(msg)
    unknown = sorted(set(wanted) - set(names))
    if unknown:
        msg = f"{folder} has no signature {', '.join(unknown)}; it has {', '.join(names)}"
        raise ExportError(msg)
    names = [name for name in names if name in wanted or not wanted]
    _correct_dtypes([graph.signature_def[name] for name in names], graph)
    names.sort(key=lambda name: name != DEFAULT_SIGNATURE_NAME)  # stable: the others stay sorted
    _refuse_unsupported({name: graph.signature_def[name] for name in names}, graph, folder)
    files = _onnx_files(names)
    return {name: _to_signature(graph.signature_def[name], files[name]) for name in names}


def versions(folder: Path) -> dict[int | None, Path]:
    """The SavedModels of a folder: the folder itself, or its numbered versions.

    Args:
        folder: Folder of saved_model.pb, or a base path with numbered folders of SavedModels, as
            for TensorFlow Serving's --model_base_path.

    Returns:
        Folders by version number, in ascending order. If the folder is a SavedModel, or has no
        numbered SavedModels, only the folder itself under the key None.
    """
    try:
        inside = list(folder.iterdir()) if folder.is_dir() else []
    except OSError:  # `saved_model_file.read` reports the error later
        inside = []
    numbered = {
        int(each.name): each
        for each in inside
        if each.name.isascii() and each.name.isdigit() and saved_model_file.find(each) is not None
    }
    if saved_model_file.find(folder) is not None or not numbered:
        return {None: folder}
    return dict(sorted(numbered.items()))


def own_number(folder: Path) -> int | None:
    """The folder's name as a version number; None if the name is not a number."""
    name = folder.resolve().name
    return int(name) if name.isascii() and name.isdigit() else None


def signature_def(folder: Path, name: str) -> Any:  # noqa: ANN401  of an untyped module
    """The SignatureDef of a signature.

    Raises:
        ExportError: the SavedModel cannot be read.
    """
    return _serving_graph(folder).signature_def[name]


def set_method_name(folder: Path, name: str, method_name: str) -> None:
    """Set the method name of a signature; `tf.saved_model.save` always writes Predict.

    Args:
        folder: Folder of saved_model.pb, which is written again.
        name: Name of the signature.
        method_name: The method name, for example `tensorflow/serving/classify`.

    Raises:
        ExportError: the SavedModel cannot be read.
    """
    message = saved_model_file.read(folder)
    for graph in message.meta_graphs:
        if name in graph.signature_def:
            graph.signature_def[name].method_name = method_name
    (folder / SAVED_MODEL_FILE).write_bytes(message.SerializeToString(deterministic=True))


def check_readable(folder: Path) -> None:
    """Open every file of a SavedModel, to report unreadable files before they are copied.

    Raises:
        ExportError: a file cannot be read, or a folder links to a folder that it is in.
    """
    for part in _PARTS:
        try:
            _open_all(folder / part, ())
        except OSError as error:
            msg = (
                f"{error.filename} cannot be read ({error.strerror}); make it readable for this "
                "user, or copy the SavedModel again"
            )
            raise ExportError(msg) from error


def _open_all(path: Path, above: tuple[Path, ...]) -> None:
    if path.is_dir():
        real = path.resolve()
        if any(real in (folder, *folder.parents) for folder in above):
            msg = f"{path} links to a folder that it is in; copy the SavedModel without the link"
            raise ExportError(msg)
        for each in sorted(path.iterdir()):
            _open_all(each, (*above, real))
    elif path.exists() or path.is_symlink():
        with path.open("rb"):
            pass


def takes_examples(signature: Signature) -> bool:
    """Whether a signature takes serialized tf.Examples: other string inputs are refused earlier."""
    return any(spec.dtype is DataType.DT_STRING for spec in signature.inputs.values())


def copy(source: Path, target: Path) -> None:
    """Copy the files that make up a SavedModel, and no others, into a version folder."""
    target.mkdir(parents=True, exist_ok=True)
    for part in _PARTS:
        if (source / part).is_dir():
            if any((source / part).iterdir()):
                shutil.copytree(source / part, target / part)
        elif (source / part).exists():
            shutil.copyfile(source / part, target / part)


def remove(folder: Path) -> None:
    """Remove the files that make up a SavedModel, and no others, from a version folder."""
    for part in _PARTS:
        if (folder / part).is_dir():
            shutil.rmtree(folder / part)
        else:
            (folder / part).unlink(missing_ok=True)


def _serving_graph(folder: Path) -> Any:  # noqa: ANN401  MetaGraphDef, of an untyped module
    file, saved_model = saved_model_file.find(folder), saved_model_file.read(folder)
    tags = [sorted(graph.meta_info_def.tags) for graph in saved_model.meta_graphs]
    for graph in saved_model.meta_graphs:
        if list(graph.meta_info_def.tags) == ["serve"]:
            return graph
    msg = (
        f"{file} has graphs tagged {tags}, expected one tagged ['serve']; load it in TensorFlow "
        "and save it with tf.saved_model.save, which uses that tag"
    )
    raise ExportError(msg)


def _refuse_unsupported(signature_defs: Mapping[str, Any], graph: Any, folder: Path) -> None:  # noqa: ANN401  see _serving_graph
    operations = set(_operations(graph))
    nodes = {node.name for node in graph.graph_def.node}
    problems = {
        name: problem
        for name, definition in signature_defs.items()
        if (
            problem := _problem(
                definition,
                parses=bool(operations & set(PARSE_OPS)),
                looks_up=_LOOKUP_OP in operations,
            )
            or _missing_tensor(definition, nodes)
        )
        is not None
    }
    if not problems:
        return
    name, problem = next(iter(problems.items()))
    others = sorted(op for op in operations if op.startswith(_OTHER_PARSE_OPS))
    if "DT_STRING" in problem and others:
        problem += f" (the graph parses with {', '.join(others)})"
    way_out = f"{_ON_PIXELS}; {_WITH_TENSORFLOW}" if "DT_STRING" in problem else _WITH_TENSORFLOW
    msg = f"signature {name!r} of {folder}: {problem}; {SUPPORTED}; {way_out}"
    others = [other for other in signature_defs if other not in problems]
    if others:
        flags = " ".join(f"--signature {name}" for name in others)
        msg += f". To publish the other signatures, pass {flags}"
    raise ExportError(msg)


def _correct_dtypes(definitions: Iterable[Any], graph: Any) -> None:  # noqa: ANN401  see _serving_graph
    """Set the element types of inputs to those of their placeholders; old SignatureDefs differ."""
    dtypes = {
        f"{node.name}:0": node.attr["dtype"].type
        for node in graph.graph_def.node
        if node.op in _PLACEHOLDERS
    }
    for definition in definitions:
        for info in definition.inputs.values():
            info.dtype = dtypes.get(info.name, info.dtype)


def _problem(definition: Any, *, parses: bool, looks_up: bool) -> str | None:  # noqa: ANN401  of an untyped module
    """A phrase that says why a signature cannot be served from an ONNX graph.

    Args:
        definition: SignatureDef.
        parses: Whether some operation parses tf.Examples. If so, a string input may be supported;
            example_cut decides.
        looks_up: Whether some operation looks something up in a table. If so, a string output may
            be supported; the conversion decides.

    Returns:
        None if the signature may be supported.
    """
    strings = [info for info in definition.inputs.values() if info.dtype == DataType.DT_STRING]
    examples = parses and len(strings) == 1
    for kind, infos in (("input", definition.inputs), ("output", definition.outputs)):
        if not infos:
            return f"it has no {kind}"
        for alias, info in sorted(infos.items()):
            known = {data_type.value: data_type for data_type in DataType}
            del known[DataType.DT_BFLOAT16]  # ONNX Runtime's run takes no bfloat16 arrays
            if info.WhichOneof("encoding") != "name":
                return f"{kind} {alias!r} is sparse or composite"
            if info.dtype not in known:
                return f"{kind} {alias!r} has element type {info.dtype}, which NumPy does not have"
            named = looks_up and kind == "output"
            if known[info.dtype] is DataType.DT_STRING and not (examples or named):
                return f"{kind} {alias!r} is DT_STRING"
    return None


def _missing_tensor(definition: Any, nodes: Collection[str]) -> str | None:  # noqa: ANN401
    """A phrase about a tensor of the signature that the graph lacks; None if it lacks none."""
    for kind, infos in (("input", definition.inputs), ("output", definition.outputs)):
        for alias, info in sorted(infos.items()):
            node, _, number = info.name.partition(":")
            if node not in nodes or not number.isdecimal():
                return f"{kind} {alias!r} is tensor {info.name!r}, which the graph does not have"
    return None


def _operations(graph: Any) -> Iterable[str]:  # noqa: ANN401  see _serving_graph
    for node in graph.graph_def.node:
        yield node.op
    for function in graph.graph_def.library.function:
        for node in function.node_def:
            yield node.op


def _onnx_files(names: list[str]) -> dict[str, str]:
    files = {names[0]: ONNX_FILE}
    for name in names[1:]:
        safe = "".join(char if char.isalnum() or char in "_-." else "_" for char in name)
        file = f"model.{safe}.onnx"
        # model.<precision>.onnx is the file name of another precision of model.onnx.
        while safe in PRECISIONS or file in files.values():
            safe += "_"
            file = f"model.{safe}.onnx"
        files[name] = file
    return files


def _to_signature(definition: Any, file: str) -> Signature:  # noqa: ANN401  see _problem
    inputs = {
        alias: tensor_spec(info, tensor=alias) for alias, info in sorted(definition.inputs.items())
    }
    for alias, spec in inputs.items():
        # Parsing takes a vector of tf.Examples, even if the placeholder declares another rank.
        if spec.dtype is DataType.DT_STRING and spec.shape is not None:
            inputs[alias] = replace(spec, shape=(-1,))
    outputs = {
        alias: tensor_spec(info, tensor=f"{alias}_output" if alias in inputs else alias)
        for alias, info in sorted(definition.outputs.items())
    }
    return Signature(
        method_name=definition.method_name,
        file=file,
        inputs=inputs,
        outputs=outputs,
        defaults={
            alias: tensor_util.MakeNdarray(value)
            for alias, value in sorted(definition.defaults.items())
            if alias in inputs
        },
    )


def tensor_spec(info: Any, tensor: str) -> TensorSpec:  # noqa: ANN401  of an untyped module
    """Convert a TensorInfo to the server's TensorSpec.

    Args:
        info: TensorInfo of a dense tensor.
        tensor: Name of the tensor in the ONNX graph.
    """
    shape = tuple(int(dimension.size) for dimension in info.tensor_shape.dim)
    return TensorSpec(
        dtype=DataType(info.dtype),
        shape=None if info.tensor_shape.unknown_rank else shape,
        tensor=tensor,
        graph_name=info.name,
    )

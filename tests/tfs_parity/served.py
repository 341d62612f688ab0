"""The servers that the pairs are sent to, and their models."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from running import servers
from tfs_parity import example_models, models
from tfs_parity.exchange import Peer
from tfs_parity.pair import Server

from serving.tensors.signature import DataType

NUMBER, TEXT = DataType.DT_INT32, DataType.DT_STRING
ALL, BOTH = "all {}", "specific { versions: 123 versions: 124 }"
# Models with another version policy or other labels than the default.
POLICIES = {"half_plus_two": BOTH, "half_plus_two_2_versions": ALL, "half_broken": ALL}
LABELS = {
    "half_plus_two_2_versions": {"A": 123, "B": 124},
    "saved_model_half_plus_two_2_versions": {"Version_Label": 123},
    f"modelname{models.RESERVED}": {f"latest{models.RESERVED}": 123},
    "modelname": {"latest": 99, f"latest{models.RESERVED}": 99},
}


def write_models(folder: Path) -> None:
    """Write every model into a folder with the model's name."""
    models.half_plus_two(folder, "half_plus_two", 123)
    models.half_plus_two(folder, "half_plus_two_2_versions", 123, 124)
    models.half_plus_two(folder, "half_plus_three", 123, plus=3)
    models.counter(folder)
    models.half_plus_two(folder, "half_broken", 123)
    models.broken(folder)
    models.scaled(folder)
    models.total(folder)
    models.echo(folder, "no_default", {"x": DataType.DT_FLOAT}, signature_names=["other"])
    models.echo(
        folder,
        "unsupported_method",
        {"x": DataType.DT_FLOAT},
        method_name=example_models.UNSUPPORTED_METHOD,
    )
    example_models.classifier(folder)
    example_models.regressor(folder)
    example_models.feature_echo(folder)
    example_models.two_inputs(folder)
    for dtype in models.ONNX_TYPES:
        models.echo(
            folder,
            f"echo_{dtype.label}",
            {"default": dtype},
            signature_names=["serving_default", "predict_images"],
        )
    models.echo(folder, "int_tensor", {"int_tensor": NUMBER})
    models.echo(folder, "str_tensor", {"str_tensor": TEXT})
    models.echo(folder, "bytes", {"str_tensor": TEXT}, outputs={"str_tensor_bytes": "str_tensor"})
    models.echo(folder, "int_and_str", {"int_tensor": NUMBER, "str_tensor": TEXT})
    several = {"int_tensor": NUMBER, "str_tensor": TEXT, "float_tensor": DataType.DT_FLOAT}
    models.echo(folder, "four_tensors", several | {"dbl_tensor": DataType.DT_DOUBLE})
    models.echo(folder, "bin_tensor", several | {"bin_tensor": TEXT})
    models.echo(
        folder,
        "five_tensors",
        several | {"double_scalar_tensor": DataType.DT_DOUBLE, "str_tensor_bytes": TEXT},
    )
    two = {"int_tensor": NUMBER, "str_tensor": TEXT}
    models.slices(folder, "no_int", two, {"int_tensor": 0})
    models.slices(folder, "one_str", two, {"str_tensor": 1})
    models.slices(folder, "no_rows", {"int_tensor": NUMBER}, {"int_tensor": 0})
    floats = {"str_tensor": TEXT, "float_tensor": DataType.DT_FLOAT}
    models.slices(folder, "no_rows_of_two", floats, {"str_tensor": 0, "float_tensor": 0})
    models.half_plus_two(folder, "number_99", 99)


def config(folder: Path) -> str:
    """Return the main server's model config file: every model that `write_models` writes."""
    # TensorFlow Serving's tests serve one model under several names.
    paths = {path.name: path for path in sorted(folder.iterdir()) if path.name != "broken"}
    one_version = paths["half_plus_two"]
    paths |= {
        "test_model": one_version,
        "default": one_version,
        "saved_model_half_plus_two_2_versions": one_version,
        f"modelname{models.RESERVED}": one_version,
        "modelname": paths["number_99"],
    }
    return f"model_config_list {{ {' '.join(map(_entry, paths, paths.values()))} }}"


def _entry(name: str, path: Path) -> str:
    labels = "".join(
        f' version_labels {{ key: "{label}" value: {version} }}'
        for label, version in LABELS.get(name, {}).items()
    )
    policy = f" model_version_policy {{ {POLICIES[name]} }}" if name in POLICIES else ""
    return (
        f'config {{ name: "{name}" base_path: "{path}" '
        f'model_platform: "tensorflow"{policy}{labels} }}'
    )


class Peers:
    """Clients of the servers; each server is started when it is first asked for."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._peers: dict[Server, Peer] = {}

    def of(self, server: Server) -> Peer:
        """Return the client of one server, which is started if needed."""
        if server not in self._peers:
            self._peers[server] = self._start(server)
        return self._peers[server]

    def _start(self, server: Server) -> Peer:
        if server == "main":
            file = self._folder / "models.config"
            file.write_text(config(self._folder / "models"))
            running = servers.in_this_process(None, model_config_file=file)
        else:
            running = servers.in_this_process(
                None,
                model_name="test_model",
                model_base_path=self._folder / "models" / "half_plus_two",
                max_num_load_retries=0,
                allow_version_labels_for_unavailable_models=server == "lenient_labels",
            )
        peer = Peer(self._stack.enter_context(running), self._folder / "models")
        self._stack.callback(peer.close)
        return peer


@contextmanager
def peers(folder: Path) -> Iterator[Peers]:
    """Write the models into a folder; yield clients of the servers."""
    write_models(folder / "models")
    with ExitStack() as stack:
        yield Peers(folder, stack)

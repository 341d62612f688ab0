"""Threads and GPU memory for runs, from the settings and TensorFlow's session flags.

TensorFlow has two thread pools for all models. `inter_op` threads run operators concurrently, of
one request or of several. In this server, a run executes its operators one after another, so that
the number of `inter_op` threads becomes the number of runs at a time. `intra_op` threads share the
work of one operator, both in TensorFlow and here.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from serving.engine.devices import gpu_memory
from serving.engine.devices.cuda_options import CudaChoices
from serving.engine.devices.provider import cuda_works
from serving.engine.runtime import Device, RuntimeConfig
from serving.protos.session_config_pb2 import ConfigProto
from serving.settings import batching, text_protos
from serving.settings.notices import warn_once

if TYPE_CHECKING:
    from serving.settings.config import ServerConfig

_KNOWN = text_protos.field_names(ConfigProto.DESCRIPTOR.full_name)


class _Wish(NamedTuple):
    """The number in a TensorFlow setting (0: not set), with the setting's name for messages."""

    number: int
    source: str


def runtime(config: "ServerConfig", available_cores: Callable[[], int]) -> RuntimeConfig:
    """Return device, threads and GPU memory, for this process's share of the cores.

    Args:
        config: The settings.
        available_cores: Returns the number of cores for all worker processes together.

    Raises:
        ConfigError: a file that the settings name cannot be read or parsed.
    """
    cores = max(1, available_cores() // config.workers)
    device: Device = "cuda" if config.require_gpu else config.device
    # A GPU runs the batches of a graph one after another, so further runs would only wait.
    on_gpu = device != "cpu" and cuda_works()
    session, where = _session(config)
    inter, intra = _wishes(config, session, where)
    threads = config.intra_op_threads or _at_most(cores, intra, "threads inside a run")
    by_cores = 1 if on_gpu else max(1, cores // (threads or 1))
    instances = config.instances
    if not instances:
        batch_threads = _Wish(batching.of_all(config)[1], "num_batch_threads")
        wish = batch_threads if batch_threads.number else inter
        most = max(1, cores // threads) if intra.number and not config.intra_op_threads else cores
        instances = _at_most(most, wish, "runs at a time") or by_cores
    return RuntimeConfig(
        device=device,
        instances=instances,
        intra_op_threads=threads or max(1, cores // instances),
        gpu_mem_limit_bytes=config.gpu_mem_limit_bytes
        or _gpu_bytes(config, session, where, on_gpu=on_gpu),
        precision=config.precision,
        io_binding=config.io_binding,
        cuda=CudaChoices(
            graphs=config.cuda_graphs,
            tf32=config.cuda_tf32,
            prefer_nhwc=config.cuda_prefer_nhwc,
        ),
        saved_model_tags=tuple(filter(None, config.saved_model_tags.split(","))) or ("serve",),
    )


def _session(config: "ServerConfig") -> tuple[ConfigProto, str]:
    """Return the session's settings from a file, and the file's path; both empty without a file."""
    platform = config.platform()
    if platform is not None:
        return platform.session, str(config.platform_config_file)
    path = config.tensorflow_session_config_file
    if path is None:
        return ConfigProto(), ""
    return text_protos.read(path, ConfigProto, known=_KNOWN).message, str(path)


def _wishes(config: "ServerConfig", session: ConfigProto, where: str) -> tuple[_Wish, _Wish]:
    """Return the runs at a time and the threads of each run that TensorFlow's settings ask for."""
    if config.platform() is None:
        both = config.tensorflow_session_parallelism
        inter = config.tensorflow_inter_op_parallelism
        intra = config.tensorflow_intra_op_parallelism
        if inter or intra:
            return (
                _Wish(inter, "--tensorflow_inter_op_parallelism"),
                _Wish(intra, "--tensorflow_intra_op_parallelism"),
            )
        if both:  # as on a machine with that number of cores: one single-threaded run a core
            name = "--tensorflow_session_parallelism"
            return _Wish(both, name), _Wish(1, name)
    return (
        _Wish(
            max(0, session.inter_op_parallelism_threads), f"{where}: inter_op_parallelism_threads"
        ),
        _Wish(
            max(0, session.intra_op_parallelism_threads), f"{where}: intra_op_parallelism_threads"
        ),
    )


def _at_most(cores: int, wish: _Wish, what: str) -> int:
    """Return the number that a setting asks for, reduced to `cores` with a warning."""
    if wish.number > cores:
        warn_once(
            f"{wish.source} is {wish.number}, reduced to {cores} {what}: more would only compete "
            "for this process's cores"
        )
    return min(cores, wish.number)


def _gpu_bytes(config: "ServerConfig", session: ConfigProto, where: str, *, on_gpu: bool) -> int:
    """Return the limit on GPU memory that a fraction sets, in bytes; 0 for no limit."""
    fraction, source = config.per_process_gpu_memory_fraction, "--per_process_gpu_memory_fraction"
    if not fraction or config.platform() is not None:
        fraction = session.gpu_options.per_process_gpu_memory_fraction
        source = f"{where}: per_process_gpu_memory_fraction"
    if fraction <= 0:
        return 0
    total = gpu_memory.total_bytes() if on_gpu else None
    if total is None:
        warn_once(f"{source} has no effect here, because no GPU is used")
        return 0
    return int(min(1.0, fraction) * total)

"""How the settings have graphs run: threads and GPU memory, TensorFlow's session flags included.

TensorFlow has two pools of threads for all models. `inter_op` threads run operators at the same
time, of one request or of several; here a run goes through its operators one by one, so that these
are the runs at a time. `intra_op` threads share the work of one operator, as here.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from serving.engine.runtime import CUDA, Device, RuntimeConfig, available_providers
from serving.protos.session_config_pb2 import ConfigProto
from serving.settings import batching, gpu_memory, text_protos
from serving.settings.notices import warn_once

if TYPE_CHECKING:
    from serving.settings.config import ServerConfig

_KNOWN = text_protos.field_names(ConfigProto.DESCRIPTOR.full_name)


class _Wish(NamedTuple):
    """A number that a setting of TensorFlow's asks for, 0 for none, and the setting's name."""

    number: int
    source: str


def runtime(config: "ServerConfig", available_cores: Callable[[], int]) -> RuntimeConfig:
    """The threads and the memory to use, from the settings and this process's share of the cores.

    Args:
        config: The settings.
        available_cores: Gives the cores of all processes together.

    Raises:
        ConfigError: a file that the settings name cannot be understood.
    """
    cores = max(1, available_cores() // config.workers)
    device: Device = "cuda" if config.require_gpu else config.device
    # A GPU runs one batch of a graph after another: more threads would only wait for it.
    on_gpu = device != "cpu" and CUDA in available_providers()
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
        saved_model_tags=tuple(filter(None, config.saved_model_tags.split(","))) or ("serve",),
    )


def _session(config: "ServerConfig") -> tuple[ConfigProto, str]:
    """What a file says of the session, and which file."""
    platform = config.platform()
    if platform is not None:
        return platform.session, str(config.platform_config_file)
    path = config.tensorflow_session_config_file
    if path is None:
        return ConfigProto(), ""
    return text_protos.read(path, ConfigProto, known=_KNOWN).message, str(path)


def _wishes(config: "ServerConfig", session: ConfigProto, where: str) -> tuple[_Wish, _Wish]:
    """The runs at a time, and the threads of each, that TensorFlow's settings ask for."""
    if config.platform() is None:
        both = config.tensorflow_session_parallelism
        inter = config.tensorflow_inter_op_parallelism
        intra = config.tensorflow_intra_op_parallelism
        if inter or intra:
            return (
                _Wish(inter, "--tensorflow_inter_op_parallelism"),
                _Wish(intra, "--tensorflow_intra_op_parallelism"),
            )
        if both:  # so many threads in all, as if the machine had so many cores
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
    """The number that is wished for, but no more than there are cores for."""
    if wish.number > cores:
        warn_once(
            f"{wish.source} is {wish.number}, taken as {cores} {what}: more would only wait for "
            "each other on the cores that there are"
        )
    return min(cores, wish.number)


def _gpu_bytes(config: "ServerConfig", session: ConfigProto, where: str, *, on_gpu: bool) -> int:
    """The GPU memory that a fraction of it stands for (bytes); 0 for no limit."""
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

"""The ONNX Runtime sessions of one graph: the main one, and further ones for single batch sizes."""

from pathlib import Path

from serving.engine.devices import cuda_options
from serving.engine.devices.gpu_turns import TURNS
from serving.engine.devices.library import onnxruntime
from serving.engine.devices.provider import CUDA, choose_providers
from serving.engine.devices.runtime_config import RuntimeConfig, session_options
from serving.errors import DataLoss
from serving.repository.model_folder import Precision

# Run config entry of ONNX Runtime: the CUDA graph of a run; -1 runs without one.
GRAPH_ID, NO_GRAPH = "gpu_graph_id", "-1"


class GraphSessions:
    """Opens the sessions of one graph.

    Attributes:
        main: The session for runs of any shape.
        no_graphs: Why the main session captures no CUDA graphs; empty if it does.
        mem_limit_bytes: Limit of the graph's memory on the GPU, in bytes; 0: no limit.
    """

    def __init__(self, onnx_file: Path, config: RuntimeConfig, precision: Precision) -> None:
        """Open the main session, with CUDA graphs if they are wanted and the graph allows them.

        Raises:
            DataLoss: ONNX Runtime cannot load the file.
            DeviceError: see `choose_providers`.
        """
        self._file, self._config, self._precision = onnx_file, config, precision
        self._providers, _ = choose_providers(config.device)
        self.mem_limit_bytes = config.gpu_mem_limit_bytes
        self.main, self.no_graphs = self._open_main()

    def _open_main(self) -> tuple[onnxruntime.InferenceSession, str]:
        config = self._config
        if self._providers[0] != CUDA or not config.binds(CUDA):
            return self.open(), "batches do not run on fixed buffers on CUDA"
        if not config.cuda.graphs:
            return self.open(), "--cuda_graphs is off"
        try:
            return self._open(self.mem_limit_bytes, captures=True), ""
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no base class
            return self.open(), " ".join(str(error).split())

    @property
    def captures(self) -> bool:
        """Whether the main session captures CUDA graphs."""
        return not self.no_graphs

    @property
    def file_bytes(self) -> int:
        """Size of the graph's file and of the files with its weights, in bytes."""
        return sum(path.stat().st_size for path in self._file.parent.glob(f"{self._file.name}*"))

    def open(self, mem_limit_bytes: int | None = None) -> onnxruntime.InferenceSession:
        """Open a session that captures no CUDA graphs.

        Args:
            mem_limit_bytes: Limit of the session's memory pool on the GPU, in bytes; 0: no limit;
                None: that of the graph.

        Raises:
            DataLoss: ONNX Runtime cannot load the file.
        """
        limit = self.mem_limit_bytes if mem_limit_bytes is None else mem_limit_bytes
        try:
            return self._open(limit, captures=False)
        except Exception as error:  # ONNX Runtime's errors share no base class
            msg = f"{self._file} cannot be loaded: {error}"
            raise DataLoss(msg) from error

    def _open(self, mem_limit_bytes: int, *, captures: bool) -> onnxruntime.InferenceSession:
        of_cuda = cuda_options.provider_options(
            self._config.cuda, captures=captures, mem_limit_bytes=mem_limit_bytes
        )
        with TURNS.shared():
            return onnxruntime.InferenceSession(
                str(self._file),
                session_options(self._config, self._precision),
                providers=self._providers,
                provider_options=[of_cuda if name == CUDA else {} for name in self._providers],
                enable_fallback=0,  # the fallback prints, and goes on with the CPU
            )

    def reopen_main(self, no_graphs: str, mem_limit_bytes: int | None = None) -> None:
        """Replace the main session by one that captures no CUDA graphs; no run may use it.

        Args:
            no_graphs: Why it captures none.
            mem_limit_bytes: See `open`.

        Raises:
            DataLoss: see `open`.
        """
        with TURNS.shared():
            del self.main
        self.main = self.open(mem_limit_bytes)
        self.no_graphs = no_graphs

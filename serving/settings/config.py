"""Server settings, named as in TensorFlow Serving if it has the setting; `flags` reads them."""
# ruff: noqa: RUF009 - `_setting` is dataclasses.field with a help text and limits

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from serving.engine.batching.batching_config import BatchingConfig
from serving.engine.machine import available_cores
from serving.engine.managed_model import ManagerConfig
from serving.engine.runtime import Device, IoBinding, RuntimeConfig
from serving.repository.version_folders import BasePath
from serving.settings import (
    batching,
    contradictions,
    monitoring_file,
    network,
    platform_file,
    session,
    tls_file,
)
from serving.settings.contradictions import setting_field as _setting
from serving.settings.platform_file import Platform
from serving.transport.network_config import LogFormat, NetworkConfig
from serving.transport.tls import PortCertificates

Front = Literal["asgi", "grpcio"]
ModelControlMode = Literal["none", "explicit"]
PrecisionChoice = Literal["auto", "fp32", "fp16", "w8", "int8"]
DEFAULT_MODELS_DIR = Path("models")
_DAY = 86_400


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """Settings of the model server; flags carry the same names.

    Raises:
        ConfigError: a value is out of range, or two settings contradict each other.
    """

    # Models
    models_dir: BasePath | None = _setting(
        None,
        "folder, or URI of a folder in a store, with <name>/<version>/model.onnx for any number of "
        "models (default: models)",
    )
    model_name: str = _setting("default", "name of the model in --model_base_path")
    model_base_path: BasePath | None = _setting(
        None, "folder, or URI of a folder in a store, with <version>/model.onnx of one model"
    )
    model_config_file: Path | None = _setting(None, "ModelServerConfig in text format")
    model_config_file_poll_wait_seconds: float = _setting(
        0.0, "time between checks of --model_config_file; 0: never (seconds)", 0, _DAY, negative=0
    )
    file_system_poll_wait_seconds: float = _setting(
        1.0, "time between checks for new versions; 0: check once (seconds)", 0, _DAY, negative=0
    )
    storage_cache_dir: Path | None = _setting(
        None, "folder for versions from stores (default: onnx-serving in ~/.cache)"
    )
    storage_cache_bytes: int = _setting(20 << 30, "most bytes in it; 0: no limit (bytes)")
    storage_poll_wait_seconds: float = _setting(
        10.0, "time between two looks for new versions in a store (seconds)", 0.1, _DAY
    )
    max_num_load_retries: int = _setting(
        5, "further attempts to load a version; negative: no limit", 0, 1 << 32, negative=1 << 32
    )
    load_retry_interval_micros: int = _setting(
        60_000_000, "time between attempts to load; negative: 0 (microseconds)", negative=0
    )
    model_control_mode: ModelControlMode = _setting(
        "none",
        "none: serve all models; explicit: start with --load_models, and load and unload models of "
        "--models_dir by calls of KServe v2, as Triton does",
    )
    load_models: str = _setting(
        "", "with --model_control_mode=explicit: models to start with, separated by commas; *: all"
    )
    allow_version_labels_for_unavailable_models: bool = _setting(
        default=False, text="accept new labels on versions that are not loaded"
    )
    enable_model_warmup: bool = _setting(
        default=True,
        text="run a version on zeros and its assets.extra/tf_serving_warmup_requests before use",
    )
    num_request_iterations_for_warmup: int = _setting(
        0, "times that warm-up answers each recorded request; 0: once", 0, 1 << 31, negative=0
    )
    enable_signature_method_name_check: bool = _setting(
        default=False,
        text="refuse Classify and Regress with a signature of another method, and Predict with a "
        "signature of an unknown method",
    )
    # Network
    host: str = _setting("0.0.0.0", "address to listen on")  # noqa: S104 - a server in a container
    port: int = _setting(8500, "gRPC port; 0 picks a free one", 0, 65535)
    rest_api_port: int = _setting(0, "REST port; 0: no separate port for REST", 0, 65535)
    health_port: int | None = _setting(
        None,
        "separate port for /healthz, /readyz and grpc.health.v1, without TLS, which answers while "
        "the other ports are flooded; 0 picks a free one (default: no such port)",
        0,
        65535,
    )
    rest_api_timeout_in_ms: int = _setting(
        30_000,
        "time limit for a REST call of any API; negative: a day (milliseconds)",
        1,
        _DAY * 1000,
        negative=_DAY * 1000,
    )
    rest_api_enable_cors_support: bool = _setting(
        default=False, text="send CORS headers that let web pages of any origin call the REST APIs"
    )
    rest_api_tfs_format: bool = _setting(
        default=False,
        text="format REST answers as TensorFlow Serving does, indented and with 9e+06 for "
        "9000000.0; off: the same values in fewer bytes and much less time",
    )
    grpc_socket_path: Path | None = _setting(None, "Unix socket to listen on, besides --port")
    ssl_config_file: Path | None = _setting(
        None, "SSLConfig in text format: TLS on the gRPC port only"
    )
    rest_api_ssl_config_file: Path | None = _setting(
        None, "SSLConfig in text format: TLS on the REST port; may be the same file"
    )
    # Access
    api_keys_file: Path | None = _setting(
        None, "JSON file with the callers' keys, roles and limits, made by python -m serving.keys"
    )
    api_keys_file_poll_wait_seconds: float = _setting(
        1.0, "time between two checks of --api_keys_file for changes (seconds)", 0.05, _DAY
    )
    open_access: str = _setting(
        "health",
        "with --api_keys_file: what needs no key, out of health, metadata, metrics and predict, "
        "separated by commas; metadata includes the states of models and server reflection",
    )
    enable_reload_rpc: bool = _setting(
        default=True, text="answer HandleReloadConfigRequest, and loads and unloads by name"
    )
    admin_address: str = _setting(
        "",
        "host:port on the loopback interface, or unix:/path: the only address that answers the "
        "methods of role admin, without TLS",
    )
    # Processes, and limits of connections and requests
    front: Front = _setting(
        "asgi",
        "library for gRPC: the fast ASGI web server, or grpcio, where one client's flood of resets "
        "cancels other clients' calls and one address may hold all connections (docs/limits.md)",
    )
    workers: int = _setting(1, "worker processes on the ports, each with all models", 1, 1024)
    worker_timeout_seconds: float = _setting(
        60.0,
        "time after which a worker that does not answer is replaced, the loading of models "
        "excluded; 0: never (seconds)",
        0,
        _DAY,
    )
    max_message_bytes: int | None = _setting(
        None,
        "size limit of a request (bytes; default: max_buffered_bytes, but less than 2 GiB)",
        1,
        network.MAX_MESSAGE_BYTES,
    )
    max_buffered_bytes: int = _setting(
        512 << 20, "most bytes of all large requests in flight; more are refused (bytes)", 1
    )
    max_connections: int = _setting(
        2048,
        "most connections of a process, or fewer if its limit on open files is low; one address "
        "may hold a quarter of them",
        1,
        1 << 20,
    )
    idle_connection_seconds: float = _setting(
        300.0, "time without a request until a connection is closed; 0: never (seconds)", 0, _DAY
    )
    trusted_proxies: str = _setting(
        "",
        "addresses and networks of proxies, separated by commas: they may hold more than a quarter "
        "of the connections, and their x-forwarded-for names the client for fair shares",
    )
    lame_duck_seconds: float = _setting(
        0.0,
        "time after SIGTERM in which health answers NOT_SERVING and calls are still answered; more "
        "than the health interval of the load balancer loses no call (seconds)",
        0,
        3600,
    )
    drain_seconds: float = _setting(
        25.0, "time that calls in flight get after the lame duck, on SIGTERM (seconds)", 0, 3600
    )
    # Running models
    device: Device = _setting("auto", "auto: CUDA if it works, else CPU; cuda: fail without CUDA")
    require_gpu: bool = _setting(default=False, text="the same as --device cuda")
    gpu_mem_limit_bytes: int = _setting(
        0, "most GPU memory for each graph's pool; 0: no limit (bytes)"
    )
    per_process_gpu_memory_fraction: float = _setting(
        0.0, "gpu_mem_limit_bytes as a fraction of the GPU's memory; 0: no limit", 0, 1 << 10
    )
    io_binding: IoBinding = _setting(
        "auto",
        "run batches on fixed buffers, padded to few batch sizes; auto: on CUDA only; on: on the "
        "CPU, too (docs/batching.md)",
    )
    cuda_graphs: bool = _setting(
        default=True, text="capture a CUDA graph for each batch size where the graph allows it"
    )
    cuda_tf32: bool = _setting(
        default=True, text="let CUDA compute float32 products in TensorFloat-32"
    )
    cuda_prefer_nhwc: bool = _setting(
        default=False, text="let CUDA compute convolutions in the layout NHWC"
    )
    precision: PrecisionChoice = _setting(
        "auto", "precision of the graph to run; auto: the version's fastest graph on this device"
    )
    instances: int = _setting(
        0, "runs at the same time per model; 0: one a core, or one on a GPU", 0, 1024
    )
    intra_op_threads: int = _setting(0, "threads inside one run; 0: cores / instances", 0, 1024)
    tensorflow_session_parallelism: int = _setting(
        0, "single-threaded runs at the same time, at most the cores", 0, 1 << 31, negative=0
    )
    tensorflow_inter_op_parallelism: int = _setting(
        0, "instances, at most the cores; --instances overrides it", 0, 1 << 31, negative=0
    )
    tensorflow_intra_op_parallelism: int = _setting(
        0,
        "intra_op_threads, at most the cores; --intra_op_threads overrides it",
        0,
        1 << 31,
        negative=0,
    )
    tensorflow_session_config_file: Path | None = _setting(
        None, "ConfigProto in text format: inter_op, intra_op and the fraction of the GPU's memory"
    )
    platform_config_file: Path | None = _setting(
        None, "PlatformConfigMap in text format, which replaces the batching and session flags"
    )
    saved_model_tags: str = _setting(
        "serve", "tags of the graph to load from a SavedModel without ONNX, separated by commas"
    )
    enable_batching: bool = _setting(
        default=True,
        text="run waiting requests together in one batch, if a version's rows are proved to be "
        "independent; TensorFlow Serving's default is off",
    )
    batching_parameters_file: Path | None = _setting(None, "BatchingParameters in text format")
    enable_per_model_batching_parameters: bool = _setting(
        default=False,
        text="read batching_params.pbtxt in a version's folder, and batch that version without a "
        "proof that its rows are independent; batching_parameters_file then sets the threads only",
    )
    force_batching: str = _setting(
        "",
        "names of models, separated by commas, to batch without a proof that rows are independent",
    )
    max_batch_size: int = _setting(
        0,
        "most rows of one run; 0: 64 on a CPU, and on CUDA up to 256, as far as a version's proof "
        "of independent rows reaches",
        0,
        1 << 20,
    )
    batch_timeout_micros: int = _setting(
        0, "time to wait for a batch to fill (microseconds)", 0, 60_000_000
    )
    max_enqueued_rows: int = _setting(
        10_000, "most rows of a version that wait or run; more are refused", 1, 1 << 30
    )
    max_rows_per_request: int = _setting(
        0, "most rows of one request; 0: max_enqueued_rows", 0, 1 << 30
    )
    # Answers and monitoring
    enable_serialization_as_tensor_content: bool = _setting(
        default=False, text="send answers in tensor_content instead of typed fields"
    )
    kserve_server_name: str = _setting(
        "onnx-serving", "server name in KServe v2's metadata; some clients of Triton expect triton"
    )
    kserve_raw_answers: bool = _setting(
        default=False, text="answer ModelInfer in raw_output_contents, even if a request is typed"
    )
    triton_metrics: bool = _setting(
        default=False, text="add the metrics of Triton (nv_inference_...) to the metrics page"
    )
    monitoring_config_file: Path | None = _setting(
        None, "MonitoringConfig in text format: path of the metrics page, or no metrics page"
    )
    log_format: LogFormat = _setting("text", "text: lines of text; json: a JSON object a line")
    enable_tracing: bool = _setting(
        default=False, text="OpenTelemetry traces, set up by OTEL_* variables; needs the extra otel"
    )
    enable_console: bool = _setting(
        default=True, text="answer / with the console, and describe the REST APIs (docs/console.md)"
    )
    console_hosts: str = _setting(
        "", "further names under which browsers may open the console, separated by commas"
    )
    # Settings of TensorFlow Serving's gRPC library
    grpc_channel_arguments: str = _setting(
        "",
        "key=value,... for grpcio with --front grpcio; the default front uses only "
        "grpc.max_connection_idle_ms and grpc.max_receive_message_length",
    )

    def __post_init__(self) -> None:
        """Check ranges, choices and contradictions."""
        contradictions.check(self)

    def manager(self) -> ManagerConfig:
        """Return the settings of the manager, which loads and unloads versions."""
        looks = self.model_control_mode != "explicit"  # then a load looks once
        return ManagerConfig(
            poll_seconds=self.file_system_poll_wait_seconds if looks else 0,
            max_load_retries=self.max_num_load_retries,
            retry_seconds=self.load_retry_interval_micros / 1e6,
            allow_labels_for_unavailable=self.allow_version_labels_for_unavailable_models,
        )

    def platform(self) -> Platform | None:
        """Return the content of `platform_config_file`; None if it is not set.

        Raises:
            ConfigError: the file cannot be read or parsed.
        """
        path = self.platform_config_file
        return None if path is None else platform_file.read(path)

    def warm_up_iterations(self) -> int:
        """Return how often warm-up answers a version's recorded requests; 0: no warm-up.

        Raises:
            ConfigError: `platform_config_file` cannot be read or parsed.
        """
        platform = self.platform()
        if platform is not None:
            return platform.warm_up_iterations
        return max(1, self.num_request_iterations_for_warmup) if self.enable_model_warmup else 0

    def batching(self) -> BatchingConfig:
        """Return the batching settings for versions without their own.

        Raises:
            ConfigError: the file of batching parameters cannot be read or parsed.
        """
        return batching.of_all(self)[0]

    def batching_of(self, name: str, version: Path) -> BatchingConfig:
        """Return the batching settings of one version.

        Args:
            name: Model name.
            version: The version's folder.

        Raises:
            ConfigError: a file of batching parameters cannot be read or parsed.
        """
        return batching.of_version(self, name, version)

    def runtime(self) -> RuntimeConfig:
        """Return device, threads and GPU memory, for this process's share of the cores.

        Raises:
            ConfigError: a file that the settings name cannot be read or parsed.
        """
        return session.runtime(self, available_cores)

    def network(self) -> NetworkConfig:
        """Return the network settings: addresses and limits.

        Raises:
            ConfigError: `trusted_proxies`, `admin_address` or `grpc_channel_arguments` cannot be
                parsed.
        """
        return network.of(self)

    def tls(self) -> PortCertificates:
        """Read the TLS settings of the ports.

        Raises:
            ConfigError: a file cannot be read or parsed.
        """
        return tls_file.read_both(self.ssl_config_file, self.rest_api_ssl_config_file)

    def metrics_path(self) -> str | None:
        """Return the path of the metrics page; None if `monitoring_config_file` disables it.

        Without that file the page is on, whereas TensorFlow Serving then has none.

        Raises:
            ConfigError: the file cannot be read or parsed, or the path does not begin with `/`.
        """
        return monitoring_file.metrics_path(self.monitoring_config_file)

"""TensorFlow Serving's command line: flags that set something here, and what others come to."""

from dataclasses import dataclass
from typing import Literal

Value = bool | int | str
Kind = Literal["nothing", "warned", "refused"]


@dataclass(frozen=True, kw_only=True)
class TensorFlowFlag:
    """One such flag.

    Attributes:
        name: Without dashes.
        type: Of its values.
        kind: `nothing`: whatever it is set to holds here by itself; `warned`: it has no effect;
            `refused`: it asks for what cannot be had.
        reason: Why, with the way out where there is one.
        void: Values that ask for nothing, of a flag that is warned about or refused.
    """

    name: str
    type: type[Value]
    kind: Kind
    reason: str
    void: tuple[Value, ...] = ()

    def notice(self, value: Value) -> str:
        """What there is to say about a value; empty for nothing."""
        if self.kind == "nothing" or value in self.void:
            return ""
        if self.kind == "refused":
            return f"--{self.name}={str(value).lower()} cannot be had here: {self.reason}"
        return f"--{self.name} has no effect here, because {self.reason}"


_WITHOUT = (False,)

FLAGS = (
    TensorFlowFlag(
        name="rest_api_num_threads",
        type=int,
        kind="warned",
        reason="one event loop answers all HTTP calls; --workers adds processes",
    ),
    TensorFlowFlag(
        name="grpc_max_threads",
        type=int,
        kind="warned",
        reason="one event loop answers all gRPC calls; --workers adds processes",
    ),
    TensorFlowFlag(
        name="num_load_threads",
        type=int,
        kind="warned",
        reason="versions are loaded one after another, beside the calls: ONNX Runtime's sessions "
        "must not be made at the same time",
        void=(0, 1),
    ),
    TensorFlowFlag(
        name="num_unload_threads",
        type=int,
        kind="nothing",
        reason="every version is unloaded in a thread of its own",
    ),
    TensorFlowFlag(
        name="flush_filesystem_caches",
        type=bool,
        kind="nothing",
        reason="models lie in local files, of which TensorFlow Serving has no cache either",
    ),
    TensorFlowFlag(
        name="use_alts_credentials",
        type=bool,
        kind="refused",
        reason="ALTS is Google Cloud's own; leave the flag out and set --ssl_config_file, whose "
        "client_verify asks clients for certificates",
        void=_WITHOUT,
    ),
    TensorFlowFlag(
        name="remove_unused_fields_from_bundle_metagraph",
        type=bool,
        kind="nothing",
        reason="no MetaGraphDef is kept in memory",
    ),
    TensorFlowFlag(
        name="prefer_tflite_model",
        type=bool,
        kind="refused",
        reason="TensorFlow Lite files cannot be served; leave the flag out and convert the model "
        "to ONNX (tf2onnx reads .tflite files)",
        void=_WITHOUT,
    ),
    TensorFlowFlag(
        name="num_tflite_pools",
        type=int,
        kind="nothing",
        reason="it concerns --prefer_tflite_model alone",
    ),
    TensorFlowFlag(
        name="num_tflite_interpreters_per_pool",
        type=int,
        kind="nothing",
        reason="it concerns --prefer_tflite_model alone",
    ),
    TensorFlowFlag(
        name="xla_cpu_compilation_enabled",
        type=bool,
        kind="warned",
        reason="the runtimes optimize every graph by themselves; XLA is not switched on",
        void=_WITHOUT,
    ),
    TensorFlowFlag(
        name="xla_gpu_compilation_enabled",
        type=bool,
        kind="warned",
        reason="the runtimes optimize every graph by themselves; XLA is not switched on",
        void=_WITHOUT,
    ),
    TensorFlowFlag(
        name="enable_profiler",
        type=bool,
        kind="refused",
        reason="there is no ProfilerService; leave the flag out and set --enable_tracing for the "
        "times of each call",
        void=_WITHOUT,
    ),
    TensorFlowFlag(
        name="thread_pool_factory_config_file",
        type=str,
        kind="warned",
        reason="the runtimes make their own threads; --instances and --intra_op_threads set them",
    ),
    TensorFlowFlag(
        name="mixed_precision",
        type=str,
        kind="warned",
        reason="a graph's precision is chosen when the model is exported; --precision picks one "
        "of those that a version has",
    ),
    TensorFlowFlag(
        name="skip_initialize_tpu",
        type=bool,
        kind="nothing",
        reason="no TPU is initialized",
    ),
    TensorFlowFlag(
        name="enable_grpc_healthcheck_service",
        type=bool,
        kind="nothing",
        reason="grpc.health.v1 is always there",
    ),
)

# Those that are settings of this server (`config.ServerConfig`), and `--version`.
MAPPED = (
    "port",
    "grpc_socket_path",
    "rest_api_port",
    "rest_api_timeout_in_ms",
    "rest_api_enable_cors_support",
    "enable_batching",
    "allow_version_labels_for_unavailable_models",
    "batching_parameters_file",
    "enable_per_model_batching_parameters",
    "model_config_file",
    "model_config_file_poll_wait_seconds",
    "model_name",
    "model_base_path",
    "max_num_load_retries",
    "load_retry_interval_micros",
    "file_system_poll_wait_seconds",
    "tensorflow_session_parallelism",
    "tensorflow_session_config_file",
    "tensorflow_intra_op_parallelism",
    "tensorflow_inter_op_parallelism",
    "ssl_config_file",
    "platform_config_file",
    "per_process_gpu_memory_fraction",
    "saved_model_tags",
    "grpc_channel_arguments",
    "enable_model_warmup",
    "num_request_iterations_for_warmup",
    "version",
    "monitoring_config_file",
    "enable_signature_method_name_check",
    "enable_serialization_as_tensor_content",
)

# Flags that TensorFlow Serving had once. It goes on without them, after printing its usage.
RETIRED = {
    "model_version_policy": "write model_version_policy into a --model_config_file",
    "use_saved_model": "leave it out",
}

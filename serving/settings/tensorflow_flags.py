"""TensorFlow Serving's flags: those that are settings here, and the effect of the others."""

from dataclasses import dataclass
from typing import Literal

Value = bool | int | str
Kind = Literal["nothing", "warned", "refused"]


@dataclass(frozen=True, kw_only=True)
class TensorFlowFlag:
    """A flag of TensorFlow Serving that is not a setting of this server.

    Attributes:
        name: Name without dashes.
        type: Type of its values.
        kind: `nothing`: accepted, because no value of the flag would change this server; `warned`:
            accepted with a warning that it has no effect; `refused`: the start fails, because the
            flag asks for a feature that this server lacks.
        reason: The reason for the kind, with the way out if there is one.
        void: Values of a warned or refused flag that are accepted without a warning.
    """

    name: str
    type: type[Value]
    kind: Kind
    reason: str
    void: tuple[Value, ...] = ()

    def notice(self, value: Value) -> str:
        """Return the warning or error for a value; empty if there is none."""
        if self.kind == "nothing" or value in self.void:
            return ""
        if self.kind == "refused":
            return f"--{self.name}={str(value).lower()} is not supported here: {self.reason}"
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
        reason="versions are loaded one after another while calls are answered: ONNX Runtime's "
        "sessions must not be created at the same time",
        void=(0, 1),
    ),
    TensorFlowFlag(
        name="num_unload_threads",
        type=int,
        kind="nothing",
        reason="every version is unloaded in a separate thread",
    ),
    TensorFlowFlag(
        name="flush_filesystem_caches",
        type=bool,
        kind="nothing",
        reason="models are local files, for which TensorFlow Serving has no cache either",
    ),
    TensorFlowFlag(
        name="use_alts_credentials",
        type=bool,
        kind="refused",
        reason="ALTS works on Google Cloud only; leave the flag out and set --ssl_config_file, "
        "whose client_verify makes clients present certificates",
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
        reason="it only has an effect with --prefer_tflite_model",
    ),
    TensorFlowFlag(
        name="num_tflite_interpreters_per_pool",
        type=int,
        kind="nothing",
        reason="it only has an effect with --prefer_tflite_model",
    ),
    TensorFlowFlag(
        name="xla_cpu_compilation_enabled",
        type=bool,
        kind="warned",
        reason="the runtimes have their own optimizers; XLA is not used",
        void=_WITHOUT,
    ),
    TensorFlowFlag(
        name="xla_gpu_compilation_enabled",
        type=bool,
        kind="warned",
        reason="the runtimes have their own optimizers; XLA is not used",
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
        reason="the runtimes create their own threads; set --instances and --intra_op_threads",
    ),
    TensorFlowFlag(
        name="mixed_precision",
        type=str,
        kind="warned",
        reason="a graph's precision is chosen when the model is exported; --precision chooses "
        "among the precisions of a version",
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
        reason="grpc.health.v1 is always served",
    ),
)

# TensorFlow Serving's flags that are settings of this server (`config.ServerConfig`), and
# `--version`.
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

# Flags that TensorFlow Serving has dropped, with advice. TensorFlow Serving prints its usage and
# ignores them.
RETIRED = {
    "model_version_policy": "write model_version_policy into a --model_config_file",
    "use_saved_model": "leave it out",
}

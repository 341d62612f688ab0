"""Tests of every flag in TensorFlow Serving's main.cc and what it does here."""

import re
from dataclasses import fields

import pytest

from serving.errors import ConfigError
from serving.settings import config as config_module
from serving.settings import session, tensorflow_flags
from serving.settings.config import ServerConfig
from serving.settings.flags import TENSORFLOW_PROGRAM, parse, parse_config

ALL_FLAGS = re.findall(
    r"\w+",
    """
port grpc_socket_path rest_api_port rest_api_num_threads rest_api_timeout_in_ms
rest_api_enable_cors_support enable_batching allow_version_labels_for_unavailable_models
batching_parameters_file enable_per_model_batching_parameters model_config_file
model_config_file_poll_wait_seconds model_name model_base_path num_load_threads num_unload_threads
max_num_load_retries load_retry_interval_micros file_system_poll_wait_seconds
flush_filesystem_caches tensorflow_session_parallelism tensorflow_session_config_file
tensorflow_intra_op_parallelism tensorflow_inter_op_parallelism use_alts_credentials
ssl_config_file platform_config_file per_process_gpu_memory_fraction saved_model_tags
grpc_channel_arguments grpc_max_threads enable_model_warmup num_request_iterations_for_warmup
version monitoring_config_file remove_unused_fields_from_bundle_metagraph prefer_tflite_model
num_tflite_pools num_tflite_interpreters_per_pool enable_signature_method_name_check
xla_cpu_compilation_enabled xla_gpu_compilation_enabled enable_profiler
thread_pool_factory_config_file mixed_precision skip_initialize_tpu
enable_grpc_healthcheck_service enable_serialization_as_tensor_content
""",
)

# Flag, value, and the beginning of the notice about a flag without effect ("" for no notice).
NOTICES = [
    ("rest_api_num_threads", "32", "--rest_api_num_threads has no effect here, because one event"),
    ("grpc_max_threads", "8", "--grpc_max_threads has no effect here, because one event loop"),
    ("num_load_threads", "4", "--num_load_threads has no effect here, because versions are"),
    ("num_load_threads", "0", ""),
    ("num_load_threads", "1", ""),
    ("num_unload_threads", "4", ""),
    ("flush_filesystem_caches", "true", ""),
    ("flush_filesystem_caches", "false", ""),
    ("use_alts_credentials", "false", ""),
    ("remove_unused_fields_from_bundle_metagraph", "false", ""),
    ("prefer_tflite_model", "0", ""),
    ("num_tflite_pools", "2", ""),
    ("num_tflite_interpreters_per_pool", "2", ""),
    ("xla_cpu_compilation_enabled", "false", ""),
    ("xla_cpu_compilation_enabled", "true", "--xla_cpu_compilation_enabled has no effect here"),
    ("xla_gpu_compilation_enabled", "TRUE", "--xla_gpu_compilation_enabled has no effect here"),
    ("enable_profiler", "false", ""),
    ("thread_pool_factory_config_file", "", ""),
    ("thread_pool_factory_config_file", "/f", "--thread_pool_factory_config_file has no effect"),
    ("mixed_precision", "", ""),
    ("mixed_precision", "bfloat16", "--mixed_precision has no effect here, because a graph's"),
    ("skip_initialize_tpu", "true", ""),
    ("enable_grpc_healthcheck_service", "true", ""),
    ("enable_grpc_healthcheck_service", "false", ""),
]


@pytest.mark.parametrize("name", ALL_FLAGS)
def test_every_flag_is_known(name):
    """Each flag of TensorFlow Serving is either a setting of this server or in FLAGS."""
    mapped = {setting.name for setting in fields(ServerConfig)} | {"version"}
    others = {flag.name for flag in tensorflow_flags.FLAGS}

    assert (name in mapped) + (name in others) == 1
    assert (name in tensorflow_flags.MAPPED) is (name in mapped)


def test_the_flags_are_tensorflow_servings_48():
    """MAPPED and FLAGS together list TensorFlow Serving's 48 flags, each once."""
    listed = [*tensorflow_flags.MAPPED, *(flag.name for flag in tensorflow_flags.FLAGS)]

    assert sorted(listed) == sorted(ALL_FLAGS)
    assert len(listed) == 48


@pytest.mark.parametrize(("name", "value", "notice"), NOTICES)
def test_a_flag_without_effect_has_a_notice_unless_its_value_holds_anyway(name, value, notice):
    """A flag without effect gives one notice, unless its value holds here anyway."""
    _, notices = parse([f"--{name}={value}"], {})

    assert len(notices) == bool(notice)
    assert not notice or notices[0].startswith(notice)


def test_each_of_these_flags_is_tried():
    """NOTICES tries every flag of FLAGS."""
    refused = {flag.name for flag in tensorflow_flags.FLAGS if flag.kind == "refused"}

    assert {name for name, _, _ in NOTICES} == {flag.name for flag in tensorflow_flags.FLAGS}
    assert refused == {"use_alts_credentials", "prefer_tflite_model", "enable_profiler"}


@pytest.mark.parametrize(
    ("flag", "way_out"),
    [
        ("--enable_profiler", "set --enable_tracing"),
        ("--prefer_tflite_model=1", "convert the model to ONNX"),
        ("--use_alts_credentials=true", "set --ssl_config_file"),
    ],
)
def test_unsupported_flags_are_refused_in_one_line(flag, way_out):
    """The refusal of an unsupported flag is one line with the flag and the way out."""
    with pytest.raises(ConfigError) as caught:
        parse_config([flag], {})

    assert str(caught.value).startswith(flag.partition("=")[0] + "=true is not supported here: ")
    assert way_out in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("flag", "effect", "value"),
    [
        ("--max_num_load_retries=-1", lambda c: c.manager().max_load_retries, 1 << 32),
        ("--max_num_load_retries=0", lambda c: c.manager().max_load_retries, 0),
        ("--load_retry_interval_micros=-1", lambda c: c.manager().retry_seconds, 0),
        ("--load_retry_interval_micros=250000", lambda c: c.manager().retry_seconds, 0.25),
        ("--file_system_poll_wait_seconds=-1", lambda c: c.manager().poll_seconds, 0),
        ("--rest_api_timeout_in_ms=-1", lambda c: c.rest_api_timeout_in_ms, 86_400_000),
        ("--num_request_iterations_for_warmup=-3", lambda c: c.warm_up_iterations(), 1),
        ("--num_request_iterations_for_warmup=3", lambda c: c.warm_up_iterations(), 3),
        ("--enable_model_warmup=false", lambda c: c.warm_up_iterations(), 0),
        ("--tensorflow_session_parallelism=-1", lambda c: c.tensorflow_session_parallelism, 0),
        ("--ssl_config_file=", lambda c: c.ssl_config_file, None),
        ("--batching_parameters_file=", lambda c: c.batching(), ServerConfig().batching()),
        ("--monitoring_config_file=", lambda c: c.metrics_path(), ServerConfig().metrics_path()),
        ("--grpc_socket_path=", lambda c: c.network().grpc_socket_path, None),
        ("--platform_config_file=", lambda c: c.platform(), None),
        ("--tensorflow_session_config_file=", lambda c: c.tensorflow_session_config_file, None),
        ("--grpc_channel_arguments=", lambda c: c.network().grpc_channel_arguments, ""),
        ("--model_config_file=", lambda c: c.model_config_file, None),
        ("--model_base_path=", lambda c: c.model_base_path, None),
        ("--model_name=", lambda c: c.model_name, "default"),
        (
            "--grpc_channel_arguments=grpc.max_connection_idle_ms=9000",
            lambda c: c.network().idle_connection_seconds,
            9,
        ),
        (
            "--grpc_channel_arguments=grpc.max_receive_message_length=1000",
            lambda c: c.network().max_message_bytes,
            1000,
        ),
        ("--port=+9000", lambda c: c.network().port, 9000),
    ],
)
def test_values_mean_the_same_as_in_tensorflow_serving(flag, effect, value):
    """Negative numbers and empty texts mean the same as in TensorFlow Serving."""
    parsed, notices = parse([flag], {})

    assert effect(parsed) == value
    assert not notices


@pytest.mark.parametrize("text", ["8_500", "8500.0", "0x10", ""])
def test_a_whole_number_is_written_as_in_c(text):
    """A number that C's `sscanf` does not read as a whole number is refused."""
    with pytest.raises(ConfigError, match=r"--port is .*, expected a number"):
        parse_config([f"--port={text}"], {})


def test_channel_arguments_without_effect_give_notices():
    """Each channel argument without effect gives one notice; with --front=grpcio none does.

    grpcio applies all of them.
    """
    text = "grpc.max_connection_age_ms=2000,grpc.max_connection_idle_ms=1000"
    _, notices = parse([f"--grpc_channel_arguments={text}"], {})
    _, with_library = parse([f"--grpc_channel_arguments={text}", "--front=grpcio"], {})

    (notice,) = notices
    assert notice.startswith("--grpc_channel_arguments: grpc.max_connection_age_ms has no effect")
    assert with_library == []


def test_the_list_of_models_beats_the_one_model():
    """--model_config_file beats --model_name and --model_base_path, as in TensorFlow Serving."""
    parsed, notices = parse(
        ["--model_name=m", "--model_base_path=/m", "--model_config_file=/f"], {}
    )

    assert (str(parsed.model_config_file), parsed.model_base_path) == ("/f", None)
    assert notices == [
        "--model_name and --model_base_path given with --model_config_file, which overrides them"
    ]


def test_a_platform_file_overrides_session_flags():
    """A session flag beside --platform_config_file gives a notice, as in TensorFlow Serving."""
    _, notices = parse(
        ["--platform_config_file=/p", "--tensorflow_session_parallelism=2", "--port=1"], {}
    )

    assert notices == [
        "--tensorflow_session_parallelism has no effect beside --platform_config_file"
    ]


def test_polling_without_a_list_of_models_is_accepted():
    """A poll interval without --model_config_file is accepted, with a notice, and set to 0."""
    parsed, notices = parse(["--model_config_file_poll_wait_seconds=60"], {})

    assert parsed.model_config_file_poll_wait_seconds == 0
    assert notices[0].startswith("--model_config_file_poll_wait_seconds has no effect")


def test_one_port_for_grpc_and_rest_is_accepted():
    """If both ports are the same, that port answers gRPC and REST, with a notice.

    TensorFlow Serving answers gRPC alone on such a port.
    """
    parsed, notices = parse(["--rest_api_port=8500"], {})

    assert (parsed.port, parsed.rest_api_port) == (8500, 0)
    assert notices[0].endswith("port 8500 answers gRPC and REST")


def test_port_0_beside_a_socket_gives_a_notice():
    """--port=0 beside --grpc_socket_path gives a notice: here it opens a free port.

    TensorFlow Serving opens no port then.
    """
    _, notices = parse(["--port=0", "--grpc_socket_path=/s"], {})

    assert notices[0].startswith("--port=0 picks a free port here")


def test_variables_set_these_flags_too():
    """A flag without effect can be set by its variable, like every flag."""
    _, notices = parse([], {"SERVING_GRPC_MAX_THREADS": "8"})

    assert notices[0].startswith("--grpc_max_threads has no effect here")


def test_tensorflow_servings_program_needs_a_model():
    """`tensorflow_model_server` without a model stops with TensorFlow Serving's message.

    The default folder `models` is not looked for; SERVING_MODELS_DIR is accepted.
    """
    with pytest.raises(ConfigError) as caught:
        parse_config([], {}, TENSORFLOW_PROGRAM)
    parsed = parse_config([], {"SERVING_MODELS_DIR": "/m"}, TENSORFLOW_PROGRAM)

    assert str(caught.value).startswith(
        "Both server_options.model_base_path and server_options.model_config_file are empty!"
    )
    assert str(parsed.models_dir) == "/m"


def test_tensorflow_servings_program_prints_its_two_lines(capsys):
    """`--version` prints two lines as TensorFlow Serving does; the third word is this version."""
    with pytest.raises(SystemExit) as caught:
        parse_config(["--version"], {}, TENSORFLOW_PROGRAM)

    first, second = capsys.readouterr().out.splitlines()
    assert caught.value.code == 0
    assert first.startswith("TensorFlow ModelServer: 0.1.0+onnx-serving")
    assert second.startswith("TensorFlow Library: none, ONNX Runtime ")


def test_version_may_be_switched_off(capsys):
    """`--version=false` prints nothing."""
    parse_config(["--version=false"], {})

    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "expected", "told"),
    [
        (["--tensorflow_session_parallelism=2"], (2, 1), ""),
        (["--tensorflow_session_parallelism=9"], (4, 1), "--tensorflow_session_parallelism is 9"),
        (["--tensorflow_intra_op_parallelism=2"], (2, 2), ""),
        (["--tensorflow_intra_op_parallelism=8"], (1, 4), "--tensorflow_intra_op_parallelism is 8"),
        (["--tensorflow_inter_op_parallelism=1"], (1, 4), ""),
        (["--tensorflow_inter_op_parallelism=7"], (4, 1), "--tensorflow_inter_op_parallelism is 7"),
        (
            ["--tensorflow_intra_op_parallelism=4", "--tensorflow_inter_op_parallelism=2"],
            (1, 4),
            "--tensorflow_inter_op_parallelism is 2, reduced to 1 runs at a time",
        ),
        (["--tensorflow_intra_op_parallelism=2", "--intra_op_threads=1"], (4, 1), ""),
        (["--tensorflow_session_parallelism=1", "--instances=3"], (3, 1), ""),
    ],
)
def test_sessions_threads_are_runs_and_threads(monkeypatch, caplog, flags, expected, told):
    """Session flags set instances and threads, cut to the four cores; a cut is logged."""
    monkeypatch.setattr(config_module, "available_cores", lambda: 4)

    chosen = parse_config(flags, {}).runtime()

    assert (chosen.instances, chosen.intra_op_threads) == expected
    assert (told in caplog.text) if told else not caplog.text


def test_batch_threads_are_at_most_the_cores(monkeypatch, caplog, tmp_path):
    """num_batch_threads is cut to the number of cores: further runs would only wait."""
    monkeypatch.setattr(config_module, "available_cores", lambda: 2)
    path = tmp_path / "batching.txt"
    path.write_text("num_batch_threads { value: 8 }")

    chosen = parse_config([f"--batching_parameters_file={path}"], {}).runtime()

    assert chosen.instances == 2
    assert "num_batch_threads is 8, reduced to 2 runs at a time" in caplog.text


def test_a_session_config_file_sets_threads(monkeypatch, caplog, tmp_path):
    """The session config file sets threads; flags override it; unused fields are logged."""
    monkeypatch.setattr(config_module, "available_cores", lambda: 4)
    path = tmp_path / "session.txt"
    path.write_text("intra_op_parallelism_threads: 2 inter_op_parallelism_threads: 1 log_it: 1")

    by_file = parse_config([f"--tensorflow_session_config_file={path}"], {}).runtime()
    by_flag = parse_config(
        [f"--tensorflow_session_config_file={path}", "--tensorflow_session_parallelism=3"], {}
    ).runtime()

    assert (by_file.instances, by_file.intra_op_threads) == (1, 2)
    assert (by_flag.instances, by_flag.intra_op_threads) == (3, 1)
    assert f"{path}:1: log_it has no effect here" in caplog.text


@pytest.mark.parametrize(("fraction", "limit"), [("0.25", 4 << 30), ("1", 16 << 30), ("0", 0)])
def test_a_part_of_the_gpus_memory_limits_the_pool(monkeypatch, fraction, limit):
    """--per_process_gpu_memory_fraction limits the pool to that part of the driver's total."""
    monkeypatch.setattr(session, "cuda_works", lambda: True)
    monkeypatch.setattr(session.gpu_memory, "total_bytes", lambda: 16 << 30)

    parsed = parse_config([f"--per_process_gpu_memory_fraction={fraction}"], {})

    assert parsed.runtime().gpu_mem_limit_bytes == limit


def test_a_part_of_the_gpus_memory_without_a_gpu_is_logged(caplog):
    """On a CPU, --per_process_gpu_memory_fraction is logged as without effect."""
    parsed = parse_config(["--per_process_gpu_memory_fraction=0.5", "--device=cpu"], {})

    assert parsed.runtime().gpu_mem_limit_bytes == 0
    assert "--per_process_gpu_memory_fraction has no effect here, because no GPU" in caplog.text

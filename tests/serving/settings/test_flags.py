"""Tests of flags and variables: which one counts, how values are written, and what is refused."""

import re
from pathlib import Path

import pytest

from serving.errors import ConfigError
from serving.settings.flags import parse_config


def test_flag_beats_environment_beats_default():
    """A flag is preferred to a variable, and a variable to the default."""
    environment = {"SERVING_PORT": "9001", "SERVING_MODELS_DIR": "/srv/models"}

    parsed = parse_config(["--port=9000"], environment)

    assert (parsed.port, parsed.models_dir, parsed.device) == (9000, Path("/srv/models"), "auto")


def test_a_kubernetes_service_named_serving_is_no_setting():
    """SERVING_PORT=tcp://..., which Kubernetes sets beside a Service "serving", is ignored."""
    parsed = parse_config([], {"SERVING_PORT": "tcp://10.0.0.1:8500"})

    assert parsed.port == 8500


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], False),
        (["--enable_serialization_as_tensor_content"], True),
        (["--enable_serialization_as_tensor_content=false"], False),
    ],
)
def test_booleans_are_written_as_in_tensorflow_serving(arguments, expected):
    """A bare boolean flag means true, `=false` means false."""
    parsed = parse_config(arguments, {})

    assert parsed.enable_serialization_as_tensor_content is expected


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["--port=http"], {}, "--port is 'http', expected a number"),
        ([], {"SERVING_PORT": "http"}, "SERVING_PORT is 'http', expected a number"),
        (["--port=70000"], {}, "--port is 70000, expected 0 to 65535"),
        (["--device=tpu"], {}, "--device is 'tpu', expected one of auto, cpu, cuda"),
        (["--max_message_bytes=0"], {}, "--max_message_bytes is 0, expected 1 to"),
        (
            ["--enable_serialization_as_tensor_content=maybe"],
            {},
            "--enable_serialization_as_tensor_content is 'maybe', expected true or false",
        ),
    ],
)
def test_bad_values_name_their_source(arguments, environment, message):
    """The message names the flag or variable with the bad value and the accepted values."""
    with pytest.raises(ConfigError, match=message):
        parse_config(arguments, environment)


@pytest.mark.parametrize(
    ("flag", "hint"),
    [
        ("--prot=1", "did you mean --port?"),
        ("--por=1", "did you mean --port?"),
        ("-port=1", "did you mean --port?"),
        ("--noenable_batching", "did you mean --enable_batching?"),
        ("models", "did you mean --models_dir?"),
        ("7", "expected --flag=value"),
        ("--model_version_policy=ALL_VERSIONS", "write model_version_policy into a --model_config"),
    ],
)
def test_unknown_flags_stop_the_start(flag, hint):
    """A misspelt or abbreviated flag stops the start; the message names the nearest flag."""
    with pytest.raises(ConfigError) as caught:
        parse_config([flag], {})

    assert str(caught.value).startswith(f"unknown argument: {flag}; ")
    assert hint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_flag_without_its_value_is_refused_in_a_line():
    """A flag without its value is refused in one line, without the usage of over sixty flags."""
    with pytest.raises(ConfigError, match="argument --port: expected one argument"):
        parse_config(["--port"], {})


def test_tensorflow_servings_flags_are_known():
    """A command line for TensorFlow Serving is parsed without changes."""
    parsed = parse_config(
        [
            *("--port=8500", "--rest_api_port=8501", "--rest_api_timeout_in_ms=1000"),
            *("--model_name=m", "--model_base_path=/m", "--enable_batching"),
            *("--file_system_poll_wait_seconds=2", "--grpc_max_threads=8"),
            *("--grpc_channel_arguments=grpc.max_connection_age_ms=1000", "--enable_model_warmup"),
            *("--enable_grpc_healthcheck_service=true", "--max_num_load_retries", "3"),
            "--allow_version_labels_for_unavailable_models",
        ],
        {},
    )

    assert (parsed.model_name, parsed.max_num_load_retries) == ("m", 3)
    assert parsed.manager().allow_labels_for_unavailable


def test_require_gpu_is_device_cuda():
    """--require_gpu is the same as --device cuda."""
    assert parse_config(["--require_gpu"], {}).runtime().device == "cuda"


def test_version_prints_the_versions(capsys):
    """--version prints the project's version and ONNX Runtime's and exits with code 0."""
    with pytest.raises(SystemExit) as caught:
        parse_config(["--version"], {})

    assert caught.value.code == 0
    assert re.match(r"onnx-serving \S+, ONNX Runtime \d+\.", capsys.readouterr().out)

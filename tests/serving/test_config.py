from pathlib import Path

import pytest

from serving import config
from serving.config import ServerConfig
from serving.errors import ConfigError
from serving.flags import parse_config


def test_flag_beats_environment_beats_default():
    """Each setting is looked up in that order."""
    environment = {"SERVING_PORT": "9001", "SERVING_MODELS_DIR": "/srv/models"}

    parsed = parse_config(["--port=9000"], environment)

    assert (parsed.port, parsed.models_dir, parsed.device) == (9000, Path("/srv/models"), "auto")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], False),
        (["--enable_serialization_as_tensor_content"], True),
        (["--enable_serialization_as_tensor_content=false"], False),
    ],
)
def test_booleans_are_written_as_in_tensorflow_serving(arguments, expected):
    """A bare flag switches on, `=false` switches off."""
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
    """The message says where the value came from and what would do."""
    with pytest.raises(ConfigError, match=message):
        parse_config(arguments, environment)


@pytest.mark.parametrize("flag", ["--prot=1", "--por=1", "models"])
def test_unknown_flags_stop_the_start(flag, capsys):
    """A misspelt or abbreviated flag is not guessed at."""
    with pytest.raises(SystemExit) as caught:
        parse_config([flag], {})

    assert caught.value.code == 2
    assert f"unrecognized arguments: {flag}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "instances", "threads"),
    [
        ({}, 4, 1),
        ({"instances": 1}, 1, 4),
        ({"instances": 2}, 2, 2),
        ({"intra_op_threads": 2}, 2, 2),
        ({"instances": 8}, 8, 1),
    ],
)
def test_threads_follow_the_cores(monkeypatch, settings, instances, threads):
    """By default one instance a core; instances times threads fill the cores."""
    monkeypatch.setattr(config, "available_cores", lambda: 4)

    chosen = ServerConfig(**settings).runtime()

    assert (chosen.instances, chosen.intra_op_threads) == (instances, threads)

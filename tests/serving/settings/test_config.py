from pathlib import Path

import pytest

from serving.engine.devices.cuda_options import CudaChoices
from serving.errors import ConfigError
from serving.settings import config, session
from serving.settings.config import ServerConfig
from serving.settings.flags import parse, parse_config


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


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (
            ["--models_dir=a", "--model_config_file=b"],
            {},
            "--models_dir and --model_config_file given, expected one of them",
        ),
        (
            ["--models_dir=a", "--model_base_path=/b"],
            {},
            "--models_dir and --model_base_path given",
        ),
        (["--model_name=a"], {}, "--model_name given without --model_base_path"),
        (["--require_gpu", "--device=cpu"], {}, "--require_gpu given with --device cpu"),
        (
            ["--batching_parameters_file=a", "--enable_batching=false"],
            {},
            "--batching_parameters_file given with --enable_batching=false",
        ),
        (
            ["--batching_parameters_file=a"],
            {"SERVING_MAX_BATCH_SIZE": "3"},
            "--max_batch_size given with --batching_parameters_file",
        ),
        (
            ["--ssl_config_file=a", "--grpc_socket_path=/b"],
            {},
            "--grpc_socket_path given with --ssl_config_file",
        ),
        (
            ["--rest_api_ssl_config_file=a"],
            {},
            "--rest_api_ssl_config_file given without --rest_api_port",
        ),
        (
            ["--grpc_socket_path=/a", "--front=grpcio", "--workers=2"],
            {},
            "--grpc_socket_path given with --front grpcio and --workers",
        ),
        (["--port=8500", "--health_port=8500"], {}, "are both 8500"),
        (["--admin_address=127.0.0.1:8500"], {}, "--port and --admin_address are both 8500"),
        (["--admin_address=0.0.0.0:8503"], {}, "expected unix:/path, or host:port with a host"),
        (["--admin_address=10.0.0.1:8503"], {}, "expected unix:/path, or host:port with a host"),
        (["--admin_address=127.0.0.1"], {}, "--admin_address is '127.0.0.1', expected"),
        (["--admin_address=127.0.0.1:65536"], {}, "expected unix:/path, or host:port"),
        (["--admin_address=unix:"], {}, "--admin_address is 'unix:', expected"),
        (
            ["--admin_address=unix:/a", "--grpc_socket_path=/a"],
            {},
            "--admin_address and --grpc_socket_path are both /a",
        ),
        (["--open_access=metrics"], {}, "--open_access given without --api_keys_file"),
        (["--open_access=admin", "--api_keys_file=a"], {}, "--open_access has 'admin', expected"),
        (["--precision=int4"], {}, "--precision is 'int4', expected one of auto, fp32, fp16, w8"),
        (["--front=apache"], {}, "--front is 'apache', expected one of asgi, grpcio"),
        (["--model_base_path=ftp://b/m"], {}, "ftp:// cannot be read, expected a local folder"),
        (
            ["--model_control_mode=explicit", "--model_config_file=a"],
            {},
            "--model_control_mode=explicit given with --model_config_file, expected --models_dir",
        ),
        (
            ["--model_control_mode=explicit", "--model_base_path=/a"],
            {},
            "--model_control_mode=explicit given with --model_base_path, expected --models_dir",
        ),
        (["--model_control_mode=poll"], {}, "is 'poll', expected one of none, explicit"),
        (["--load_models=a"], {}, "--load_models given without --model_control_mode=explicit"),
        (
            [
                *("--tensorflow_session_parallelism=1", "--tensorflow_intra_op_parallelism=1"),
                "--tensorflow_inter_op_parallelism=1",
            ],
            {},
            "Either configure server_options.tensorflow_session_parallelism or ",
        ),
    ],
)
def test_contradictions_stop_the_start(arguments, environment, message):
    """Settings that contradict each other stop the start."""
    with pytest.raises(ConfigError, match=message):
        parse_config(arguments, environment)


@pytest.mark.parametrize(("mode", "seconds"), [("none", 3.0), ("explicit", 0)])
def test_models_that_calls_load_are_not_polled(mode, seconds):
    """With --model_control_mode=explicit no poll looks for new versions."""
    settings = {"model_control_mode": mode, "file_system_poll_wait_seconds": 3.0}

    assert ServerConfig(**settings).manager().poll_seconds == seconds


@pytest.mark.parametrize(
    ("arguments", "environment", "name", "value"),
    [
        ([], {}, None, None),
        (["--model_config_file=a"], {"SERVING_MODELS_DIR": "/m"}, "model_config_file", Path("a")),
        (["--models_dir=a"], {"MODEL_NAME": "m"}, "models_dir", Path("a")),
        (
            [],
            {"SERVING_MODELS_DIR": "/m", "SERVING_MODEL_CONFIG_FILE": "/f"},
            "model_config_file",
            Path("/f"),
        ),
        (
            [],
            {"SERVING_MODELS_DIR": "/m", "MODEL_NAME": "half_plus_two"},
            "model_base_path",
            Path("/models/half_plus_two"),
        ),
        ([], {"MODEL_BASE_PATH": "/m", "MODEL_NAME": "x"}, "model_base_path", Path("/m/x")),
        (["--model_name=y"], {"MODEL_BASE_PATH": "/m"}, "model_base_path", Path("/m/y")),
        ([], {"MODEL_BASE_PATH": "/m"}, "model_base_path", Path("/m/model")),
    ],
)
def test_models_come_from_one_place(arguments, environment, name, value):
    """A flag beats variables for another source; the image's own SERVING_MODELS_DIR is weakest."""
    parsed = parse_config(arguments, environment)

    places = {
        name: getattr(parsed, name)
        for name in ("models_dir", "model_base_path", "model_config_file")
        if getattr(parsed, name) is not None
    }
    assert places == ({name: value} if name else {})


def test_tensorflow_servings_container_variables_name_the_model():
    """MODEL_NAME is the model's name and its folder in /models, as in the official image."""
    parsed = parse_config([], {"MODEL_NAME": "half_plus_two"})

    assert parsed.model_name == "half_plus_two"
    assert parsed.model_base_path == Path("/models/half_plus_two")


def test_a_batching_file_sets_threads_and_sizes(tmp_path, monkeypatch):
    """max_batch_size of the file is the batch size; num_batch_threads is the instances."""
    monkeypatch.setattr(config, "available_cores", lambda: 4)
    path = tmp_path / "batching.txt"
    path.write_text("max_batch_size { value: 7 } num_batch_threads { value: 3 }")

    parsed = parse_config([f"--batching_parameters_file={path}"], {})

    assert parsed.batching().max_batch_size == 7
    assert parsed.runtime().instances == 3


@pytest.mark.parametrize("names", ["first,second", "first, second"])
def test_force_batching_applies_to_the_models_it_names(tmp_path, names):
    """--force_batching applies to the models it names.

    Other models batch only where their rows are proved independent.
    """
    parsed = parse_config([f"--force_batching={names}"], {})

    assert parsed.batching_of("second", tmp_path).forced_by == "--force_batching"
    assert parsed.batching_of("third", tmp_path) == parsed.batching()
    assert not parsed.batching().forced_by


@pytest.mark.parametrize(
    ("flags", "sizes"),
    [
        ([], (64, 256)),
        (["--max_batch_size=0"], (64, 256)),
        (["--max_batch_size=64"], (64, 0)),
        (["--max_batch_size=300"], (300, 0)),
    ],
)
def test_the_largest_batch_depends_on_the_device_unless_it_is_given(flags, sizes):
    """By default batches have 64 rows on a CPU, up to 256 on CUDA; a given size counts on both."""
    batching = parse_config(flags, {}).batching()

    assert (batching.max_batch_size, batching.max_batch_size_on_cuda) == sizes


def test_the_settings_of_cuda_reach_the_runtime():
    """The flags about buffers and CUDA are settings of the runtimes."""
    default = parse_config([], {}).runtime()
    flags = ["--io_binding=on", "--cuda_graphs=false", "--cuda_tf32=false", "--cuda_prefer_nhwc"]
    chosen = parse_config(flags, {}).runtime()

    assert (default.io_binding, default.cuda) == ("auto", CudaChoices())
    assert chosen.io_binding == "on"
    assert chosen.cuda == CudaChoices(graphs=False, tf32=False, prefer_nhwc=True)


@pytest.mark.parametrize(("works", "instances"), [(True, 1), (False, 3)])
def test_a_gpu_counts_only_if_it_works(monkeypatch, works, instances):
    """One run at a time on a working GPU; without one as many as cores, whatever the package is."""
    monkeypatch.setattr(session, "cuda_works", lambda: works)
    monkeypatch.setattr(config, "available_cores", lambda: 3)

    assert parse_config([], {}).runtime().instances == instances


def test_a_versions_own_batching_file_counts_where_the_flag_allows(tmp_path):
    """With the flag, a version's batching file is used and forces batching; else it is not read."""
    (tmp_path / "batching_params.pbtxt").write_text("max_batch_size { value: 7 }")

    flag = "--enable_per_model_batching_parameters"
    allowed = parse_config([flag], {}).batching_of("m", tmp_path)
    ignored = parse_config([], {}).batching_of("m", tmp_path)

    assert (allowed.max_batch_size, allowed.forced_by) == (7, "batching_params.pbtxt")
    assert (ignored.max_batch_size, ignored.forced_by) == (64, "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("prometheus_config { enable: false path: '/m' }", None),
        ("prometheus_config { enable: true }", "/monitoring/prometheus/metrics"),
        ("prometheus_config { enable: true path: '/metrics' }", "/metrics"),
    ],
)
def test_a_monitoring_file_tells_the_path(tmp_path, text, expected):
    """The monitoring file turns the metrics page on or off and sets its path."""
    path = tmp_path / "monitoring.txt"
    path.write_text(text)

    assert parse_config([f"--monitoring_config_file={path}"], {}).metrics_path() == expected


def test_workers_share_the_cores(monkeypatch):
    """Workers share the cores: four cores for two processes make two instances in each."""
    monkeypatch.setattr(config, "available_cores", lambda: 4)

    assert ServerConfig(workers=2).runtime().instances == 2
    assert ServerConfig(workers=8).runtime().instances == 1


def test_a_versions_own_batching_file_overrides_the_common_one(tmp_path):
    """With the flag for versions' own files, only the threads of the common file are used.

    This also holds for versions without a file of their own.
    """
    common = tmp_path / "batching.txt"
    common.write_text("max_batch_size { value: 5 } num_batch_threads { value: 1 }")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "batching_params.pbtxt").write_text("batch_timeout_micros { value: 9 }")

    flags = [f"--batching_parameters_file={common}", "--enable_per_model_batching_parameters"]
    parsed = parse_config(flags, {})

    own, other = (parsed.batching_of("m", tmp_path / name) for name in ("own", "other"))
    assert (own.max_batch_size, own.batch_timeout_micros) == (64, 9)
    assert other == ServerConfig().batching()
    assert parsed.runtime().instances == 1


@pytest.mark.parametrize(
    ("flags", "limit"),
    [
        ([], 512 << 20),
        (["--max_buffered_bytes=1000"], 1000),
        ([f"--max_buffered_bytes={8 << 30}"], 2**31 - 1),
        (["--max_message_bytes=2000", "--max_buffered_bytes=1000"], 2000),
    ],
)
def test_a_message_may_take_what_all_may(flags, limit):
    """The default of --max_message_bytes is --max_buffered_bytes, at most 2 GiB - 1.

    2 GiB - 1 is TensorFlow Serving's limit.
    """
    assert parse_config(flags, {}).network().max_message_bytes == limit


@pytest.mark.parametrize("flag", ["port", "rest_api_port"])
def test_a_flag_beats_the_images_port_for_health(flag):
    """A flag for the port of SERVING_HEALTH_PORT turns the health port off, with a notice.

    The image sets that variable, and a user with --port=8502 never chose the port for health.
    """
    variables = {"SERVING_HEALTH_PORT": "8502"}
    config, notices = parse([f"--{flag}=8502"], variables)
    beside = parse_config([f"--{flag}=8503"], variables)

    assert getattr(config, flag) == 8502
    assert config.health_port is None
    assert any(f"--{flag}=8502 is also SERVING_HEALTH_PORT" in notice for notice in notices)
    assert beside.health_port == 8502


def test_an_empty_ssl_config_file_is_none():
    """An empty --ssl_config_file means no TLS: templates leave such flags behind."""
    config = parse_config(["--ssl_config_file=", "--rest_api_ssl_config_file="], {})

    assert config.tls() == (None, None)


@pytest.mark.parametrize(
    ("flags", "tags"),
    [
        ([], ("serve",)),
        (["--saved_model_tags="], ("serve",)),
        (["--saved_model_tags=serve,gpu"], ("serve", "gpu")),
    ],
)
def test_saved_model_tags_are_joined_by_commas(flags, tags):
    """Tags are separated by commas; without tags it is TensorFlow Serving's default, `serve`."""
    assert parse_config(flags, {}).runtime().saved_model_tags == tags

import pytest

from serving.errors import ConfigError
from serving.settings import config as config_module
from serving.settings.flags import parse_config

URL = "type.googleapis.com/tensorflow.serving.SavedModelBundleSourceAdapterConfig"


@pytest.fixture
def parse(tmp_path):
    """A function that writes a platform configuration into a file and parses settings with it."""
    path = tmp_path / "platform.config"

    def parse_text(legacy: str, *flags: str, platform: str = "tensorflow", url: str = URL):
        path.write_text(
            f'platform_configs {{ key: "{platform}"\n value {{ source_adapter_config {{\n'
            f"[{url}] {{ legacy_config {{\n{legacy}\n}} }} }} }} }}"
        )
        return parse_config([f"--platform_config_file={path}", *flags], {})

    return parse_text


def test_the_platform_file_overrides_flags(parse, monkeypatch, tmp_path):
    """The file's batching, threads and warm-up override the flags, as in TensorFlow Serving."""
    monkeypatch.setattr(config_module, "available_cores", lambda: 4)

    parsed = parse(
        "batching_parameters { max_batch_size { value: 7 } num_batch_threads { value: 1 } } "
        "session_config { intra_op_parallelism_threads: 2 } enable_model_warmup: true "
        "model_warmup_options { num_request_iterations { value: 5 } } "
        "enable_per_model_batching_params: true",
        "--enable_batching=false",
        "--tensorflow_intra_op_parallelism=1",
    )
    (tmp_path / "batching_params.pbtxt").write_text("max_batch_size { value: 3 }")

    chosen = parsed.runtime()
    assert (parsed.batching().enabled, parsed.batching().max_batch_size) == (True, 7)
    assert parsed.batching_of("m", tmp_path).max_batch_size == 3
    assert (chosen.instances, chosen.intra_op_threads) == (1, 2)
    assert parsed.warm_up_iterations() == 5


def test_an_empty_platform_file_turns_warm_up_off(parse):
    """An empty file turns warm-up off, as in TensorFlow Serving; the flags set the batching."""
    parsed = parse("")

    assert parsed.warm_up_iterations() == 0
    assert parsed.batching().max_batch_size == 64


def test_fields_without_effect_are_logged(parse, caplog):
    """Each field without effect is logged in its own line, unknown fields too."""
    parse(
        'saved_model_tags: "serve" session_target: "x"\nenable_session_metadata: true\n'
        "some_future_field { a: 1 }",
    ).batching()

    assert (
        "platform.config:4: session_target has no effect here: this server configures sessions by "
        "session_config and its own flags" in caplog.text
    )
    assert "platform.config:5: enable_session_metadata has no effect here" in caplog.text
    assert "platform.config:6: some_future_field has no effect here" in caplog.text
    assert "saved_model_tags" not in caplog.text


def test_saved_model_tags_in_the_file_have_no_effect(parse, caplog):
    """Tags other than `serve` in the file are ignored; the log names --saved_model_tags."""
    parse('saved_model_tags: "serve" saved_model_tags: "gpu"').batching()

    assert "saved_model_tags has no effect here: set --saved_model_tags instead" in caplog.text


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"platform": "other"}, ":1: PlatformConfigMap has no entry for platform tensorflow"),
        (
            {"url": "type.googleapis.com/tensorflow.serving.ModelConfig"},
            ":2: source_adapter_config is 'type.googleapis.com/tensorflow.serving.ModelConfig'",
        ),
        ({"url": "type.googleapis.com/a.B"}, "Type a.B not found in descriptor pool"),
        ({"legacy": "prefer_tflite_model: true"}, ":4: prefer_tflite_model is true, but"),
        (
            {"legacy": "batching_parameters {\nmax_batch_size { value: 0 } }"},
            ":5: max_batch_size is 0, expected at least 1",
        ),
    ],
)
def test_a_file_that_cannot_be_served_is_refused_with_its_line(parse, changes, reason):
    """A platform file that cannot be used is refused with the line and the reason."""
    legacy = changes.pop("legacy", "")
    with pytest.raises(ConfigError) as caught:
        parse(legacy, **changes).batching()

    assert reason in str(caught.value)

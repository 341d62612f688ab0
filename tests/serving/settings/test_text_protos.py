import pytest

from serving.errors import ConfigError
from serving.protos.session_config_pb2 import ConfigProto
from serving.protos.tfs_config_pb2 import BatchingParameters, ModelServerConfig, SSLConfig
from serving.settings import text_protos


def test_a_file_is_read_into_its_message(tmp_path):
    """A text proto with wrapped numbers, lists and comments is read into its message."""
    path = tmp_path / "batching.txt"
    path.write_text("# all of it\nmax_batch_size { value: 8 }\nallowed_batch_sizes: [2, 8]\n")

    message = text_protos.read(path, BatchingParameters).message

    assert message.max_batch_size.value == 8
    assert list(message.allowed_batch_sizes) == [2, 8]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "model_config_list {\n  config {\n    nane: 'a'\n  }\n}",
            '3:5: Message type "tensorflow.serving.ModelConfig" has no field named "nane"',
        ),
        ("model_config_list {\n  config {\n", "2:10: Expected"),
        ("model_config_list: 7", "1:20: Expected"),
    ],
)
def test_a_malformed_file_is_refused_with_its_line(tmp_path, text, reason):
    """The error is one line: file, line number, protobuf's message and the expected fields."""
    path = tmp_path / "models.txt"
    path.write_text(text)

    with pytest.raises(ConfigError) as caught:
        text_protos.read(path, ModelServerConfig)

    line = reason.partition(":")[0]
    assert str(caught.value).startswith(
        f"{path}:{line}: Error parsing text-format tensorflow.serving.ModelServerConfig: {reason}"
    )
    assert "expected the fields of tensorflow.serving.ModelServerConfig" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unreadable_files_are_named(tmp_path):
    """A missing file and a file that is not UTF-8 have different error messages."""
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")

    with pytest.raises(ConfigError, match=r"missing cannot be read: No such file"):
        text_protos.read(tmp_path / "missing", ModelServerConfig)
    with pytest.raises(ConfigError, match=r"binary is not UTF-8 text"):
        text_protos.read(binary, ModelServerConfig)


def test_a_refusal_shows_nothing_of_the_text(tmp_path):
    """The error for a malformed SSL config shows none of its text: it may hold a private key."""
    path = tmp_path / "ssl.config"
    path.write_text('server_key: "secret"; server_cert "certificate" }')

    with pytest.raises(ConfigError) as caught:
        text_protos.read(path, SSLConfig)

    assert str(caught.value).startswith(f"{path}:1: ")
    assert "secret" not in str(caught.value)


def test_unknown_fields_are_logged_where_they_are_accepted(tmp_path, caplog):
    """Each unknown field is logged once with its line, without the fields inside it.

    Known fields are not logged.
    """
    path = tmp_path / "session.config"
    path.write_text(
        "intra_op_parallelism_threads: 2\n"
        "graph_options < rewrite_options { constant_folding: ON } >\n"
        'gpu_options { visible_device_list: "0" per_process_gpu_memory_fraction: 0.5 }\n'
        'device_count { key: "CPU" value: 1 }\n'
    )

    known = text_protos.field_names("tensorflow.ConfigProto")
    message = text_protos.read(path, ConfigProto, known=known).message

    assert message.intra_op_parallelism_threads == 2
    assert message.gpu_options.per_process_gpu_memory_fraction == 0.5
    told = [record.message.removeprefix(f"{path}:").split()[:2] for record in caplog.records]
    assert told == [["2:", "graph_options"], ["3:", "visible_device_list"], ["4:", "device_count"]]

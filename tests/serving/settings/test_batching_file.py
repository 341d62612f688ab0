import pytest

from serving.engine.batching.batching_config import BatchingConfig
from serving.errors import ConfigError
from serving.settings import batching_file


@pytest.fixture
def read(tmp_path):
    """A function that writes batching parameters into a file and reads the file."""

    def read_text(text: str):
        path = tmp_path / "batching.txt"
        path.write_text(text)
        return batching_file.read(path, BatchingConfig())

    return read_text


def test_the_parameters_are_translated(read):
    """The file sets the batching; max_enqueued_batches becomes rows, threads are returned apart."""
    config, threads = read(
        """
        max_batch_size { value: 32 }
        batch_timeout_micros { value: 500 }
        max_enqueued_batches { value: 10 }
        num_batch_threads { value: 3 }
        thread_pool_name { value: "ignored" }
        allowed_batch_sizes: 8
        allowed_batch_sizes: 32
        """
    )

    assert config == BatchingConfig(
        max_batch_size=32,
        batch_timeout_micros=500,
        max_enqueued_rows=320,
        allowed_batch_sizes=(8, 32),
    )
    assert threads == 3


def test_parameters_left_out_keep_their_values(read):
    """An empty file changes no setting."""
    assert read("") == (BatchingConfig(), 0)


@pytest.mark.parametrize(
    ("text", "on_cuda"),
    [
        ("batch_timeout_micros { value: 5 }", 256),
        ("max_batch_size { value: 32 }", 0),
        ("allowed_batch_sizes: [16, 32]", 0),
        ("max_enqueued_batches { value: 2 }", 0),
    ],
)
def test_a_size_in_the_file_counts_on_cuda_too(tmp_path, text, on_cuda):
    """If the file gives the size of a batch, or of the queue in batches, it counts on CUDA too."""
    path = tmp_path / "batching.txt"
    path.write_text(text)
    config, _ = batching_file.read(path, BatchingConfig(max_batch_size_on_cuda=256))

    assert config.max_batch_size_on_cuda == on_cuda


def test_the_size_of_a_run_may_differ_from_that_of_a_request(read):
    """With enable_large_batch_splitting, max_execution_batch_size is the largest batch of a run."""
    config, _ = read(
        "max_batch_size { value: 100 } enable_large_batch_splitting { value: true } "
        "max_execution_batch_size { value: 10 } allowed_batch_sizes: 10"
    )

    assert config.max_batch_size == 10
    assert config.allowed_batch_sizes == (10,)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "max_batch_size { value: 32 }\nallowed_batch_sizes: [8, 16]",
            (
                "2: Last entry in allowed_batch_sizes must match max_batch_size; last entry was "
                "16; expected 32"
            ),
        ),
        ("\nallowed_batch_sizes: [64, 8]", "2: allowed_batch_sizes are 64, 8, expected"),
        ("allowed_batch_sizes: [0, 64]", "1: allowed_batch_sizes are 0, 64, expected"),
        ("max_batch_size { value: 0 }", "1: max_batch_size is 0, expected at least 1"),
        ("batch_timeout_micros { value: -1 }", "1: batch_timeout_micros is -1, expected at"),
        ("num_batch_threads { value: 0 }", "1: num_batch_threads is 0, expected at least 1"),
    ],
)
def test_contradictions_are_refused_with_their_line(read, tmp_path, text, reason):
    """Contradictory parameters are refused as in TensorFlow Serving, with file and line."""
    with pytest.raises(ConfigError) as caught:
        read(text)

    assert str(caught.value).startswith(f"{tmp_path / 'batching.txt'}:{reason}")


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (
            "\n\npad_variable_length_inputs: true",
            "3: pad_variable_length_inputs has no effect here: requests of different lengths run",
        ),
        (
            "max_execution_batch_size { value: 8 }",
            "1: max_execution_batch_size has no effect without enable_large_batch_splitting",
        ),
    ],
)
def test_parameters_without_effect_are_logged_once(read, tmp_path, caplog, text, warning):
    """A parameter without effect is logged once, however often the file is read.

    The start goes on, as it does with TensorFlow Serving.
    """
    read(text)
    config, _ = read(text)

    assert config == BatchingConfig()
    assert caplog.text.count(f"{tmp_path / 'batching.txt'}:{warning}") == 1


@pytest.mark.parametrize(
    ("text", "rows", "sizes"),
    [
        ("allowed_batch_sizes: [4, 1000]", 1000, (4, 1000)),
        (
            (
                "max_batch_size { value: 100 } enable_large_batch_splitting { value: true } "
                "max_execution_batch_size { value: 10 } allowed_batch_sizes: [4, 16, 100]"
            ),
            10,
            (4, 16),
        ),
    ],
)
def test_the_last_allowed_size_is_the_largest_batch(read, text, rows, sizes):
    """Without max_batch_size, the last allowed size is the largest batch.

    A run pads to the first allowed size that holds it.
    """
    config, _ = read(text)

    assert (config.max_batch_size, config.allowed_batch_sizes) == (rows, sizes)


def test_zero_enqueued_batches_leave_room_for_one(read):
    """max_enqueued_batches 0 allows one batch: TensorFlow Serving does not count the open batch."""
    config, _ = read("max_batch_size { value: 9 } max_enqueued_batches { value: 0 }")

    assert config.max_enqueued_rows == 9

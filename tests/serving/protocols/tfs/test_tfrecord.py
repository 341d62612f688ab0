import pytest

from serving.errors import DataLoss
from serving.protocols.tfs import tfrecord

# b"hello", b"" and the bytes 0 to 9, written by tf.io.TFRecordWriter.
FILE = bytes.fromhex(
    "0500000000000000eab2043e68656c6c6fbb1f1c19"
    "000000000000000029039807d8ea82a2"
    "0a00000000000000aea3bf3a0001020304050607080930efe4e4"
)


def test_tensorflows_files_are_read(tmp_path):
    """A file that TensorFlow wrote is read, with records of any length, also 0."""
    path = tmp_path / "records"
    path.write_bytes(FILE)

    assert list(tfrecord.read(path)) == [b"hello", b"", bytes(range(10))]


def test_an_empty_file_has_no_records(tmp_path):
    """An empty file has no records, as in TensorFlow."""
    path = tmp_path / "records"
    path.touch()

    assert list(tfrecord.read(path)) == []


@pytest.mark.parametrize("position", range(len(FILE)))
def test_any_changed_byte_is_noticed(tmp_path, position):
    """A changed byte in a length, a record or a checksum is DATA_LOSS."""
    path = tmp_path / "records"
    damaged = bytearray(FILE)
    damaged[position] ^= 0x10
    path.write_bytes(damaged)

    with pytest.raises(DataLoss, match=r"records has a checksum that differs in the record at"):
        list(tfrecord.read(path))


@pytest.mark.parametrize("length", [1, 11, 13, 20, 22, 40])
def test_a_file_that_is_cut_off_is_noticed(tmp_path, length):
    """A file that is truncated in a header or in a record is DATA_LOSS."""
    path = tmp_path / "records"
    path.write_bytes(FILE[:length])

    with pytest.raises(DataLoss, match="ends"):
        list(tfrecord.read(path))


def test_a_missing_file_is_data_loss(tmp_path):
    """A missing file is DATA_LOSS: the version is incomplete."""
    with pytest.raises(DataLoss, match="cannot be read: No such file"):
        list(tfrecord.read(tmp_path / "nowhere"))

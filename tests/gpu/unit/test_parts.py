import random

import pytest
from gpu.kit import parts


def files(folder, **sizes: int) -> list[str]:
    """Write files of random bytes; return their names in the order of the arguments."""
    folder.mkdir()
    for number, (name, size) in enumerate(sizes.items()):
        (folder / name).write_bytes(random.Random(number).randbytes(size))
    return list(sizes)


def cut(folder, names: list[str], limit: int) -> list:
    """Write the uploads beside the folder; return their folders."""
    uploads = []
    for number, pieces in enumerate(parts.plan(folder, names, limit)):
        upload = folder.parent / f"upload-{number}"
        assert parts.write(folder, pieces, upload) <= limit
        uploads.append(upload)
    return uploads


def test_files_are_cut_to_the_limit_and_come_out_byte_for_byte(tmp_path):
    """Uploads are filled to the limit, and the files put together from them are the same."""
    names = files(tmp_path / "files", first=700, second=1_000, empty=0, third=10)

    uploads = cut(tmp_path / "files", names, limit=600)
    complete = [parts.receive(upload, tmp_path / "work") for upload in uploads]

    assert len(uploads) == 3
    assert complete == [[], ["first"], ["second", "empty", "third"]]
    for name in names:
        assert (tmp_path / "work" / name).read_bytes() == (tmp_path / "files" / name).read_bytes()


def test_an_upload_can_be_unpacked_twice(tmp_path):
    """Unpacking an upload again changes nothing, also while a file is incomplete."""
    names = files(tmp_path / "files", only=1_000)
    first, second = cut(tmp_path / "files", names, limit=600)

    for upload in (first, first, second, second, first):
        complete = parts.receive(upload, tmp_path / "work")

    assert complete == ["only"]
    assert (tmp_path / "work/only").read_bytes() == (tmp_path / "files/only").read_bytes()


def test_a_missing_upload_is_named(tmp_path):
    """The second upload without the first is refused with the way out."""
    names = files(tmp_path / "files", only=1_000)
    _, second = cut(tmp_path / "files", names, limit=600)

    with pytest.raises(parts.DamagedFile, match="unpack the earlier upload first"):
        parts.receive(second, tmp_path / "work")


def test_a_damaged_piece_is_refused(tmp_path):
    """A file with one wrong byte does not appear in the work folder."""
    names = files(tmp_path / "files", only=1_000)
    (upload,) = cut(tmp_path / "files", names, limit=2_000)
    piece = upload / "only@0"
    piece.write_bytes(piece.read_bytes()[:-1] + b"\0")

    with pytest.raises(parts.DamagedFile, match=r"expected .*: upload it again"):
        parts.receive(upload, tmp_path / "work")

    assert list((tmp_path / "work").iterdir()) == []


def test_a_full_checkout_leaves_no_room(tmp_path):
    """A limit that the checkout fills is refused, and the message says which setting to raise."""
    with pytest.raises(ValueError, match="raise UPLOAD_MB"):
        parts.plan(tmp_path, [], 0)

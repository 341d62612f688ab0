"""Files cut into uploads of limited size, and put together again.

The files follow each other like one stream in the order in which they are needed. Every upload is
filled to the limit, and a file that does not fit is continued in the next one. An upload's
`index.json` lists its pieces, and of each file the size and the SHA-256.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

INDEX_FILE = "index.json"
_BLOCK = 1 << 20


class DamagedFile(ValueError):
    """A file that was put together differs from the one that was packed."""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A part of a file, in one upload.

    Attributes:
        name: The file's path in the work folder.
        start: Position of the piece in the file, in bytes.
        size: Size of the piece, in bytes.
        total: Size of the file, in bytes.
        sha256: SHA-256 of the file, in hexadecimal.
    """

    name: str
    start: int
    size: int
    total: int
    sha256: str

    @property
    def stored_as(self) -> str:
        """File name of the piece in its upload."""
        return f"{self.name.replace('/', '+')}@{self.start}"

    @property
    def ends_file(self) -> bool:
        """Whether the piece is the file's last one."""
        return self.start + self.size == self.total


def plan(folder: Path, names: Sequence[str], limit: int) -> list[list[Piece]]:
    """Distribute files among as few uploads as possible.

    Args:
        folder: Folder of the files.
        names: Their paths in the folder, in the order in which they are needed.
        limit: Most bytes of an upload.

    Returns:
        The pieces of each upload.

    Raises:
        ValueError: the limit is not above 0.
    """
    if limit <= 0:
        msg = (
            f"{limit:,} bytes are left for the kit in an upload, expected more than 0: the "
            "checkout's tracked files fill it; raise UPLOAD_MB"
        )
        raise ValueError(msg)
    uploads: list[list[Piece]] = [[]]
    room = limit
    for name in names:
        total, digest = (folder / name).stat().st_size, sha256(folder / name)
        start = 0
        while start < total or not total:
            if not room:
                uploads.append([])
                room = limit
            size = min(room, total - start)
            uploads[-1].append(Piece(name=name, start=start, size=size, total=total, sha256=digest))
            start, room = start + size, room - size
            if not total:
                break
    return uploads


def write(folder: Path, pieces: Sequence[Piece], upload: Path) -> int:
    """Write an upload: its pieces and its index.

    Args:
        folder: Folder of the files.
        pieces: The upload's pieces.
        upload: Folder to write; created if it is missing.

    Returns:
        Size of the pieces, in bytes.
    """
    upload.mkdir(parents=True, exist_ok=True)
    for piece in pieces:
        with (folder / piece.name).open("rb") as source:
            source.seek(piece.start)
            (upload / piece.stored_as).write_bytes(source.read(piece.size))
    index = [asdict(piece) for piece in pieces]
    (upload / INDEX_FILE).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")
    return sum(piece.size for piece in pieces)


def receive(upload: Path, folder: Path) -> list[str]:
    """Add an upload's pieces to the files of a folder; call it for the uploads in their order.

    A second call for the same upload changes nothing.

    Args:
        upload: Folder that `write` wrote.
        folder: The work folder; created if it is missing.

    Returns:
        Names of the files that are now complete.

    Raises:
        DamagedFile: a file differs from the packed one, or an earlier upload is missing.
    """
    complete = []
    for entry in json.loads((upload / INDEX_FILE).read_text(encoding="utf-8")):
        piece = Piece(**entry)
        target = folder / piece.name
        if target.exists():
            complete.append(piece.name)
            continue
        _append(upload / piece.stored_as, piece, target)
        if piece.ends_file:
            complete.append(piece.name)
    return complete


def _append(source: Path, piece: Piece, target: Path) -> None:
    partial = target.with_name(f"{target.name}.part")
    partial.parent.mkdir(parents=True, exist_ok=True)
    have = partial.stat().st_size if partial.exists() else 0
    if have < piece.start:
        msg = (
            f"{piece.name} has {have:,} bytes so far and continues at byte {piece.start:,}: "
            "unpack the earlier upload first"
        )
        raise DamagedFile(msg)
    with partial.open("r+b" if have else "wb") as written, source.open("rb") as content:
        written.seek(piece.start)
        shutil.copyfileobj(content, written, _BLOCK)
    if not piece.ends_file:
        return
    digest = sha256(partial)
    if digest != piece.sha256:
        partial.unlink()
        msg = f"{piece.name} has SHA-256 {digest}, expected {piece.sha256}: upload it again"
        raise DamagedFile(msg)
    partial.replace(target)


def sha256(file: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

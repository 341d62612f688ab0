"""The properties of the rented machine, from `machine.toml`."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

MEGABYTE = 2**20
FILE = Path(__file__).with_name("machine.toml")

WeightsType = Literal["float16", "float32"]


@dataclass(frozen=True, kw_only=True)
class Download:
    """The limits on what comes back from one command.

    Attributes:
        files: Number of files.
        file_bytes: Size of a file, in bytes.
        total_bytes: Size of all files together, in bytes.
        weights: Type in which weights with two or more dimensions come back.
    """

    files: int
    file_bytes: int
    total_bytes: int
    weights: WeightsType


@dataclass(frozen=True, kw_only=True)
class Target:
    """The machine that the kit is packed for.

    Attributes:
        minutes: Time from the machine's start to its end, in minutes.
        python_version: Its Python, such as "3.12".
        abi: Its Python's ABI tag, such as "cp312".
        platforms: Platform tags of the wheels that it can run, the preferred one first.
        architecture: Its GPU's compute capability x 10, such as 90.
        wheels: Names of the packages that it lacks, without ONNX Runtime.
        upload_bytes: Most bytes of one upload, the checkout's tracked files included.
        download: Limits on what comes back.
    """

    minutes: float
    python_version: str
    abi: str
    platforms: tuple[str, ...]
    architecture: int
    wheels: tuple[str, ...]
    upload_bytes: int
    download: Download


def read(
    file: Path = FILE, *, upload_megabytes: float | None = None, minutes: float | None = None
) -> Target:
    """Read the file.

    Args:
        file: A file like `machine.toml`.
        upload_megabytes: Replaces the file's number; None keeps it.
        minutes: Replaces the file's number; None keeps it.

    Raises:
        KeyError: the file lacks a property.
        ValueError: a number is not above 0, or the type of the weights is unknown.
    """
    content = tomllib.loads(file.read_text(encoding="utf-8"))
    upload = content["upload"]["megabytes"] if upload_megabytes is None else upload_megabytes
    minutes = float(content["minutes"] if minutes is None else minutes)
    back = content["download"]
    for name, number in {
        "minutes": minutes,
        "upload.megabytes": upload,
        **{f"download.{name}": back[name] for name in ("files", "file_megabytes", "megabytes")},
    }.items():
        if not number > 0:
            msg = f"{name} is {number}, expected a number above 0: see {file}"
            raise ValueError(msg)
    if back["weights"] not in ("float16", "float32"):
        msg = f"download.weights is {back['weights']!r}, expected float16 or float32: see {file}"
        raise ValueError(msg)
    return Target(
        minutes=minutes,
        python_version=content["python_version"],
        abi=content["abi"],
        platforms=tuple(content["platforms"]),
        architecture=content["architecture"],
        wheels=tuple(content["wheels"]),
        upload_bytes=int(upload * MEGABYTE),
        download=Download(
            files=back["files"],
            file_bytes=int(back["file_megabytes"] * MEGABYTE),
            total_bytes=int(back["megabytes"] * MEGABYTE),
            weights=back["weights"],
        ),
    )

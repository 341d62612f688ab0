"""The schema versions of the project's files.

Each of these files has an integer `schema_version`; manifest.json calls it `format`. A file without
it has version 1. A program reads the version that it writes and older ones, and refuses newer ones.
A version rises only if older programs would misread the file. A new field that older programs may
ignore does not change it.

`training` and `serving` do not import each other. Both have this module, with the same text.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class SchemaError(ValueError):
    """A file has a schema version that this program does not read. The message is one line."""


@dataclass(frozen=True, kw_only=True)
class Schema:
    """The versions of one kind of file.

    Attributes:
        newest: The version that this program writes.
        oldest: The oldest version that it reads.
        field: Name of the field that holds the version.
    """

    newest: int
    oldest: int = 1
    field: str = "schema_version"

    def stamped(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return a document with the newest version as its first field."""
        rest = {name: value for name, value in document.items() if name != self.field}
        return {self.field: self.newest, **rest}

    def body(self, document: Any, source: object) -> Any:  # noqa: ANN401 - JSON or TOML
        """Check the version of a document.

        Args:
            document: The content of a file.
            source: The file, for the message.

        Returns:
            The document without its version; if it is no mapping, the document itself.

        Raises:
            SchemaError: The version is newer or older than those that this program reads, or is no
                whole number.
        """
        if not isinstance(document, Mapping):
            return document
        self.check(document.get(self.field, 1), source)
        return {name: value for name, value in document.items() if name != self.field}

    def check(self, version: object, source: object) -> None:
        """Check a version.

        Raises:
            SchemaError: See `body`.
        """
        if type(version) is not int or version < 1:
            text = repr(version)
            shown = text if len(text) <= 40 else f"{text[:40]}…"
            msg = (
                f"{source} has {self.field} {shown}, expected a whole number of at least 1; "
                "make the file again with this program"
            )
            raise SchemaError(msg)
        if version > self.newest:
            msg = (
                f"{source} is newer than this program: {self.field} {version}, this program reads "
                f"up to {self.newest}; update onnx-serving"
            )
            raise SchemaError(msg)
        if version < self.oldest:
            msg = (
                f"{source} is too old for this program: {self.field} {version}, this program reads "
                f"from {self.oldest} on; make the file again with this program"
            )
            raise SchemaError(msg)


# A version's files; export writes them, the server and the load test read them.
SIGNATURE = Schema(newest=1)
MANIFEST = Schema(newest=1, field="format")
METRICS = Schema(newest=1)
# Every JSON file of a run folder.
RUN = Schema(newest=1)
# report.json of the load test, and the digest of it that the README's table is made of.
REPORT = Schema(newest=2, oldest=2)
DIGEST = Schema(newest=1)
# raw.npz of the load test, and the files that --save-samples names. Version 1 has answered requests
# only, and no field for the version.
SAMPLES = Schema(newest=2)
# The files that users write: the matrix and the mix of a load test, and the server's keys file.
MATRIX = Schema(newest=1)
MIX = Schema(newest=1)
KEYS = Schema(newest=1)
# tune.json, the measurements of `python -m loadtest tune`.
TUNE = Schema(newest=1)

"""URIs of folders in other file systems than the local one: `s3://bucket/models`."""

from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from serving.errors import InvalidInput

# The extra that installs the library for each scheme.
EXTRAS = {
    "s3": "s3",
    "gs": "gcs",
    "az": "azure",
    "hf": "huggingface",
    "http": "http",
    "https": "http",
}


@dataclass(frozen=True, order=True)
class StorageUri:
    """A folder in a store.

    Attributes:
        text: The URI without a trailing slash, such as "s3://bucket/models/simcnn". It may hold a
            password; `str` of the URI does not.
    """

    text: str

    @classmethod
    def parse(cls, text: str) -> "StorageUri":
        """Parse a URI.

        Raises:
            InvalidInput: the scheme is unknown, or no bucket or host follows it.
        """
        scheme, _, rest = text.partition("://")
        if scheme not in EXTRAS:
            known = ", ".join(f"{name}://" for name in sorted(EXTRAS))
            msg = (
                f"{scheme}:// cannot be read, expected a local folder or one of {known}; mount or "
                "copy its contents"
            )
            raise InvalidInput(msg)
        if not rest.strip("/"):
            msg = f"{text} names no bucket or host, expected {scheme}://<bucket or host>/<folder>"
            raise InvalidInput(msg)
        if scheme in {"http", "https"} and urlsplit(text).query:
            msg = f"{cls(text)} has a query, expected the address of a folder whose page lists it"
            raise InvalidInput(msg)
        return cls(f"{scheme}://{rest.rstrip('/')}")

    @property
    def scheme(self) -> str:
        """The part before `://`."""
        return self.text.partition("://")[0]

    @property
    def root(self) -> str:
        """The store: scheme and bucket or host."""
        return "/".join(self.text.split("/")[:3])

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.text.rpartition("/")[2]

    def __truediv__(self, name: str) -> "StorageUri":
        """Return the URI of a folder or file in this folder."""
        return StorageUri(f"{self.text}/{name}")

    def __str__(self) -> str:
        """The URI without user name and password."""
        parts = urlsplit(self.text)
        if "@" not in parts.netloc or self.scheme not in {"http", "https"}:
            return self.text
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))

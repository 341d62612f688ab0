"""Errors of stores, in words that name the store, the cause and the way out."""

import errno

from serving.errors import Unavailable
from serving.repository.storage_uri import StorageUri


class StoreError(OSError):
    """A store cannot be listed: it cannot be reached, or it refuses.

    Attributes:
        strerror: The cause, for messages that name the folder themselves.
    """

    def __init__(self, uri: StorageUri, cause: str) -> None:
        super().__init__(errno.EIO, cause, str(uri))

    def __str__(self) -> str:
        """The cause, with the folder."""
        return f"{self.filename}: {self.strerror}"


class FetchError(Unavailable):
    """A version could not be fetched now; a later attempt may succeed."""


def cause_of(uri: StorageUri, error: BaseException) -> str:
    """Return why a store cannot be read, with the way out where it is known.

    Args:
        uri: The folder.
        error: What the store's library raised.
    """
    text = " ".join(str(error).split()) or type(error).__name__
    kind = type(error).__name__
    if kind in {"NoCredentialsError", "PartialCredentialsError"} or "credentials" in text.lower():
        return f"{kind}: {text}; {_CREDENTIALS.get(uri.scheme, 'no credentials are needed')}"
    if isinstance(error, PermissionError) or "403" in text or "401" in text:
        return f"access refused ({text}); {_CREDENTIALS.get(uri.scheme, 'check the address')}"
    if isinstance(error, FileNotFoundError):
        return f"not found ({text})"
    if isinstance(error, TimeoutError):
        return f"no answer in time ({text})" if str(error) else "no answer in time"
    return f"{kind}: {text}"


# Where the library of each scheme finds its credentials.
_CREDENTIALS = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile or role (boto's rules)",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS, or a service account (Google's rules)",
    "az": "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or a managed identity",
    "hf": "set HF_TOKEN",
    "http": "put user:password@ into the URI",
    "https": "put user:password@ into the URI",
}

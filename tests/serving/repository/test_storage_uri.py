import pytest

from serving.errors import InvalidInput
from serving.repository.storage_uri import StorageUri


@pytest.mark.parametrize(
    ("text", "root", "name"),
    [
        ("s3://bucket/models/", "s3://bucket", "models"),
        ("gs://bucket", "gs://bucket", "bucket"),
        ("hf://org/repo@v1/models", "hf://org", "models"),
        ("https://host:8443/a/b", "https://host:8443", "b"),
    ],
)
def test_a_uri_has_a_store_and_a_folder(text, root, name):
    """The slashes of the scheme stay, one at the end goes."""
    uri = StorageUri.parse(text)

    assert (uri.text, uri.root, uri.name) == (text.rstrip("/"), root, name)
    assert str(uri / "1") == f"{text.rstrip('/')}/1"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ftp://host/models", "ftp:// cannot be read, expected a local folder or one of az://"),
        ("s3://", "names no bucket or host, expected s3://"),
        ("s3:///models"[:5], "names no bucket or host"),
        ("https://host/models?list=1", "has a query"),
    ],
)
def test_an_incomplete_uri_is_refused(text, reason):
    """The message says what was received and what was expected."""
    with pytest.raises(InvalidInput, match=reason.replace("?", r"\?")):
        StorageUri.parse(text)


def test_a_password_is_not_shown():
    """The text of a message has neither user name nor password; the URI itself has."""
    uri = StorageUri.parse("https://me:secret@host/models")

    assert str(uri) == "https://host/models"
    assert "secret" in uri.text

"""A store that speaks S3's API: moto's server, as a process of its own."""

import re
import subprocess
import sys

import pytest
from sample_models import arithmetic_models, tiny_models

from serving.repository.storage_uri import StorageUri
from serving.storage.errors import StoreError

boto3 = pytest.importorskip("boto3", reason="needs moto's server and boto3 (extra dev)")
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}


@pytest.fixture(scope="module")
def endpoint():
    """The address of a running store."""
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        for line in process.stderr:
            if found := re.search(r"Running on (http://\S+)", line):
                yield found[1]
                break
    finally:
        process.kill()
        process.wait(10)
        process.stderr.close()


@pytest.fixture
def bucket(endpoint, monkeypatch, tmp_path):
    """A bucket with two models; the environment names its endpoint and keys."""
    for name, value in (KEYS | {"AWS_ENDPOINT_URL": endpoint}).items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    name = re.sub("[^a-z0-9]", "-", tmp_path.name.lower())
    client.create_bucket(Bucket=name)
    arithmetic_models.half_plus_two(tmp_path / "models")
    tiny_models.identity(tmp_path / "models")
    for file in (tmp_path / "models").rglob("*"):
        if file.is_file():
            client.upload_file(str(file), name, str(file.relative_to(tmp_path)))
    return client, name


def test_models_of_a_bucket_are_found_and_fetched(bucket, folders, tmp_path):
    """Models, versions and files are those of the bucket."""
    _, name = bucket
    models = folders.find_models(StorageUri.parse(f"s3://{name}/models"))

    assert set(models) == {"half_plus_two", "identity"}
    for model in models:
        uri = StorageUri.parse(f"s3://{name}/models/{model}")
        assert folders.list_versions(uri) == [1]
        path = folders.bring(uri, 1)
        source = tmp_path / "models" / model / "1"
        assert {file.name: file.read_bytes() for file in path.iterdir()} == {
            file.name: file.read_bytes() for file in source.iterdir()
        }


def test_large_objects_are_read_in_parts(bucket, folders, monkeypatch):
    """An object larger than a part is read whole."""
    client, name = bucket
    monkeypatch.setattr("serving.storage.store._PART_BYTES", 100_000)
    content = bytes(range(256)) * 2_000
    client.put_object(Bucket=name, Key="models/large/1/weights.bin", Body=content)

    path = folders.bring(StorageUri.parse(f"s3://{name}/models/large"), 1)

    assert (path / "weights.bin").read_bytes() == content


def test_a_replaced_object_is_another_version(bucket, folders, make_folders):
    """An object of the same size that was replaced is fetched again by the next process."""
    client, name = bucket
    uri = StorageUri.parse(f"s3://{name}/models/own")
    client.put_object(Bucket=name, Key="models/own/1/words.txt", Body=b"old")
    before = folders.bring(uri, 1)
    client.put_object(Bucket=name, Key="models/own/1/words.txt", Body=b"new")

    after = make_folders().bring(uri, 1)

    assert (before / "words.txt").read_bytes() == b"old"
    assert (after / "words.txt").read_bytes() == b"new"


def test_missing_credentials_name_their_variables(bucket, folders, monkeypatch, tmp_path):
    """Without keys the message says where they are looked for."""
    _, name = bucket
    for variable in KEYS:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    with pytest.raises(StoreError, match="AWS_ACCESS_KEY_ID"):
        folders.list_versions(StorageUri.parse(f"s3://{name}/models/half_plus_two"))


def test_a_bucket_that_does_not_exist_has_no_versions(bucket, folders):
    """A missing bucket is a missing folder."""
    assert folders.list_versions(StorageUri.parse("s3://no-such-bucket/models")) == []

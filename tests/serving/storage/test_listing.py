import pytest

from serving.errors import DataLoss
from serving.storage.listing import listing_of


def test_a_fingerprint_changes_with_name_size_and_tag():
    """Equal listings have equal fingerprints in any order; any change gives another one."""
    entries = [("a", {"size": 1, "ETag": "x"}), ("b/c", {"size": 2})]
    fingerprint = listing_of("v", entries).fingerprint

    assert listing_of("v", reversed(entries)).fingerprint == fingerprint
    for changed in (
        [("a", {"size": 1, "ETag": "y"}), entries[1]],
        [("a", {"size": 3, "ETag": "x"}), entries[1]],
        [("d", {"size": 1, "ETag": "x"}), entries[1]],
        entries[:1],
    ):
        assert listing_of("v", changed).fingerprint != fingerprint


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/etc/passwd", "", "a\0b"])
def test_a_file_outside_of_the_version_is_refused(name):
    """A store cannot have a file written elsewhere."""
    with pytest.raises(DataLoss, match="expected a path inside the version's folder"):
        listing_of("s3://b/m/1", [(name, {"size": 1})])


def test_too_many_files_are_refused():
    """A folder of 10,001 files is no version."""
    with pytest.raises(DataLoss, match="more than 10,000 files"):
        listing_of("s3://b/m/1", ((str(number), {"size": 1}) for number in range(10_001)))


def test_sizes_and_the_manifest_are_seen():
    """Unknown sizes count as nothing."""
    listing = listing_of("v", [("manifest.json", {"size": 5}), ("a", {"size": None})])

    assert listing.bytes == 5
    assert listing.has_manifest

import pytest

from serving.schemas import Schema, SchemaError

SCHEMA = Schema(newest=3, oldest=2, field="format")


def test_a_document_without_a_version_has_version_1():
    """The oldest files have no version; a schema that starts at 1 reads them."""
    assert Schema(newest=2).body({"a": 1}, "f.json") == {"a": 1}


@pytest.mark.parametrize("version", [2, 3])
def test_the_versions_of_the_schema_are_read(version):
    """The body is the document without its version."""
    assert SCHEMA.body({"format": version, "a": 1}, "f.json") == {"a": 1}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"format": 4}, "f.json is newer than this program: format 4, this program reads up to 3;"),
        ({"format": 1}, "f.json is too old for this program: format 1, this program reads from 2"),
        ({}, "f.json is too old for this program: format 1, this program reads from 2"),
        ({"format": "3"}, "f.json has format '3', expected a whole number of at least 1; make"),
        ({"format": True}, "f.json has format True, expected a whole number of at least 1; make"),
        ({"format": 0}, "f.json has format 0, expected a whole number of at least 1; make"),
        ({"format": "x" * 99}, f"f.json has format '{'x' * 39}…, expected"),
    ],
)
def test_another_version_is_refused_in_one_line(document, words):
    """The line names the file, its version, the versions that are read, and the way out."""
    with pytest.raises(SchemaError) as refused:
        SCHEMA.body(document, "f.json")

    assert str(refused.value).startswith(words)
    assert "\n" not in str(refused.value)


def test_a_stamped_document_has_the_newest_version_first():
    """An older version is replaced, and the other fields stay in their order."""
    stamped = SCHEMA.stamped({"b": 1, "format": 2, "a": 2})

    assert list(stamped.items()) == [("format", 3), ("b", 1), ("a", 2)]


def test_a_document_that_is_no_mapping_is_left_to_its_reader():
    """A list has no version; its reader says what is wrong with it."""
    assert SCHEMA.body([1], "f.json") == [1]

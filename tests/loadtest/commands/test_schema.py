import json
import sys
from importlib.resources import files

from loadtest.commands import schema


def test_the_schema_beside_the_structs_is_current():
    """`make docs` writes it again after the structs changed."""
    assert files("loadtest").joinpath(schema.NAME).read_text(encoding="utf-8") == schema.schema()


def test_every_field_of_a_report_has_a_meaning_in_the_schema():
    """A program's author finds all sections and what each field holds."""
    definitions = json.loads(schema.schema())["$defs"]

    assert {"Report", "Collection", "Latency", "Validity"} <= definitions.keys()
    for name, definition in definitions.items():
        assert definition["description"], name
        assert definition["required"] == list(definition["properties"])
    without = [
        f"{section}.{field}"
        for section, definition in definitions.items()
        for field, content in definition["properties"].items()
        # A section means what its own description says.
        if "description" not in content and "$ref" not in content
    ]
    assert {field.partition(".")[0] for field in without} <= {"Gpu", "Lag", "Quantiles"} | {
        "Collection",
        "Report",
    }


def test_a_stale_schema_is_found(tmp_path, monkeypatch):
    """--check ends with exit code 1 and says what to run; without it the file is written."""
    monkeypatch.setattr(schema, "files", lambda package: tmp_path)
    monkeypatch.setattr(sys, "argv", ["schema", "--check"])

    assert schema.main() == 1
    monkeypatch.setattr(sys, "argv", ["schema"])
    assert schema.main() == 0
    monkeypatch.setattr(sys, "argv", ["schema", "--check"])
    assert schema.main() == 0

import json
import sys
from importlib.resources import files

from loadtest.commands import schema


def test_the_schema_beside_the_structs_is_current():
    """report.schema.json equals the schema of the structs; `make docs` writes it."""
    assert files("loadtest").joinpath(schema.NAME).read_text(encoding="utf-8") == schema.schema()


def test_every_field_of_a_report_has_a_meaning_in_the_schema():
    """Every section and every field of the schema has a description."""
    definitions = json.loads(schema.schema())["$defs"]

    assert {"Report", "Collection", "Latency", "Validity"} <= definitions.keys()
    for name, definition in definitions.items():
        assert definition["description"], name
        # Fields that older versions did not write have a default.
        assert definition.get("required", []) == [
            field for field, value in definition["properties"].items() if "default" not in value
        ]
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

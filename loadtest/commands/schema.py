"""Write report.schema.json, the JSON schema of report.json, from the structs that define it.

python -m loadtest.commands.schema          writes the file
python -m loadtest.commands.schema --check  ends with exit code 1 if the file is outdated
"""

import argparse
import sys
from importlib.resources import files
from pathlib import Path

import msgspec

from loadtest.report_schema import Collection, Report

NAME = "report.schema.json"


def schema() -> str:
    """Return the text of report.schema.json: the JSON schema (2020-12) of report.json."""
    kinds, definitions = msgspec.json.schema_components(
        [Report, Collection], ref_template="#/$defs/{name}"
    )
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "report.json of python -m loadtest",
        "description": "The report of one run, or of several runs.",
        "anyOf": list(kinds),
        "$defs": definitions,
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=1).decode() + "\n"


def main() -> int:
    """Write or check the file beside `report_schema`; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.commands.schema", description="Write report.schema.json."
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if stale")
    check = parser.parse_args().check
    file = Path(str(files("loadtest"))) / NAME
    if not check:
        file.write_text(schema(), encoding="utf-8")
    elif not file.is_file() or file.read_text(encoding="utf-8") != schema():
        sys.stderr.write(f"{file} differs from loadtest/report_schema.py; run `make docs`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

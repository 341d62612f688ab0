"""Tests of the bills of materials that `make sbom` writes."""

import json
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.network
def test_the_bill_of_an_image_lists_its_libraries_with_hashes(tmp_path):
    """Every library in a file of deploy/requirements is in the bill, with all of its hashes."""
    environment = tmp_path / "environment"
    subprocess.run(
        ["make", f"VENV={environment}", f"{environment}/.sbom"],
        cwd=ROOT,
        check=True,
        timeout=300,
    )
    subprocess.run(
        [environment / "sbom/bin/python", "deploy/sbom.py", "--output-dir", tmp_path],
        cwd=ROOT,
        check=True,
        timeout=300,
    )
    requirements = (ROOT / "deploy/requirements/serving-cpu.txt").read_text()
    text = (tmp_path / "serving-cpu.cdx.json").read_text()
    bill = json.loads(text)

    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["name"] == "onnx-serving"
    assert {(part["name"], part["version"]) for part in bill["components"]} == set(
        re.findall(r"^([\w.-]+)==([\w.]+)", requirements, re.MULTILINE)
    )
    assert all(digest in text for digest in re.findall(r"sha256:(\w+)", requirements))

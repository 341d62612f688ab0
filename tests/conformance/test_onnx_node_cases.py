"""A server answers the ONNX project's node test cases with the bits of ONNX Runtime.

`make conformance` runs all cases; an ordinary test run takes every fortieth.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import onnx
import onnxruntime
import pytest
from calling.every_protocol import PROTOCOLS
from calling.rest_client import Http
from running import servers
from sample_models import onnx_cases
from sample_models.onnx_cases import NodeCase, has_json_form

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"
EVERY = 40
# One thread for each model, because there are more than a thousand models.
SETTINGS = {"instances": 1, "intra_op_threads": 1, "file_system_poll_wait_seconds": 0}

# The counts of cases, and the versions that gave them.
VERSIONS = {"onnx": "1.23.2", "onnxruntime": "1.32.0"}
CASES = 1884
LEFT_OUT = {
    onnx_cases.ELEMENT_TYPE: 151,
    onnx_cases.NOT_LOADED: 119,
    onnx_cases.NO_TENSOR: 23,
    onnx_cases.RANDOM: 4,
    onnx_cases.NOT_RUN: 3,
}
SERVED = {
    "TFS gRPC": 1584,
    "TFS REST": 1579,
    "KServe gRPC": 1584,
    "KServe REST": 1584,
    "KServe REST, binary": 1584,
}
NO_JSON_FORM = "JSON lists lose the shape of an empty output"


class Suite(NamedTuple):
    """The cases of a run, the address of their server, and whether all cases are included."""

    cases: dict[str, NodeCase]
    address: str
    is_all: bool


@pytest.fixture(
    scope="module", params=["sample", pytest.param("all", marks=pytest.mark.conformance)]
)
def suite(request, tmp_path_factory) -> Iterator[Suite]:
    """All cases, or a sample of them, served from one models folder behind a real socket."""
    is_all = request.param == "all"
    cases, _ = onnx_cases.node_cases(1 if is_all else EVERY)
    models_dir = tmp_path_factory.mktemp("models")
    for case in cases.values():
        case.write(models_dir)
    with servers.in_this_process(models_dir, **SETTINGS) as address:
        yield Suite(cases, address, is_all)


def test_every_model_is_available(suite):
    """The server loads every graph that ONNX Runtime runs."""
    assert Http(suite.address).get("/readyz") == (200, {"status": "SERVING"})


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_answers_are_those_of_onnx_runtime(suite, protocol):
    """Every protocol answers every case; TFS REST only cases whose outputs JSON lists can hold."""
    cases = suite.cases
    if protocol == "TFS REST":
        cases = {
            name: case
            for name, case in cases.items()
            if all(map(has_json_form, case.outputs.values()))
        }
    wrong = {}
    with PROTOCOLS[protocol](suite.address) as ask:
        for name, case in cases.items():
            try:
                difference = onnx_cases.difference(
                    case.outputs, ask(name, case.inputs, case.outputs)
                )
            except Exception as error:  # noqa: BLE001 - the other cases still run
                difference = repr(error)
            if difference:
                wrong[name] = difference[:500]

    assert wrong == {}
    if suite.is_all:
        assert len(cases) == SERVED[protocol]


@pytest.mark.conformance
def test_every_case_is_served_or_left_out_for_a_reason():
    """Cases served and left out are counted as in docs/conformance.md, with the same versions."""
    cases, left_out = onnx_cases.node_cases()

    assert {"onnx": onnx.__version__, "onnxruntime": onnxruntime.__version__} == VERSIONS
    assert {reason: len(names) for reason, names in left_out.items()} == LEFT_OUT
    assert len(cases) == SERVED["TFS gRPC"]


def test_the_page_has_these_numbers():
    """docs/conformance.md gives the counts that the tests assert."""
    rows = re.findall(r"^\| (.+?) +\| +(\d+) \|", PAGE.read_text(), flags=re.MULTILINE)
    without_json = {NO_JSON_FORM: SERVED["TFS gRPC"] - SERVED["TFS REST"]}

    assert {name: int(number) for name, number in rows} == (
        {"all": CASES} | SERVED | LEFT_OUT | without_json
    )
    assert SERVED["TFS gRPC"] + sum(LEFT_OUT.values()) == CASES

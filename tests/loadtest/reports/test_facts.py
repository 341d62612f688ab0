import pytest
from msgspec.structs import replace
from sample_results import load_reports

from loadtest.reports import facts
from loadtest.reports.collection import merge, single


def test_the_manifest_names_hardware_versions_commit_and_data(matrix):
    """What every figure needs to be believed, differing values side by side."""
    other = load_reports.report(commit="f" * 40)
    document = merge([matrix, load_reports.collection([other])])

    known = dict(facts.lines(document))

    assert known["commit"] == f"{matrix.results[0].report.manifest.git_commit}; " + ("f" * 40)
    assert known["processor"] == "Imaginary CPU @ 2.0 GHz"
    assert known["server's versions"] == "onnxruntime 1.32.0"
    assert "python 3.11.7" in known["versions"]
    assert known["test images"] == "10,000, cifar-10-binary"
    assert known["model file"].startswith("simcnn/1/model.onnx, 493,941 bytes")
    assert not any("7f23" * 16 in text for text in known.values())
    assert facts.digests(document)[:2] == [
        (
            "test images, 10,000, cifar-10-binary",
            "e54a434ec35094516eacbaac0f2f9550358d985e9d1f71b47d41d333c15ba304",
        ),
        ("simcnn/1/model.onnx", "7f23" * 16),
    ]
    assert known["target"] == "cpu (python -m serving --device=cpu)"
    assert known["server's machine"] == "the client's, where the load test started the server"


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("localhost:8500", "loopback"),
        ("127.0.0.1:8500", "loopback"),
        ("[::1]:8500", "loopback"),
        ("10.0.0.7:8500", "network"),
        ("models.example.com:443", "network"),
    ],
)
def test_a_running_server_is_on_this_machine_only_behind_a_loopback_address(address, place):
    """Behind any other address the server's machine is unknown."""
    (result,) = single(load_reports.report(target=address)).results

    assert facts.place(result) == place


@pytest.mark.parametrize(
    ("shares", "text"),
    [
        ((None, 0.0004), None),
        ((0.0312, None), "3.1 % of the cores' time during the runs"),
        ((0.0312, 0.0048), "0.5 to 3.1 % of the cores' time during the runs"),
    ],
)
def test_the_time_that_the_hypervisor_took_is_named(shares, text):
    """Runs without it, and systems that do not tell, say nothing."""
    reports = [
        replace(one, manifest=replace(one.manifest, stolen_share=share))
        for one, share in zip(
            [load_reports.report(), load_reports.report(seed=2)], shares, strict=True
        )
    ]
    document = merge([load_reports.collection([one]) for one in reports])

    assert dict(facts.lines(document)).get("taken by the hypervisor") == text

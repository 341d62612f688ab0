"""Version labels, over both APIs of TensorFlow Serving."""

import shutil

import pytest

from loadtest.settings.arguments import parse_run
from loadtest.settings.config import UsageError

NEEDED = ("--target=localhost:1", "--model=m")


@pytest.fixture(scope="module")
def labelled(image_models_dir, running_server, tmp_path_factory):
    """Address of a server whose label `stable` is version 1 and `can/ary` version 2 of `m`.

    Version 1 answers the image's number, version 2 always 3.
    """
    folder = tmp_path_factory.mktemp("labelled")
    for version, model in (("1", "echo"), ("2", "cat")):
        shutil.copytree(image_models_dir / model / "1", folder / "m" / version)
    config = folder / "models.config"
    config.write_text(
        f"""model_config_list {{ config {{
            name: "m" base_path: "{folder / "m"}" model_platform: "tensorflow"
            model_version_policy {{ all {{}} }}
            version_labels {{ key: "stable" value: 1 }}
            version_labels {{ key: "can/ary" value: 2 }}
        }} }}"""
    )
    with running_server(None, model_config_file=config) as address:
        yield address


@pytest.mark.parametrize(("label", "version"), [("stable", "1"), ("can/ary", "2")])
@pytest.mark.parametrize("transport", ["tfs-grpc", "tfs-rest"])
def test_a_run_of_a_label(run, labelled, transport, label, version):
    """The version behind the label answers, and the report and its line name the label."""
    measured = run(
        *("--target", labelled, "--model", "m", "--transport", transport, "--users", 2),
        *("--requests", 24, "--version-label", label),
    )
    report = measured.report

    assert measured.exit_code == 0, measured.stderr
    assert report.model.version_label == report.manifest.settings["version_label"] == label
    assert report.model.version_asked_for is None
    answers = set(measured.raw["answers"].ravel().tolist())
    assert answers == (set(range(24)) if version == "1" else {3})
    assert set(measured.raw["version"].tolist()) <= {int(version), -1}
    assert f"label {label}" in measured.stdout
    assert f"({label})," in (measured.folder / "report.csv").read_text()


@pytest.mark.parametrize("transport", ["tfs-grpc", "tfs-rest"])
def test_an_unknown_label(run, labelled, transport):
    """The line has the label and the server's words."""
    refused = run(
        *("--target", labelled, "--model", "m", "--transport", transport),
        *("--requests", 1, "--version-label", "nobody"),
    )

    assert refused.exit_code == 2
    last = refused.stderr.splitlines()[-1]
    assert last.startswith(f"error: {labelled} refused a request for model 'm' label 'nobody': ")
    assert "Unrecognized servable version label: nobody" in last


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--version-label=",), "--version-label is empty"),
        (("--version-label=a", "--version=1"), "--version 1 and --version-label a given"),
        *(
            (
                ("--version-label=a", f"--transport={transport}"),
                f"--version-label a given with --transport {transport}: KServe v2 has no labels",
            )
            for transport in ("kserve-grpc", "kserve-rest", "kserve-rest-binary")
        ),
    ],
)
def test_a_label_that_cannot_be_asked_for(flags, words):
    """An empty label, a label with a version, and one over KServe v2 are refused in one line."""
    with pytest.raises(UsageError) as refused:
        parse_run([*NEEDED, *flags])

    assert words in str(refused.value)
    assert "\n" not in str(refused.value)

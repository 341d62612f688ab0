"""The near ties in the recorded answers of a version."""

import json

import numpy as np
import onnxruntime
import pytest

from export.__main__ import main
from export.errors import ExportError
from export.measure import near_ties
from export.papers import papers
from serving.repository import model_folder
from training.data.cifar10 import Split
from training.evaluation import predictions


def asked(version, images):
    session = onnxruntime.InferenceSession(version / "model.onnx")
    return session.run(["probabilities"], {"images": images})[0]


def test_a_version_is_published_with_its_near_ties(version, test_images):
    """The record names the other classes at most 0.2 less probable than the winner."""
    _, metrics = papers.read(version)
    probabilities = asked(version, test_images.images)

    entry = metrics["variants"]["fp32"]["near_ties"]

    found = predictions.decode_near_ties(entry, len(test_images))
    near = probabilities >= probabilities.max(axis=1, keepdims=True) - 0.2
    near[np.arange(len(near)), probabilities.argmax(axis=1)] = False
    assert entry["margin"] == 0.2
    assert [sorted(set(row) - {-1}) for row in found.tolist()] == [
        np.flatnonzero(row).tolist() for row in near
    ]
    assert near.any()


def test_an_answer_of_another_machine_stays_and_ours_is_a_near_tie(version, test_images):
    """If this machine answers another class than the recorded one, that class nearly won."""
    folder, metrics = papers.read(version)
    probabilities = asked(version, test_images.images)
    second, first = np.argsort(probabilities[0])[-2:].tolist()
    recorded = metrics["variants"]["fp32"]["predictions"]
    assert recorded[0] == str(first)
    metrics["variants"]["fp32"]["predictions"] = f"{second}{recorded[1:]}"

    found = near_ties.find(folder, metrics, test_images)["fp32"]

    others = predictions.decode_near_ties(found, len(test_images))[0]
    assert first in others
    assert second not in others


def test_the_command_adds_them_to_a_version_published_before(version, image_dir, capsys):
    """The command records them, the manifest still matches, and the recorded answers stay."""
    _, metrics = papers.read(version)
    known = metrics["variants"]["fp32"].pop("near_ties")
    papers.add_section(version, "variants", metrics["variants"])

    assert main(["near-ties", str(version), "--data-dir", str(image_dir)]) == 0

    assert "fp32: " in capsys.readouterr().out
    model_folder.verify_manifest(version)
    document = json.loads((version / "metrics.json").read_text("utf-8"))
    assert document["variants"]["fp32"] == {**metrics["variants"]["fp32"], "near_ties": known}


def test_other_images_are_refused(version, test_images):
    """Other images than those of the recorded answers are refused."""
    folder, metrics = papers.read(version)
    fewer = Split(images=test_images.images[1:], labels=test_images.labels[1:])

    with pytest.raises(ExportError, match=r"79 test images .* judged by 80 .* --data-dir"):
        near_ties.find(folder, metrics, fewer)

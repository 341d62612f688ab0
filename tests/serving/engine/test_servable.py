import logging

import numpy as np
import pytest
import servers
import tiny_models
from rest_client import Http

from serving.client import PredictClient
from serving.engine import servable as servable_module
from serving.engine.batcher import BatchingConfig
from serving.engine.runtime import CPU, CUDA, RuntimeConfig
from serving.engine.servable import Servable
from serving.errors import FailedPrecondition

ONES = np.ones((1, 3), np.float32)


def load(path, **config):
    return Servable.load("variants", 1, path, RuntimeConfig(**config), BatchingConfig())


@pytest.mark.parametrize(
    ("present", "asked", "chosen"),
    [
        (["fp32", "fp16", "w8", "int8"], "auto", "int8"),
        (["fp32", "fp16", "w8"], "auto", "fp32"),
        (["fp16", "w8"], "auto", "w8"),
        (["fp32", "int8"], "fp32", "fp32"),
    ],
)
def test_the_precision_that_was_chosen_answers(tmp_path, caplog, present, asked, chosen):
    """The graph that runs is the one that the servable and the log name."""
    caplog.set_level(logging.INFO)
    servable = load(tiny_models.variants(tmp_path, present), device="cpu", precision=asked)
    answer = servable.run("serving_default", {"x": ONES}, ["y"])["y"]
    servable.close()

    assert servable.precision == chosen
    assert answer[0, 0] == pytest.approx(tiny_models.VARIANT_ANSWERS[chosen], abs=1e-5)
    assert f"loaded variants/1 as {chosen} on CPUExecutionProvider in" in caplog.text


def test_a_missing_precision_fails_the_load(tmp_path):
    """Whoever insists on int8 gets it, or is told what there is instead."""
    path = tiny_models.variants(tmp_path, ["fp32", "w8"])

    with pytest.raises(FailedPrecondition, match="precision int8; it has fp32, w8"):
        load(path, device="cpu", precision="int8")


def test_the_precision_follows_the_device_that_works(tmp_path, monkeypatch):
    """If CUDA is there but does not start, the CPU gets the graph that is fastest on CPUs."""
    monkeypatch.setattr(
        servable_module,
        "choose_providers",
        lambda device: ([CPU] if device == "cpu" else [CUDA, CPU], "for the test"),
    )
    servable = load(tiny_models.variants(tmp_path, ["fp16", "int8"]))
    provider = servable.provider
    servable.close()

    assert (provider, servable.precision) == (CPU, "int8")


def test_a_server_runs_the_precision_of_its_flag(tmp_path):
    """`--precision` reaches the models, and a folder without model.onnx is a version."""
    tiny_models.variants(tmp_path, ["w8", "int8"])
    with (
        servers.in_this_process(tmp_path, precision="w8") as address,
        PredictClient(address) as client,
    ):
        answer = client.predict("variants", {"x": ONES})["y"]
        _, metadata = Http(address).get("/v2/models/variants")

    assert metadata["parameters"]["precision"] == "w8"
    assert answer.tolist() == [[tiny_models.VARIANT_ANSWERS["w8"]]]

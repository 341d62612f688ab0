import shutil

import numpy as np
import pytest
from gpu import check, graphs, training_runs
from gpu.machine import ROOT
from gpu.results import Results
from running import servers

from serving.repository import model_folder

BUNDLED = ROOT / "models" / "simcnn" / "1"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder with the bundled SimCNN, made for CUDA."""
    folder = tmp_path_factory.mktemp("models")
    graphs.prepare(folder, [ROOT / "models"], ["simcnn"])
    return folder


@pytest.fixture(scope="module")
def only_w8(tmp_path_factory):
    """A folder with SimCNN whose float32 graph is missing, like the bundled ResNet50's."""
    bundle, folder = tmp_path_factory.mktemp("bundle"), tmp_path_factory.mktemp("only_w8")
    (bundle / "simcnn/1").mkdir(parents=True)
    for name in ("signature.json", "model.w8.onnx"):
        shutil.copyfile(BUNDLED / name, bundle / "simcnn/1" / name)
    graphs.prepare(folder, [ROOT / "missing", bundle])
    return folder


def test_the_models_have_the_graphs_that_cuda_runs(models):
    """int8 is left out, fp16 is made, and the version is complete for the server."""
    found = graphs.find(models)

    assert [graph.precision for graph in found] == ["fp32", "w8", "fp16"]
    assert model_folder.read(models / "simcnn/1", ["fp16"]).onnx_files
    assert [graph.precision for graph in graphs.served(found, "cuda")] == ["fp16"]
    assert [graph.precision for graph in graphs.distinct(found)] == ["fp32", "fp16"]


def test_fp16_is_made_without_the_float32_graph(models, only_w8, sample_images):
    """From weights in 8 bits a graph in float16 is made that names the same classes."""
    feeds = {"images": sample_images}
    classes = [
        graph.on_cpu().run(["classes"], feeds)[0].tolist()
        for folder in (models, only_w8)
        for graph in graphs.find(folder)
        if graph.precision == "fp16"
    ]

    assert classes[0] == classes[1]
    assert [graph.precision for graph in graphs.distinct(graphs.find(only_w8))] == ["w8", "fp16"]


def test_the_right_answers_pass(models, sample_images):
    """A server with the same file gives the same answers."""
    (graph,) = graphs.served(graphs.find(models), "cpu")
    with servers.in_this_process(models, precision=graph.precision, device="cpu") as target:
        row = check.compare(target, graph, sample_images, np.zeros(24, np.int64))

    assert row["ok"]
    assert (row["agreement"], row["images"]) == (1, 24)


def test_other_answers_fail(models, sample_images):
    """A server with other weights than the file fails the check."""
    (graph,) = graphs.served(graphs.find(models), "cpu")
    other = graphs.Graph(model="simcnn", precision="fp32", file=BUNDLED / "model.int8.onnx")
    with servers.in_this_process(models, precision=graph.precision, device="cpu") as target:
        row = check.compare(target, other, sample_images, np.zeros(24, np.int64))

    assert row["max_delta"] > check.LIMITS["fp32"].max_delta
    assert not row["ok"]


@pytest.mark.filterwarnings("ignore:Specified provider 'CUDAExecutionProvider'")
def test_a_missing_provider_fails_the_check(models):
    """Without CUDA in this ONNX Runtime the first check says so instead of using the CPU."""
    row = check.smoke(graphs.find(models)[0], "cuda")

    assert (row["provider"], row["ok"]) == ("CPUExecutionProvider", False)
    assert "CUDAExecutionProvider" not in row["offered"]


def test_a_training_without_time_is_reported(tmp_path):
    """A training that does not end in its time is a row with the reason."""
    results = Results("simcnn", tmp_path, device="cpu")

    run_dir = training_runs.run(
        "simcnn", results, runs=tmp_path, data_dir=tmp_path, seconds=0.1, device="cpu"
    )

    assert run_dir is None
    assert not results.ok

import csv
import json
import shutil

import keras
import numpy as np
import pytest
from picture_sets import CLASSES, write_pictures

from training.evaluation import temperature
from training.evaluation.accuracy import softmax
from training.model.predictions import evaluate, logits_of_rows
from training.run import predict_command
from training.run.train import train
from training.settings.recipes import ConfigError, from_recipe
from training.sources import opening

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """200 pictures of five classes, 3 of them broken."""
    return write_pictures(tmp_path_factory.mktemp("pictures") / "data", 40, broken=3)


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory, data_dir):
    """A run of a few epochs whose logits were divided by a temperature."""
    config = from_recipe(
        "simcnn", "best", epochs=4, batch_size=16, image_size=32, calibrate=True, ema_span=0.0
    )
    return train(config, run_dir=tmp_path_factory.mktemp("runs") / "run", data_dir=data_dir)


def test_classes_of_a_folder_become_a_table(calibrated, data_dir, tmp_path):
    """Every file has a row: its class with the model's own probability, or why it has none."""
    output = tmp_path / "new" / "table.csv"

    told = predict_command.run(calibrated.run_dir, [data_dir / "train"], output)

    with output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    read = [row for row in rows if row["class"]]
    assert told == f"wrote {output}: 157 pictures classified, 3 could not be read"
    assert (len(rows), len(read)) == (160, 157)
    assert all(row["reason"] for row in rows if not row["class"])
    data = opening.load(data_dir, 32)
    model = keras.models.load_model(calibrated.run_dir / "model.keras", compile=False)
    shares = softmax(logits_of_rows(model, data.train))
    expected = {(CLASSES[int(row.argmax())], f"{row.max():.4f}") for row in shares}
    assert {(row["class"], f"{float(row['probability']):.4f}") for row in read} <= expected


def test_what_cannot_be_classified_is_one_sentence(calibrated, data_dir, tmp_path):
    """A run without a model, a path that does not exist, and a folder without pictures."""
    shutil.copytree(calibrated.run_dir, tmp_path / "run")
    (tmp_path / "run" / "model.keras").unlink()
    with pytest.raises(ConfigError, match="is no finished run, expected"):
        predict_command.run(tmp_path / "run", [data_dir], tmp_path / "table.csv")
    empty = tmp_path / "empty"
    empty.mkdir()
    for path, message in ((tmp_path / "gone", "does not exist"), (empty, "no pictures")):
        with pytest.raises(ValueError, match=message):
            predict_command.run(calibrated.run_dir, [path], tmp_path / "table.csv")
    assert not (tmp_path / "table.csv").exists()


def test_the_temperature_is_in_the_graph(calibrated, data_dir):
    """The saved model has the measured loss and error, and no temperature improves it further."""
    metrics = json.loads((calibrated.run_dir / "metrics.json").read_text())
    section = metrics["calibration"]
    data = opening.load(data_dir, 32)
    model = keras.models.load_model(calibrated.run_dir / "model.keras", compile=False)
    found = evaluate(model, data.test, data.class_names)

    assert found.top1 == metrics["top1"]
    assert found.calibration_error == pytest.approx(metrics["calibration_error"], abs=1e-4)
    assert section["temperature"] != pytest.approx(1, abs=0.01)
    undone = np.float32(section["temperature"]) * logits_of_rows(model, data.test)
    before = temperature.cross_entropy(undone, data.test.labels)
    assert before == pytest.approx(section["test_loss_before"], rel=1e-3)
    assert [layer.name for layer in model.layers][-1] == "logits"


def test_the_test_images_do_not_choose_the_temperature():
    """Calibration needs held-out images."""
    with pytest.raises(ConfigError, match="calibrate received with validation test"):
        from_recipe("simcnn", "report", calibrate=True)

"""Logging to MLflow: to a store in a folder, and to a server that is down."""

import json
import socket
import sys

import pytest

from training.run.callbacks import EpochRecorder, read_history
from training.run.mlflow_run import MlflowRun
from training.run.train import train
from training.settings.recipes import ConfigError, from_recipe

mlflow = pytest.importorskip("mlflow", reason="the extra mlflow is not installed")

pytestmark = [
    # MLflow does not close its connections, and uses deprecated parts of SQLAlchemy.
    pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture
def config():
    return from_recipe("simcnn", "report", epochs=3, batch_size=100)


def interrupt(*_):
    raise KeyboardInterrupt


def mlflow_run(folder):
    """Return the client of a folder's store and its only run."""
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'simcnn'")
    (run,) = client.search_runs([experiment.experiment_id])
    return client, run


def check_everything_is_there(folder, run_dir, config):
    """Check that MLflow has settings, every epoch once, results and the files of the run folder."""
    client, run = mlflow_run(folder)
    metrics = json.loads((run_dir / "metrics.json").read_text())
    history = read_history(run_dir / "history.csv")
    assert run.info.status == "FINISHED"
    assert run.info.run_name == run_dir.name
    assert run.data.params == {key: str(value) for key, value in config.as_dict().items()}
    for key in ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds"):
        logged = client.get_metric_history(run.info.run_id, key)
        assert sorted((m.step, m.value) for m in logged) == [
            (row["epoch"], row[key]) for row in history
        ]
    assert run.data.metrics["test_top1"] == metrics["top1"]
    assert run.data.metrics["test_loss"] == metrics["loss"]
    assert run.data.metrics["test_images"] == 50
    assert {item.path for item in client.list_artifacts(run.info.run_id)} == {
        "config.json",
        "confusion_matrix.png",
        "curves.png",
        "history.csv",
        "metrics.json",
        "model.keras",
    }
    assert list((folder / "artifacts").rglob("model.keras"))


@pytest.mark.slow
def test_interrupted_training_is_one_complete_run(tmp_path, image_dir, config, monkeypatch):
    """A run stopped before MLflow got its last epoch resumes, and MLflow has each epoch once."""
    store, run_dir = tmp_path / "store", tmp_path / "run"
    arguments = {"run_dir": run_dir, "data_dir": image_dir, "mlflow": str(store)}
    log = MlflowRun.log
    with monkeypatch.context() as patch:
        # The second epoch is in the run folder, but not in MLflow.
        patch.setattr(
            MlflowRun,
            "log",
            lambda self, history: interrupt() if len(history) == 2 else log(self, history),
        )
        with pytest.raises(KeyboardInterrupt):
            train(config, **arguments)
    assert mlflow_run(store)[1].info.status == "KILLED"

    train(config, **arguments)
    check_everything_is_there(store, run_dir, config)
    before = (store / "mlflow.db").read_bytes()
    train(config, **arguments)

    assert (store / "mlflow.db").read_bytes() == before


def test_failed_training_is_marked(tmp_path, image_dir, config, monkeypatch):
    """After an error the MLflow run is FAILED and has its epochs."""

    def fail(*_):
        msg = "disk full"
        raise OSError(msg)

    record = EpochRecorder.on_epoch_end
    monkeypatch.setattr(
        EpochRecorder,
        "on_epoch_end",
        lambda self, epoch, logs=None: fail() if epoch else record(self, epoch, logs),
    )
    with pytest.raises(OSError, match="disk full"):
        train(config, run_dir=tmp_path / "run", data_dir=image_dir, mlflow=str(tmp_path / "store"))

    client, run = mlflow_run(tmp_path / "store")
    assert run.info.status == "FAILED"
    assert len(client.get_metric_history(run.info.run_id, "loss")) == 1


@pytest.mark.slow
def test_training_survives_without_its_server_and_is_sent_later(
    tmp_path, image_dir, config, monkeypatch, caplog
):
    """A server that refuses connections gives warnings; the finished run can be sent elsewhere."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
    run_dir = tmp_path / "run"

    result = train(
        config, run_dir=run_dir, data_dir=image_dir, mlflow=f"http://user:secret@{address}"
    )

    assert result.metrics["epochs"] == 3
    warnings = [record.getMessage() for record in caplog.records if "MLflow" in record.message]
    assert len(warnings) == 4  # three epochs and the end
    assert all(text.startswith(f"MLflow at http://{address} failed (") for text in warnings)
    assert "secret" not in "".join(warnings)
    assert not (run_dir / "mlflow.json").exists()

    again = train(config, run_dir=run_dir, data_dir=image_dir, mlflow=str(tmp_path / "store"))

    assert again.was_finished
    check_everything_is_there(tmp_path / "store", run_dir, config)


def test_missing_package_names_the_extra(tmp_path, config, monkeypatch):
    """Without MLflow the command trains nothing, and the message says what to install."""
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.setattr("training.run.train.opening.load", interrupt)

    with pytest.raises(ConfigError, match=r"pip install '\.\[train,mlflow\]'"):
        train(config, run_dir=tmp_path, mlflow=str(tmp_path / "store"))

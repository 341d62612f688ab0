"""Logs a run to MLflow: settings, figures of every epoch, results and files.

The run folder stays the complete record. Data that MLflow missed, because its server was down or
the training was killed, is sent with the next epoch, at the end, or when the same command is run
again.
"""

import json
import logging
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from training import schemas
from training.run import checkpoint
from training.schemas import SchemaError
from training.settings.recipes import ConfigError, TrainConfig

_FILES = (
    "config.json",
    "history.csv",
    "metrics.json",
    "curves.png",
    "confusion_matrix.png",
    "model.keras",
)
_STATE_FILE = "mlflow.json"
# Names in MLflow and in metrics.json. They differ because "loss" in MLflow is an epoch's loss.
_RESULTS = {
    "test_top1": "top1",
    "test_loss": "loss",
    "test_images": "n",
    "parameters": "parameters",
    "train_images_per_second": "train_images_per_second",
    "wall_seconds": "wall_seconds",
}
# With MLflow's defaults an unreachable server delays a training by minutes at every epoch.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
_log = logging.getLogger(__name__)


class MlflowRun:
    """One run in an MLflow server or store; failures are logged and never end the training."""

    def __init__(self, target: str, run_dir: Path, config: TrainConfig) -> None:
        """Import MLflow, without sending anything.

        Args:
            target: URI of a tracking server or store, or a folder in which a store is created.
            run_dir: The run folder; its mlflow.json holds the ID of the MLflow run.
            config: Settings of the run; the experiment is named after the model.

        Raises:
            ConfigError: MLflow is not installed, or a newer program wrote mlflow.json.
        """
        try:
            _known_runs(run_dir / _STATE_FILE)
        except SchemaError as error:
            raise ConfigError(str(error)) from error
        except (OSError, ValueError):
            pass  # `_open` reads it again; its failures are warnings
        for name, value in (_PATIENCE | {"MLFLOW_DISABLE_TELEMETRY": "true"}).items():
            os.environ.setdefault(name, value)
        try:
            import mlflow  # noqa: PLC0415  an optional extra, and seconds to import
            import mlflow.entities  # noqa: PLC0415
        except ImportError as error:
            msg = (
                f"--mlflow {target} needs MLflow, which cannot be imported ({error}); install the "
                "extra mlflow, from a checkout: pip install '.[train,mlflow]'"
            )
            raise ConfigError(msg) from error
        self._mlflow = mlflow
        self._uri, self._artifacts = _store(target)
        self._name = _without_password(self._uri)
        self._run_dir = run_dir
        self._config = config
        self._client: Any = None
        self._run_id = ""
        self._is_finished = False
        self._logged: set[int] = set()  # epochs that MLflow already has

    def log(self, history: checkpoint.History) -> None:
        """Send the epochs that MLflow does not have yet."""
        self._try(lambda: self._send_epochs(history))

    def finish(self, history: checkpoint.History, metrics: dict[str, Any]) -> None:
        """Send the missing data of a finished run and mark it as finished.

        Args:
            history: All epochs.
            metrics: Content of metrics.json.
        """

        def send() -> None:
            self._send_epochs(history)
            if self._is_finished:
                return
            results = {name: metrics[key] for name, key in _RESULTS.items()}
            self._send_metrics(results, step=len(history))
            for name in _FILES:
                self._client.log_artifact(self._run_id, str(self._run_dir / name))
            self._client.set_terminated(self._run_id, "FINISHED")

        if self._try(send):
            _log.info("MLflow run %s has everything", self._run_id)

    def fail(self, status: str) -> None:
        """Tell MLflow that the training ended early.

        Args:
            status: "FAILED" or "KILLED".
        """
        if self._run_id:
            self._try(lambda: self._client.set_terminated(self._run_id, status))

    def _try(self, action: Callable[[], None]) -> bool:
        try:
            if not self._run_id:
                self._open()
            action()
        except Exception as error:  # noqa: BLE001  MLflow's stores raise their libraries' errors
            first_line = _without_password(str(error).strip().partition("\n")[0])
            _log.warning(
                "MLflow at %s failed (%s: %s); the run folder is complete, and the missing data is "
                "sent with the next epoch or when the same command is run again",
                *(self._name, type(error).__name__, first_line),
            )
            return False
        return True

    def _open(self) -> None:
        """Find or create the run, and ask which epochs it has."""
        client, entities = self._mlflow.MlflowClient(tracking_uri=self._uri), self._mlflow.entities
        state_file = self._run_dir / _STATE_FILE
        runs = _known_runs(state_file)
        run_id = runs.get(self._name)
        if run_id:
            self._is_finished = client.get_run(run_id).info.status == "FINISHED"
            self._logged = {metric.step for metric in client.get_metric_history(run_id, "loss")}
        else:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME", self._config.model)
            known = client.get_experiment_by_name(name)
            experiment = (
                known.experiment_id if known else client.create_experiment(name, self._artifacts)
            )
            run_id = client.create_run(experiment, run_name=self._run_dir.name).info.run_id
            checkpoint.write_json(state_file, schemas.RUN.stamped(runs | {self._name: run_id}))
        if not self._is_finished:
            client.update_run(run_id, "RUNNING")
            params = self._config.as_dict().items()
            # Sent on every start: a run that was interrupted here may lack them.
            client.log_batch(
                run_id, params=[entities.Param(key, str(value)) for key, value in params]
            )
        self._client, self._run_id = client, run_id

    def _send_epochs(self, history: checkpoint.History) -> None:
        for row in history:
            epoch = int(row["epoch"])
            if epoch not in self._logged:
                self._send_metrics({key: row[key] for key in row if key != "epoch"}, step=epoch)
                self._logged.add(epoch)

    def _send_metrics(self, values: dict[str, float], *, step: int) -> None:
        metric, now_ms = self._mlflow.entities.Metric, int(time.time() * 1000)
        self._client.log_batch(
            self._run_id, [metric(key, float(values[key]), now_ms, step) for key in values]
        )


def _known_runs(state_file: Path) -> dict[str, str]:
    """Return the IDs of the MLflow runs in mlflow.json, by the name of the server or store.

    Raises:
        SchemaError: A newer program wrote the file.
        ValueError: The file is not JSON.
    """
    if not state_file.exists():
        return {}
    document = json.loads(state_file.read_text(encoding="utf-8"))
    runs: dict[str, str] = schemas.RUN.body(document, state_file)
    return runs


def _store(target: str) -> tuple[str, str | None]:
    """Return the URI of a store, and the URI for its artefacts; None if the store chooses it."""
    if ":" in target:
        return target, None
    # MLflow 3 refuses plain files as a store, so create a database.
    folder = Path(target).expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder / 'mlflow.db'}", (folder / "artifacts").as_uri()


def _without_password(text: str) -> str:
    return re.sub(r"//[^/@\s]*@", "//", text)

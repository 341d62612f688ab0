"""The config.json of a run folder: settings, data, commit."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training import schemas, storage
from training.data.data_set import DataSet
from training.evaluation.provenance import package_commit
from training.run import checkpoint
from training.schemas import SchemaError
from training.settings.recipes import ConfigError, TrainConfig, defaults

_log = logging.getLogger(__name__)


def read(run_dir: Path, config: TrainConfig) -> dict[str, Any]:
    """Read config.json and check it against `config`.

    Returns:
        Content of config.json; empty for a new run.

    Raises:
        ConfigError: The file is unreadable, was written by a newer program, or has other settings;
            the message names each difference.
    """
    path = run_dir / "config.json"
    try:
        run: dict[str, Any] = schemas.RUN.body(json.loads(path.read_text(encoding="utf-8")), path)
        saved: dict[str, Any] = defaults() | run["config"]
    except FileNotFoundError:
        return {}
    except SchemaError as error:
        raise ConfigError(str(error)) from error
    except (ValueError, LookupError, TypeError) as error:
        msg = f"{path} is no config of a run ({error}); pass another --run-dir or remove it"
        raise ConfigError(msg) from error
    given = config.as_dict()
    names = [name for name in {**given, **saved} if saved.get(name) != given.get(name)]
    if names:
        differences = ", ".join(f"{n} was {saved.get(n)}, is {given.get(n)}" for n in names)
        msg = (
            f"{run_dir} holds a run with other settings ({differences}); "
            "repeat its settings to resume it, or pass another --run-dir"
        )
        raise ConfigError(msg)
    return run


def begin(
    run_dir: Path,
    config: TrainConfig,
    data: DataSet,
    run: dict[str, Any],
    *,
    licence: str | None = None,
    search: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write config.json for a new run, or check that an existing one continues with its data.

    Args:
        run_dir: The run folder; it is created if it is missing.
        config: Settings of the run.
        data: The data set.
        run: What `read` returned.
        licence: Licence of the pictures.
        search: The search that chose the settings, see training.settings.search_record.

    Returns:
        Content of config.json: "config", "data" (variant and digests; of pictures of any classes
        also "class_names", "validation_folder_images" and "listing_sha256"), "pictures" (their
        facts and licence, not of CIFAR-10), "search" (if one chose the settings), "git_commit" of
        the first session, and "resumed_with_git_commits" of later sessions, if they differ.

    Raises:
        ConfigError: The run was started with other data.
        StorageError: The folder or the file cannot be written.
    """
    facts: dict[str, Any] = {
        "variant": data.variant,
        "train_sha256": data.train.sha256(),
        "test_sha256": data.sha256,
    }
    if data.facts:
        facts["class_names"] = list(data.class_names)
        facts["listing_sha256"] = data.facts["listing_sha256"]
        facts["validation_folder_images"] = data.validation_images
    commit = package_commit(__name__)
    if not run:
        run = {
            "config": config.as_dict(),
            "data": facts,
            "git_commit": commit,
            "resumed_with_git_commits": [],
        }
    elif run["data"] != facts:
        msg = (
            f"{run_dir} was started with other data ({run['data']}, now {facts}); "
            "pass the same --data-dir, or another --run-dir"
        )
        raise ConfigError(msg)
    elif commit not in (run["git_commit"], *run["resumed_with_git_commits"]):
        _log.warning("resuming at commit %s a run started at %s", commit, run["git_commit"])
        run["resumed_with_git_commits"].append(commit)
    if data.facts:
        kept = licence or run.get("pictures", {}).get("licence")
        run["pictures"] = {"licence": kept, **data.facts}
    if search is not None:
        run["search"] = dict(search)
    run["config"] = config.as_dict()  # adds settings that are newer than the run
    storage.make_folder(run_dir)
    checkpoint.write_json(run_dir / "config.json", schemas.RUN.stamped(run))
    return run

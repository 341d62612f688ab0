import pytest

from serving.engine.runtime import RuntimeConfig
from serving.errors import DataLoss
from serving.model_source import version_loader
from serving.settings.flags import parse_config


def test_a_versions_broken_batching_file_is_a_fault_of_that_version(tmp_path):
    """A malformed batching_params.pbtxt fails the load of its version with DATA_LOSS."""
    (tmp_path / "batching_params.pbtxt").write_text("max_batch_size { value: many }")
    config = parse_config(["--enable_per_model_batching_parameters"], {})
    load = version_loader(RuntimeConfig(), config.batching_of, warm_up=False)

    with pytest.raises(DataLoss, match=r"batching_params\.pbtxt"):
        load("m", 1, tmp_path)

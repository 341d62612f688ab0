from pathlib import Path

import pytest

from serving.errors import (
    InvalidInput,
)
from serving.repository.model_config import ModelConfig, by_name


def model(name: str, path: Path, **settings) -> ModelConfig:
    return ModelConfig(name=name, base_path=path, **settings)


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ([("m", "/a"), ("m", "/b")], "Illegal to list model m multiple times in config list"),
        ([("m", "relative")], "Expected model m to have an absolute path or URI; got base_path"),
        ([("", "/a")], "a model at /a has no name"),
    ],
)
def test_model_lists_are_checked(models, message):
    """Duplicate model names and relative paths are refused with TensorFlow Serving's messages."""
    with pytest.raises(InvalidInput, match=message):
        by_name(model(name, Path(path)) for name, path in models)

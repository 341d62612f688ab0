import numpy as np
import pytest

from training.data.cifar10 import Split


@pytest.fixture(scope="module")
def split() -> Split:
    """Thirty images of noise for each class."""
    random = np.random.default_rng(1)
    images = random.integers(0, 256, (300, 32, 32, 3), dtype=np.uint8)
    return Split(images=images, labels=np.arange(300) % 10)

import numpy as np

from training.data.cifar10 import Split
from training.model import architectures
from training.model.predictions import evaluate, predict_logits


def test_evaluate_scores_every_image_whatever_the_batch_size():
    """All images are predicted in order, also if the last batch is smaller."""
    random = np.random.default_rng(0)
    model = architectures.build("simcnn")
    images = random.integers(0, 256, (23, 32, 32, 3), dtype=np.uint8)
    logits = predict_logits(model, images, batch_size=10)

    assert logits.shape == (23, 10)
    assert logits.dtype == np.float32
    assert np.abs(logits - predict_logits(model, images)).max() < 1e-5
    labels = logits.argmax(axis=1).astype(np.int64)
    assert evaluate(model, Split(images=images, labels=labels)).top1 == 1.0

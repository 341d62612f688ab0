"""Published figures for comparison, and the mistakes of their protocol.

They come from a course report of spring 2024 that trained both models on CIFAR-10.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from training.evaluation.accuracy import wilson_interval

# Digest (see training.data.cifar10.Split.sha256) of the 10,000 test images as they are distributed.
TEST_SHA256 = "e54a434ec35094516eacbaac0f2f9550358d985e9d1f71b47d41d333c15ba304"


@dataclass(frozen=True, kw_only=True)
class PublishedTraining:
    """A published training of one model.

    Attributes:
        name: Its name in tables.
        top1: Share of the 10,000 test images classified correctly.
        loss: Mean cross-entropy on them.
        epochs: Passes over the training images.
        time: Training time as it was reported.
        mistakes: Mistakes of the protocol.
    """

    name: str
    top1: float
    loss: float
    epochs: int
    time: str
    mistakes: Sequence[str]

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of `top1`; it is computed here and was not published."""
        return wilson_interval(round(self.top1 * 10_000), 10_000)


_BOTH = (
    "No augmentation: the model sees the same pictures in every epoch and overfits them.",
    "One seed: the spread between trainings is unknown.",
)
PUBLISHED = {
    "simcnn": PublishedTraining(
        name="published SimCNN",
        top1=0.7161,
        loss=0.8753,
        epochs=10,
        time="about 12 min",
        mistakes=(
            "The test images were the validation images: no independent check was left.",
            *_BOTH,
        ),
    ),
    "resnet50": PublishedTraining(
        name="published ResNet50",
        top1=0.7929,
        loss=0.7981,
        epochs=15,
        time="over an hour",
        mistakes=(
            "from_logits=True on a softmax output: a second softmax in effect; Keras warns of it.",
            "ImageNet weights were fed pixels / 255, not the preprocessing they were trained with.",
            "781 steps an epoch are stated, the log shows 704: a tenth was set aside to validate.",
            *_BOTH,
        ),
    ),
}


def repeated_mistakes(settings: dict[str, Any]) -> list[str]:
    """Return the mistakes of the published protocol that a training repeats."""
    mistakes = []
    if settings.get("validation") == "test":
        mistakes.append(
            "The test images are the validation images, so the validation curve is no independent "
            "check and must not be used to choose anything."
        )
    if not settings.get("crop_padding") and not settings.get("flip"):
        mistakes.append("No augmentation: the training images are shown unchanged in every epoch.")
    mistakes.append("One seed in each run; train with several --seed values to see their spread.")
    return mistakes

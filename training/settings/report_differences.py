"""Where the recipe "report" of each model differs from the published protocol that it repeats.

`python -m training --help`, the training report and docs/retraining.md show these sentences.
"""

from collections.abc import Mapping

from training.settings.recipes import ModelName

_SEEDED = (
    "The seed is a setting and recorded; initial weights and the order of the images follow from "
    "it."
)
_SCALING = (
    "The model itself scales the pixels, so it takes values from 0 to 255. The published program "
    "divided them by 255 beforehand."
)
_VALIDATED = (
    "The test images are the validation images, as published, but they choose nothing: the weights "
    "are those of the last epoch, and early stopping is refused with them."
)
_LOGITS = (
    "The model gives logits and the loss expects logits. The published model gave probabilities to "
    "a loss that expects logits, which is a second softmax in effect."
)
_IMAGENET = (
    "ImageNet weights get the preprocessing they were trained with: mean subtracted, channels in "
    "the order blue, green, red. This is part of the model. The published training gave them "
    "pixels / 255."
)
_STEPS = "An epoch has 704 steps, as in the published log; the published text says 781."
_FASTER = (
    "With TensorFlow on a CPU some layers are replaced by faster ones of the same function "
    "(fast_layers), whose results differ by rounding."
)
REPORT_DIFFERENCES: Mapping[ModelName, tuple[str, ...]] = {
    "simcnn": (_VALIDATED, _SEEDED, _SCALING),
    "resnet50": (_LOGITS, _IMAGENET, _STEPS, _FASTER, _SEEDED),
}

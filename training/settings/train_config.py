"""All settings of a training, and the rules that they have to keep."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

ModelName = Literal[
    "simcnn",
    "resnet50",
    "keras:MobileNetV3Small",
    "keras:MobileNetV3Large",
    "keras:EfficientNetV2B0",
    "keras:EfficientNetV2B1",
    "keras:EfficientNetV2S",
    "keras:ConvNeXtTiny",
    "keras:ConvNeXtSmall",
]
RecipeName = Literal["report", "best", "gpu-5min", "gpu-15min", "finetune"]
OptimizerName = Literal["adam", "adamw", "sgd"]
Precision = Literal["none", "float16", "bfloat16"]
Validation = Literal["test", "tail", "stratified", "folder"]
Schedule = Literal["constant", "cosine"]
Stem = Literal["imagenet", "cifar"]
Switch = Literal["auto", "on", "off"]
KERAS_PREFIX = "keras:"


class ConfigError(ValueError):
    """A setting, or a combination of settings, that is not allowed."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """All settings that decide the outcome of a training; the data is chosen separately.

    Both models output logits, so the loss is cross-entropy from logits in every recipe.

    Attributes:
        model: Architecture, see training.model.architectures.
        recipe: Recipe that the other values were taken from.
        epochs: Passes over the training images; the cosine schedule ends with the last one.
        batch_size: Images in a step, over all devices together.
        accumulate_steps: Steps whose gradients are averaged for one update of the weights. The
            effect is that of batches this many times as large, without their memory. The schedule,
            weight decay and `ema_span` count updates.
        optimizer: Name of the optimizer; "sgd" has Nesterov momentum 0.9.
        learning_rate: Constant rate, or the peak with the cosine schedule.
        schedule: "cosine" rises linearly for `warmup_epochs`, then falls to 0.
        warmup_epochs: Epochs of linear warm-up; 0 with the constant schedule.
        weight_decay: Decoupled weight decay (Loshchilov and Hutter, 2019): an update shrinks a
            weight by learning rate x weight decay. Biases and normalisation parameters have none.
        label_smoothing: Share of the target spread evenly over the classes.
        clip_norm: Gradients of an update whose global norm is larger are scaled down to this norm,
            before momentum; weight decay is not part of them. 0 is off.
        ema_span: Time constant of an exponential moving average of the weights and of batch
            normalisation's statistics, as a share of all updates; the average is validated and
            saved instead of the last weights. 0 is off.
        crop_padding: Pixels of reflected border added before a random crop of the image's size; 0
            is off.
        flip: Mirror half of the images.
        cutout: Side of the square that is cut out of each training image, in pixels, clipped at the
            border (DeVries and Taylor, 2017). 0 is off.
        mixup: Each training image and its target are mixed with those of another image, with a
            share drawn from Beta(mixup, mixup) (Zhang et al., 2018). 0 is off.
        randaugment: Number of RandAugment's operations on each training image, 1 to 4, drawn for
            each image and epoch (Cubuk et al., 2020). 0 is off.
        randaugment_magnitude: Strength of these operations, 0 to 30; not read without them.
        validation: Source of the validation images: "stratified" draws them from the training
            images, the same share of each class; "tail" takes the last training images; "test"
            uses the test images and trains on all training images; "folder" uses the validation
            images that a folder or table of pictures has.
        validation_fraction: Share of the training images set aside by "stratified" and "tail".
        split_seed: Seed of the test pictures that are drawn if the data name none.
        early_stopping: Stop after this many epochs in a row without a better validation accuracy
            than the best one so far, and save the weights of the best epoch. 0 is off.
        time_budget: Seconds that the training may take, from its start to its last file; `epochs`
            is then the most that it may train. 0 is off.
        calibrate: Divide the logits of the saved model by the temperature that fits the validation
            images best, see training.evaluation.temperature. No answer changes, only its
            probability.
        class_weights: Weigh the loss of an image by its class, so that all classes count alike; the
            validation loss, too.
        freeze_epochs: Epochs in which the body, all layers before the head, keeps its weights.
        backbone_rate: Learning rate of the body as a share of that of the head. With another value
            than 1, frozen epochs or a layer decay, weight decay acts on the head alone.
        layer_decay: Learning rate of each group of the body's layers as a share of that of the
            group behind it, see training.model.layer_rates. 1 is off.
        weights: Initial weights: "none" (random), "imagenet" (the body of resnet50 or of a model of
            keras.applications, downloaded by Keras), or the path of a .keras file of an earlier run
            or of weights of the body without top (.h5).
        image_size: Height and width in pixels to which pictures are scaled; 32 for CIFAR-10.
        upsample: Enlarge images by this factor before resnet50's body.
        stem: First layers of resnet50's body: "imagenet" reduces the image to a quarter of its
            height and width, as the reference architecture does; "cifar" keeps its size.
        mixed_precision: Compute type of the layers; weights and logits stay float32.
        xla: Compile the step with XLA. "auto" is off with TensorFlow on CPU, where XLA trains
            simcnn four times slower; otherwise Keras decides.
        fast_layers: Train with training.model.fast_layers. "auto" is on for resnet50 with
            TensorFlow on CPU, where they are faster.
        device_epochs: Train whole epochs as compiled programs with JAX, see training.device_loop.
            "auto" is on with JAX on a single GPU.
        seed: Seed of weights, shuffling, augmentation and the validation split.
    """

    model: ModelName
    recipe: RecipeName
    epochs: int
    batch_size: int
    accumulate_steps: int = 1
    optimizer: OptimizerName
    learning_rate: float
    schedule: Schedule = "constant"
    warmup_epochs: int = 0
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    clip_norm: float = 0.0
    ema_span: float = 0.0
    crop_padding: int = 0
    flip: bool = False
    cutout: int = 0
    mixup: float = 0.0
    randaugment: int = 0
    randaugment_magnitude: int = 9
    validation: Validation = "stratified"
    validation_fraction: float = 0.1
    split_seed: int = 0
    early_stopping: int = 0
    time_budget: int = 0
    calibrate: bool = False
    class_weights: bool = False
    freeze_epochs: int = 0
    backbone_rate: float = 1.0
    layer_decay: float = 1.0
    weights: str = "none"
    image_size: int = 32
    upsample: int = 1
    stem: Stem = "imagenet"
    mixed_precision: Precision = "none"
    xla: Switch = "auto"
    fast_layers: Switch = "auto"
    device_epochs: Switch = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        self._require("epochs", self.epochs >= 1, "1 or more")
        self._require("batch_size", self.batch_size >= 1, "1 or more")
        self._require("accumulate_steps", self.accumulate_steps >= 1, "1 or more")
        self._require("learning_rate", 0 < self.learning_rate < float("inf"), "above 0")
        self._require(
            "warmup_epochs",
            self.warmup_epochs == 0 or 0 < self.warmup_epochs < self.epochs,
            f"0 or more and less than epochs ({self.epochs})",
        )
        self._require("weight_decay", 0 <= self.weight_decay < 1, "0 to below 1")
        self._require("label_smoothing", 0 <= self.label_smoothing < 1, "0 to below 1")
        self._require("clip_norm", 0 <= self.clip_norm < float("inf"), "a norm above 0, or 0")
        self._require("ema_span", 0 <= self.ema_span < 1, "0 to below 1")
        self._require("crop_padding", 0 <= self.crop_padding < 32, "0 to 31 pixels")
        self._require("image_size", 32 <= self.image_size <= 1024, "32 to 1024 pixels")
        self._require(
            "cutout", 0 <= self.cutout <= self.image_size, f"0 to {self.image_size} pixels"
        )
        self._require("mixup", self.mixup == 0 or 0.01 <= self.mixup <= 10, "0, or 0.01 to 10")
        self._require("randaugment", 0 <= self.randaugment <= 4, "0 to 4 operations")
        self._require("randaugment_magnitude", 0 <= self.randaugment_magnitude <= 30, "0 to 30")
        self._require("validation_fraction", 0 < self.validation_fraction < 1, "between 0 and 1")
        self._require("early_stopping", self.early_stopping >= 0, "a number of epochs, or 0")
        self._require("time_budget", self.time_budget >= 0, "a number of seconds, or 0")
        self._require("upsample", self.upsample in (1, 2, 4, 7), "1, 2, 4 or 7")
        self._require("freeze_epochs", 0 <= self.freeze_epochs < self.epochs, "less than epochs")
        self._require("backbone_rate", 0 <= self.backbone_rate <= 1, "0 to 1")
        self._require("layer_decay", 0 < self.layer_decay <= 1, "above 0 to 1")
        self._require("split_seed", 0 <= self.split_seed < 2**32, "0 to 2**32 - 1")
        self._require("seed", 0 <= self.seed < 2**32, "0 to 2**32 - 1")
        if self.warmup_epochs and self.schedule == "constant":
            msg = (
                f"warmup_epochs {self.warmup_epochs} received with a constant schedule, which has "
                "no warm-up: pass --schedule cosine, or leave the warm-up out"
            )
            raise ConfigError(msg)
        has_warmup = self.warmup_epochs or self.schedule == "constant" or self.epochs == 1
        if self.time_budget and not has_warmup:
            msg = (
                f"time_budget {self.time_budget} received with a cosine without warm-up: the "
                "number of epochs is decided at the end of the warm-up; pass --warmup-epochs 1 or "
                "more, or --schedule constant"
            )
            raise ConfigError(msg)
        self._check_model()
        if self.calibrate and self.validation == "test":
            msg = (
                "calibrate received with validation test: the test images would choose the "
                "temperature that they measure; pass --validation stratified"
            )
            raise ConfigError(msg)
        if self.early_stopping and self.validation == "test":
            msg = (
                f"early_stopping {self.early_stopping} received with validation test: the test "
                "images would choose the weights that they measure; pass --validation stratified"
            )
            raise ConfigError(msg)

    def _check_model(self) -> None:
        """Refuse settings that the model does not have."""
        if self.model != "resnet50" and self.upsample != 1:
            msg = (
                f"upsample {self.upsample} received for {self.model}; only resnet50 can be "
                "upsampled"
            )
            raise ConfigError(msg)
        if self.model != "resnet50" and self.stem != "imagenet":
            msg = f"stem {self.stem} received for {self.model}; only resnet50 has a stem"
            raise ConfigError(msg)
        if self.stem == "cifar" and self.weights == "imagenet":
            msg = (
                "weights imagenet received with stem cifar, but they were trained with the other "
                "stem: pass --stem imagenet or --weights none"
            )
            raise ConfigError(msg)
        if self.model == "simcnn" and self.weights == "imagenet":
            msg = "weights imagenet received for simcnn; they exist for resnet50 alone: use none"
            raise ConfigError(msg)
        if self.model == "simcnn" and self.layer_decay != 1:
            msg = (
                f"layer_decay {self.layer_decay} received for simcnn, which has no body of several "
                "blocks; leave it out"
            )
            raise ConfigError(msg)

    def _require(self, name: str, ok: bool, expected: str) -> None:
        if not ok:
            msg = f"{name} is {getattr(self, name)!r}, expected {expected}"
            raise ConfigError(msg)

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as values for JSON, in the order of declaration."""
        return asdict(self)

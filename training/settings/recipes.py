"""Training settings: recipes for each model, whose values single flags override."""

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any, Literal

ModelName = Literal["simcnn", "resnet50"]
RecipeName = Literal["report", "best", "gpu-5min", "gpu-15min"]
OptimizerName = Literal["adam", "adamw", "sgd"]
Precision = Literal["none", "float16", "bfloat16"]
Validation = Literal["test", "tail", "stratified", "folder"]
Schedule = Literal["constant", "cosine"]
Stem = Literal["imagenet", "cifar"]
Switch = Literal["auto", "on", "off"]
_NAMED_ELSEWHERE = ("model", "recipe", "seed")  # never listed among the changes of a recipe


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
        validation: Source of the validation images: "stratified" draws them from the training
            images, the same share of each class; "tail" takes the last training images; "test"
            uses the test images and trains on all training images; "folder" uses the validation
            images that a folder or table of pictures has.
        validation_fraction: Share of the training images set aside by "stratified" and "tail".
        early_stopping: Stop after this many epochs in a row without a better validation accuracy
            than the best one so far, and save the weights of the best epoch. 0 is off.
        time_budget: Seconds that the training may take, from its start to its last file; `epochs`
            is then the most that it may train. 0 is off.
        calibrate: Divide the logits of the saved model by the temperature that fits the validation
            images best, see training.evaluation.temperature. No answer changes, only its
            probability.
        weights: Initial weights: "none" (random), "imagenet" (resnet50's body, downloaded by
            Keras), or the path of a .keras file of an earlier run or of ResNet50 weights without
            top (.h5).
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
    validation: Validation = "stratified"
    validation_fraction: float = 0.1
    early_stopping: int = 0
    time_budget: int = 0
    calibrate: bool = False
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
        self._require("validation_fraction", 0 < self.validation_fraction < 1, "between 0 and 1")
        self._require("early_stopping", self.early_stopping >= 0, "a number of epochs, or 0")
        self._require("time_budget", self.time_budget >= 0, "a number of seconds, or 0")
        self._require("upsample", self.upsample in (1, 2, 4, 7), "1, 2, 4 or 7")
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
        if self.model == "simcnn" and self.upsample != 1:
            msg = f"upsample {self.upsample} received for simcnn; only resnet50 can be upsampled"
            raise ConfigError(msg)
        if self.model == "simcnn" and self.stem != "imagenet":
            msg = f"stem {self.stem} received for simcnn; only resnet50 has a stem"
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

    def _require(self, name: str, ok: bool, expected: str) -> None:
        if not ok:
            msg = f"{name} is {getattr(self, name)!r}, expected {expected}"
            raise ConfigError(msg)

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as values for JSON, in the order of declaration."""
        return asdict(self)


# "report" is the published protocol, kept for comparison; report_differences.py lists where it
# differs. Known flaws of the protocol: no augmentation, one seed, SimCNN validated on the test
# images, ResNet50 trained with from_logits=True on a softmax output, and ImageNet weights with
# input pixels / 255.
#
# "best" for simcnn: crop and flip help most on a net this small. A reflected border keeps the
# statistics of the image; zeros would draw a black frame that test images never have. "best" for
# resnet50: SGD, as usual for residual nets on CIFAR-10. Its customary L2 penalty of 5e-4 acts on
# the gradient, which momentum 0.9 multiplies by 10; the decoupled form therefore uses 5e-3. The
# norm of the gradients was in the hundreds in the first steps and about 2 after 60 steps: clipping
# at 5 limits the first steps and spikes, and leaves ordinary steps alone.
#
# "gpu-5min" and "gpu-15min" are for one fast GPU. Their batches are four times as large as those of
# "best", so the learning rate is, too (Goyal et al., "Accurate, Large Minibatch SGD", 2017); the
# decay of an epoch stays the same. The longer training bears stronger regularisation.
_RECIPES: dict[tuple[ModelName, RecipeName], TrainConfig] = {
    (config.model, config.recipe): config
    for config in (
        TrainConfig(
            model="simcnn",
            recipe="report",
            epochs=10,
            batch_size=32,
            optimizer="adam",
            learning_rate=1e-3,
            validation="test",
        ),
        TrainConfig(
            model="resnet50",
            recipe="report",
            epochs=15,
            batch_size=64,
            optimizer="adam",
            learning_rate=1e-3,
            validation="tail",
            weights="imagenet",
        ),
        TrainConfig(
            model="simcnn",
            recipe="best",
            epochs=60,
            batch_size=128,
            optimizer="adamw",
            learning_rate=3e-3,
            schedule="cosine",
            warmup_epochs=2,
            weight_decay=0.01,
            label_smoothing=0.05,
            ema_span=0.05,
            crop_padding=4,
            flip=True,
        ),
        TrainConfig(
            model="resnet50",
            recipe="best",
            epochs=30,
            batch_size=256,
            optimizer="sgd",
            learning_rate=0.1,
            schedule="cosine",
            warmup_epochs=2,
            weight_decay=5e-3,
            clip_norm=5.0,
            crop_padding=4,
            flip=True,
        ),
        TrainConfig(
            model="resnet50",
            recipe="gpu-5min",
            epochs=60,
            batch_size=1024,
            optimizer="sgd",
            learning_rate=0.4,
            schedule="cosine",
            warmup_epochs=5,
            weight_decay=5e-3,
            clip_norm=5.0,
            ema_span=0.05,
            crop_padding=4,
            flip=True,
            cutout=8,
            time_budget=5 * 60,
            upsample=2,
            mixed_precision="bfloat16",
        ),
        TrainConfig(
            model="resnet50",
            recipe="gpu-15min",
            epochs=150,
            batch_size=1024,
            optimizer="sgd",
            learning_rate=0.4,
            schedule="cosine",
            warmup_epochs=5,
            weight_decay=5e-3,
            clip_norm=5.0,
            ema_span=0.05,
            crop_padding=4,
            flip=True,
            cutout=16,
            mixup=0.2,
            time_budget=15 * 60,
            stem="cifar",
            mixed_precision="bfloat16",
        ),
    )
}


def from_recipe(model: ModelName, recipe: RecipeName, **overrides: object) -> TrainConfig:
    """Return a recipe with some values replaced.

    Args:
        model: "simcnn" or "resnet50".
        recipe: "report" (the published protocol; report_differences.py lists where it differs) or
            "best"; for resnet50 also "gpu-5min" and "gpu-15min".
        **overrides: Fields of TrainConfig; None keeps the recipe's value. Unless `warmup_epochs`
            is given, a training not longer than the recipe's warm-up gets a warm-up of half its
            epochs, and a constant schedule gets none.

    Raises:
        ConfigError: Unknown model or recipe, or a value out of range.
    """
    try:
        base = _RECIPES[model, recipe]
    except KeyError:
        known = ", ".join(f"{name} for {owner}" for owner, name in _RECIPES)
        msg = f"no recipe {recipe!r} for model {model!r}; expected one of: {known}"
        raise ConfigError(msg) from None
    given = {name: value for name, value in overrides.items() if value is not None}
    epochs = given.get("epochs")
    if given.get("schedule") == "constant":
        given.setdefault("warmup_epochs", 0)
    if isinstance(epochs, int) and epochs <= base.warmup_epochs:
        given.setdefault("warmup_epochs", epochs // 2)
    return replace(base, **given)  # type: ignore[arg-type]  # argparse and __post_init__ check them


def changes_of_recipe(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings, except the seed, in which a training differs from today's recipe.

    A warm-up that is shorter because the training is shorter does not count as a difference.

    Args:
        settings: Settings of the training, as returned by TrainConfig.as_dict. Settings that were
            introduced after the training may be missing; it was trained with their defaults.

    Returns:
        The settings that differ. If the recipe no longer exists, all settings except model, recipe
        and seed.
    """
    standard = recipe_of(settings)
    if not standard:
        return {name: settings[name] for name in settings if name not in _NAMED_ELSEWHERE}
    if settings["epochs"] <= standard["warmup_epochs"]:
        standard["warmup_epochs"] = settings["epochs"] // 2  # like from_recipe
    trained = defaults() | dict(settings)
    return {
        name: trained[name]
        for name, value in standard.items()
        if name not in _NAMED_ELSEWHERE and trained.get(name, value) != value
    }


def changes_of_architecture(settings: Mapping[str, Any]) -> list[str]:
    """Return how a training's model differs from the reference architecture, in short phrases.

    Args:
        settings: Settings of the training; those introduced after it may be missing.

    Returns:
        "stem cifar", "images of 96 pixels" and "images x 2", or an empty list.
    """
    changes = []
    if settings.get("stem", "imagenet") != "imagenet":
        changes.append(f"stem {settings['stem']}")
    if settings.get("image_size", 32) != 32:
        changes.append(f"images of {settings['image_size']} pixels")
    if settings.get("upsample", 1) > 1:
        changes.append(f"images x {settings['upsample']}")
    return changes


def defaults() -> dict[str, Any]:
    """Return the settings that have a default, with which runs that lack them were trained."""
    return {field.name: field.default for field in fields(TrainConfig) if field.default != MISSING}


def recipe_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a training's recipe today; empty if the recipe no longer exists."""
    try:
        return from_recipe(settings["model"], settings["recipe"]).as_dict()
    except ConfigError:
        return {}

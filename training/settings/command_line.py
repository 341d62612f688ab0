"""The command line that repeats a training: the reverse of `training.settings.arguments`."""

from collections.abc import Mapping
from typing import Any

from training.settings.recipes import changes_of_recipe

_OTHER_FLAGS = {"xla": "jit"}
# Without a flag the data choose these settings, and not the recipe: see sources.picture_settings.
_OF_PICTURES = ("image_size", "validation")


def arguments(settings: Mapping[str, Any], *, of_pictures: bool) -> list[str]:
    """Return the arguments of `python -m training` that choose these settings.

    Args:
        settings: Settings of a training, as returned by TrainConfig.as_dict. Those that were
            introduced after it may be missing.
        of_pictures: Whether the data are pictures of any classes, and not CIFAR-10.

    Returns:
        The model, `--recipe`, `--seed`, and a flag for each setting that differs from the recipe.
    """
    flags = [f"--recipe={settings['recipe']}", f"--seed={settings['seed']}"]
    changes = changes_of_recipe(settings)
    if of_pictures:
        changes |= {name: settings[name] for name in _OF_PICTURES if name in settings}
    flags += [_flag(name, value) for name, value in changes.items()]
    return [settings["model"], *flags]


def _flag(setting: str, value: object) -> str:
    name = _OTHER_FLAGS.get(setting, setting).replace("_", "-")
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no-{name}"
    return f"--{name}={value}"

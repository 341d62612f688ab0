"""The space of a search: which settings of a recipe are varied, and between which values."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from training.settings.recipes import ConfigError, OptimizerName, Schedule, TrainConfig
from training.settings.search_record import shown

Value = float | int | bool | str


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A setting that the search varies: a range, or a list of choices.

    Attributes:
        name: Field of TrainConfig.
        low: Least value of a range; None for choices.
        high: Greatest value of a range, of the type of `low`: int or float.
        log: Whether values are drawn on a logarithmic scale.
        choices: The choices; empty for a range.
    """

    name: str
    low: float | int | None = None
    high: float | int | None = None
    log: bool = False
    choices: tuple[Value, ...] = ()

    def __str__(self) -> str:
        if self.choices:
            return ", ".join(map(text, self.choices))
        return f"{shown(self.low)} to {shown(self.high)}{', log' if self.log else ''}"

    def contains(self, value: Value) -> bool:
        """Return whether the search may choose a value."""
        if self.low is None or self.high is None:
            return value in self.choices
        return not isinstance(value, str) and self.low <= value <= self.high


@dataclass(frozen=True)
class _Rule:
    """How a setting is searched.

    Attributes:
        parse: Turns the text of a value into the value; raises ValueError.
        around: Returns the default range or choices around a recipe's value; None if no default
            space has the setting, because each of its values needs other values of the rest.
        log: Whether ranges are logarithmic.
        unused: The value with which a recipe does not use the setting, so that its default space
            leaves it out; None if every recipe uses it.
        kind: What its values are, for messages.
    """

    parse: Callable[[str], Value]
    around: Callable[[str, Any], Parameter] | None = None
    log: bool = False
    unused: Value | None = None
    kind: str = "numbers"


def _factor(factor: float, most: float = math.inf) -> Callable[[str, Any], Parameter]:
    """Return a logarithmic range from value / factor to value x factor."""

    def around(name: str, value: float) -> Parameter:
        return Parameter(
            name=name, low=_round(value / factor), high=_round(min(value * factor, most)), log=True
        )

    return around


def _fixed(low: float, high: float) -> Callable[[str, Any], Parameter]:
    return lambda name, _: Parameter(name=name, low=low, high=high)


def _doubled(most: int) -> Callable[[str, Any], Parameter]:
    """Return whole numbers from 0 to twice the value."""
    return lambda name, value: Parameter(name=name, low=0, high=min(2 * value, most))


def _halved_and_doubled(name: str, value: int) -> Parameter:
    return Parameter(name=name, choices=(max(1, value // 2), value, 2 * value))


def _choices(*choices: Value) -> Callable[[str, Any], Parameter]:
    return lambda name, _: Parameter(name=name, choices=choices)


def _round(value: float) -> float:
    return float(f"{value:.6g}")


def _switch(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(text)
    return text.lower() == "true"


def _one_of(names: tuple[str, ...]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in names:
            raise ValueError(text)
        return text

    return parse


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


_WHOLE = "whole numbers"
_RULES: Mapping[str, _Rule] = {
    "learning_rate": _Rule(_number, _factor(10), log=True),
    "batch_size": _Rule(int, _halved_and_doubled, kind=_WHOLE),
    "weight_decay": _Rule(_number, _factor(10, most=0.5), log=True, unused=0),
    "label_smoothing": _Rule(_number, _fixed(0.0, 0.2), unused=0),
    "clip_norm": _Rule(_number, _factor(4), log=True, unused=0),
    "ema_span": _Rule(_number, _factor(4, most=0.5), log=True, unused=0),
    "crop_padding": _Rule(int, _doubled(31), unused=0, kind=_WHOLE),
    "flip": _Rule(_switch, _choices(False, True), unused=False, kind="true and false"),
    "cutout": _Rule(int, _doubled(32), unused=0, kind=_WHOLE),
    "mixup": _Rule(_number, _factor(4, most=10), log=True, unused=0),
    "backbone_rate": _Rule(_number, _factor(10, most=1), log=True, unused=1),
    "freeze_epochs": _Rule(int, _doubled(10), unused=0, kind=_WHOLE),
    "warmup_epochs": _Rule(int, kind=_WHOLE),
    "accumulate_steps": _Rule(int, kind=_WHOLE),
    "class_weights": _Rule(_switch, kind="true and false"),
    "optimizer": _Rule(_one_of(get_args(OptimizerName)), kind=", ".join(get_args(OptimizerName))),
    "schedule": _Rule(_one_of(get_args(Schedule)), kind=", ".join(get_args(Schedule))),
}


def default(trial: TrainConfig, fixed: Iterable[str]) -> dict[str, Parameter]:
    """Return the space of a recipe: the settings that it uses, around its values.

    Args:
        trial: The settings of a trial before the search changes them.
        fixed: Settings that the user chose, which are not varied.
    """
    left_out = set(fixed)
    space = {}
    for name, rule in _RULES.items():
        value = getattr(trial, name)
        used = rule.unused is None or value != rule.unused
        if rule.around is not None and used and name not in left_out:
            space[name] = rule.around(name, value)
    freeze = space.get("freeze_epochs")
    if freeze is not None and freeze.high is not None:
        most = min(freeze.high, trial.epochs - 1)
        space["freeze_epochs"] = Parameter(name="freeze_epochs", low=0, high=most)
    return {name: each for name, each in space.items() if each.choices or each.low != each.high}


def text(value: Value) -> str:
    """Return a value as --param takes it; floats with three significant digits."""
    return str(value).lower() if isinstance(value, bool) else shown(value)


def more(space: Mapping[str, Parameter]) -> list[str]:
    """Return the settings that can be searched and are not in a space."""
    return [name for name in _RULES if name not in space]


def parse(flag: str, check: Callable[[str, Value], object]) -> Parameter:
    """Parse the value of a flag --param: NAME=LOW..HIGH or NAME=A,B,C.

    Args:
        flag: The value.
        check: Raises ConfigError if a setting may not have a value.

    Raises:
        ConfigError: The setting cannot be searched, or the values are no range and no list, or the
            setting may not have them.
    """
    name, separator, values = flag.partition("=")
    name = name.strip().replace("-", "_")
    if name not in _RULES:
        msg = (
            f"--param {flag}: {name!r} is no setting that a search varies, expected one of "
            f"{', '.join(_RULES)}"
        )
        raise ConfigError(msg)
    if not separator or not values.strip():
        msg = f"--param {flag}: expected {name}=LOW..HIGH or {name}=A,B,C"
        raise ConfigError(msg)
    found = _parse_values(flag, name, values.strip())
    for value in _probes(found):
        try:
            check(name, value)
        except ConfigError as error:
            msg = f"--param {flag}: {error}"
            raise ConfigError(msg) from error
    return found


def _parse_values(flag: str, name: str, values: str) -> Parameter:
    rule = _RULES[name]
    low, separator, high = (part.strip() for part in values.partition(".."))

    def value(part: str) -> Value:
        try:
            return rule.parse(part)
        except ValueError as error:
            msg = f"--param {flag}: {part!r} received, expected {rule.kind}"
            raise ConfigError(msg) from error

    if not separator:
        choices = tuple(value(part.strip()) for part in values.split(","))
        return Parameter(name=name, choices=tuple(dict.fromkeys(choices)))
    ends = (value(low), value(high))
    if isinstance(ends[0], bool | str) or isinstance(ends[1], bool | str):
        msg = f"--param {flag}: {name} has no range, expected a list such as {name}={low},{high}"
        raise ConfigError(msg)
    if ends[0] >= ends[1]:
        msg = f"--param {flag}: {low} is not below {high}, expected LOW..HIGH with LOW below HIGH"
        raise ConfigError(msg)
    if rule.log and ends[0] <= 0:
        msg = (
            f"--param {flag}: {name} is drawn on a logarithmic scale, so LOW must be above 0; for "
            f"0 too, pass a list such as {name}=0,{shown(ends[1])}"
        )
        raise ConfigError(msg)
    return Parameter(name=name, low=ends[0], high=ends[1], log=rule.log)


def _probes(parameter: Parameter) -> tuple[Value, ...]:
    """Return the values of a parameter that show whether all of them are allowed."""
    if parameter.low is None or parameter.high is None:
        return parameter.choices
    return (parameter.low, parameter.high)

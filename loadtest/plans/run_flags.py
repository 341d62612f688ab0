"""The flags of a run as keys of a plan's file, without the leading `--`."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from loadtest.report_schema import RAW_FILE
from loadtest.settings.config import UsageError

T = TypeVar("T")
# Flags that every plan itself passes to each run.
OWN_FLAGS = frozenset(
    {
        *("target", "model", "version", "precision", "provider", "models-dir", "data-dir"),
        *("seed", "schedule-seed", "output-dir", "name", "json"),
        *("tls", "ca", "cert", "key", "api-key-file", "header"),
    }
)


def command_flags(values: Sequence[tuple[str, Any]]) -> tuple[str, ...]:
    """Return keys and values as flags of a command: true gives the flag alone, false none."""
    flags = []
    for key, value in values:
        if value is True:
            flags.append(f"--{key}")
        elif value is not False:
            flags.append(f"--{key}={value}")
    return tuple(flags)


def refuse_own_flags(
    values: Mapping[str, Any], where: str, plan: str, own: Collection[str] = OWN_FLAGS
) -> None:
    """Refuse the flags that a plan passes itself.

    Args:
        values: Keys of a table with their values.
        where: Name of the table.
        plan: "matrix" or "mix".
        own: The flags that the plan passes itself.

    Raises:
        UsageError: The table has such a flag.
    """
    if found := sorted(set(own) & set(values)):
        msg = f"{', '.join(found)} of {where}: the {plan} itself sets these flags"
        raise UsageError(msg)


def refuse_sample_files(values: Mapping[str, Any], where: str, each: str) -> None:
    """Refuse `save-samples`, which names one file for all runs.

    Args:
        values: Keys of a table with their values.
        where: Name of the table.
        each: What the plan calls one of its runs: "run" or "stream".

    Raises:
        UsageError: The table has the flag.
    """
    if "save-samples" in values:
        msg = (
            f"save-samples of {where}: every {each} would write the same file; leave it out, "
            f"the folder of each {each} has its samples as {RAW_FILE}"
        )
        raise UsageError(msg)


def parse_flags(
    parse: Callable[[Sequence[str]], T], command: Sequence[str], *, model: str, where: str
) -> T:
    """Return the settings that a command line gives; its parser prints what is wrong with it.

    Args:
        parse: Parser of the command.
        command: Name and flags of the command, without target and model.
        model: Name of the model.
        where: What has these flags, for the message.

    Raises:
        UsageError: The parser refused the flags.
    """
    try:
        return parse([*command[1:], "--target=localhost:1", f"--model={model}"])
    except SystemExit as error:
        line = " ".join(command)
        msg = f"{where} gives a wrong command line (see the error above): {line}"
        raise UsageError(msg) from error

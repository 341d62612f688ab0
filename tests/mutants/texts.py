"""Decides which code is not mutated, because it is only text for people.

The following code is not mutated, not removed and not replaced by None:

- docstrings and type annotations, including the first argument of `cast`;
- logging: calls of `logger.info`, `_log.warning` and the like, with all their arguments;
- messages of errors: the arguments of an error that are text or the names `msg` and `message`, and
  assignments to `msg`.

Any other text of several words, such as `f"at most {100 * allowed:g} %"`, has no mutants inside it,
but its replacement by None is a mutant. Other strings (names, keys, paths, formats) are mutated.
"""

import builtins
import re

import libcst as cst
import libcst.matchers as m

LOGGERS = {"log", "_log", "logger", "_logger"}
MESSAGES = {"msg", "message"}
# A class is an error if it is a built-in one, its name ends so, or it is in SERVING_ERRORS.
ERROR_ENDINGS = ("Error", "Exception", "Warning")
SERVING_ERRORS = {
    "DataLoss",
    "DeadlineExceeded",
    "FailedPrecondition",
    "InvalidInput",
    "NotFound",
    "OutOfRange",
    "ResourceExhausted",
    "Unavailable",
    "Unsupported",
}
# Two words with one space between: "may batch", not "text/plain; charset=utf-8".
SEVERAL_WORDS = re.compile(r"[A-Za-z]{2,}'?,? [A-Za-z]{2,}|[a-z]{2,} \Z|\A [a-z]{2,}")


def is_text(node: cst.CSTNode) -> bool:
    """Return whether a node is a string literal, formatted or not."""
    return isinstance(node, cst.SimpleString | cst.FormattedString | cst.ConcatenatedString)


def is_prose(node: cst.CSTNode) -> bool:
    """Return whether a node is a string literal of several words."""
    if isinstance(node, cst.ConcatenatedString):
        return is_prose(node.left) or is_prose(node.right)
    if isinstance(node, cst.FormattedString):
        pieces = [
            part.value if isinstance(part, cst.FormattedStringText) else "{}" for part in node.parts
        ]
        return SEVERAL_WORDS.search("".join(pieces)) is not None
    return isinstance(node, cst.SimpleString) and bool(
        SEVERAL_WORDS.search(node.raw_value) if isinstance(node.evaluated_value, str) else False
    )


def is_logging(node: cst.CSTNode) -> bool:
    """Return whether a node is a call of a logger."""
    return m.matches(
        node,
        m.Call(
            func=m.Attribute(value=m.Name(value=m.MatchIfTrue(lambda name: name in LOGGERS))),
        ),
    )


def is_error(call: cst.Call) -> bool:
    """Return whether a call creates an exception."""
    name = call.func
    if isinstance(name, cst.Attribute):
        name = name.attr
    if not isinstance(name, cst.Name):
        return False
    builtin = getattr(builtins, name.value, None)
    return (
        name.value in SERVING_ERRORS
        or name.value.endswith(ERROR_ENDINGS)
        or (isinstance(builtin, type) and issubclass(builtin, BaseException))
    )


def is_message(node: cst.CSTNode) -> bool:
    """Return whether an argument of an exception is its message."""
    return is_text(node) or (isinstance(node, cst.Name) and node.value in MESSAGES)


def skipped(node: cst.CSTNode) -> bool:
    """Return whether a node and everything inside it is left out."""
    if isinstance(node, cst.Annotation) or is_logging(node) or is_prose(node):
        return True
    if isinstance(node, cst.Expr):
        return is_text(node.value)
    return isinstance(node, cst.Assign) and m.matches(node.targets[0].target, m.Name("msg"))


def skipped_arguments(call: cst.Call) -> set[int]:
    """Return the indices of a call's arguments that are neither mutated nor removed."""
    if m.matches(call.func, m.Name("cast")):
        return {0}
    if is_error(call):
        return {number for number, each in enumerate(call.args) if is_message(each.value)}
    return set()

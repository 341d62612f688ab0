"""Makes the mutants of a source file with mutmut's operators.

As in mutmut, functions and methods are mutated, including the simple defaults of their parameters,
and calls of `len` and `isinstance` are not. Unlike in mutmut, decorated functions are mutated too:
mutmut cannot do so, because it writes its mutants beside the original. Text that only people read
is not mutated: see `texts`.

A mutant's name is `module:function:operator:number`. The number counts the mutants of an operator
in a function. A name therefore stays the same if docstrings, messages or other functions change.
"""

import ast
import difflib
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import libcst as cst
from mutants import texts
from mutmut.mutation.mutators import mutation_operators

UNTOUCHED_CALLS = {"len", "isinstance"}


@dataclass(frozen=True, eq=False)
class Mutant:
    """One change of a source file.

    Attributes:
        name: Unique name; the module's docstring describes its form.
        file: Path relative to the root of the repository.
    """

    name: str
    file: str
    tree: cst.Module
    node: cst.CSTNode
    changed: cst.CSTNode

    @cached_property
    def code(self) -> str:
        """The text of the changed file."""
        return self.tree.deep_replace(self.node, self.changed).code

    @property
    def valid(self) -> bool:
        """Whether the changed file is valid Python and differs from the original as a program."""
        try:
            return ast.dump(ast.parse(self.code)) != ast.dump(ast.parse(self.tree.code))
        except SyntaxError:
            return False

    @cached_property
    def line(self) -> int:
        """The number of the first changed line, from 1."""
        return self._difference[0]

    @property
    def change(self) -> str:
        """The changed lines without their indentation, `- old` and `+ new`."""
        return self._difference[1]

    @cached_property
    def _difference(self) -> tuple[int, str]:
        old, new = self.tree.code.splitlines(), self.code.splitlines()
        matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
        first, lines = 0, []
        for tag, a, b, c, d in matcher.get_opcodes():
            if tag != "equal":
                first = first or a + 1
                lines += [f"- {line.strip()}" for line in old[a:b]]
                lines += [f"+ {line.strip()}" for line in new[c:d]]
        return first, "\n".join(lines)


def mutants_of(root: Path, file: str) -> list[Mutant]:
    """Return all mutants of a file whose path is relative to `root`, in the order of the text."""
    return mutants_of_source((root / file).read_text(), file)


def mutants_of_source(source: str, file: str) -> list[Mutant]:
    """Return all mutants of a source text, in the order of the text."""
    module = file.removesuffix(".py").replace("/", ".")
    tree = cst.parse_module(source)
    visitor = _Visitor()
    tree.visit(visitor)
    numbers: Counter[tuple[str, str]] = Counter()
    mutants = []
    for function, operator, node, changed in visitor.found:
        if tree.code_for_node(changed) != tree.code_for_node(node):
            numbers[function, operator] += 1
            name = f"{module}:{function}:{operator}:{numbers[function, operator]}"
            mutants.append(Mutant(name, file, tree, node, changed))
    return mutants


class _Visitor(cst.CSTVisitor):
    """Collects (function, operator, node, changed node)."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str, cst.CSTNode, cst.CSTNode]] = []
        self._scope: list[cst.FunctionDef | cst.ClassDef] = []
        # Nodes that are not mutated, although the call that contains them is.
        self._skipped: set[cst.CSTNode] = set()

    def on_visit(self, node: cst.CSTNode) -> bool:
        if node in self._skipped or texts.skipped(node) or _left_alone(node):
            return False
        if isinstance(node, cst.FunctionDef | cst.ClassDef):
            self._scope.append(node)
        kept: set[int] = set()
        if isinstance(node, cst.Call):
            kept = texts.skipped_arguments(node)
            self._skipped |= {node.args[number] for number in kept}
        if any(isinstance(each, cst.FunctionDef) for each in self._scope):
            self._mutate(node, kept)
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if self._scope and self._scope[-1] is original_node:
            self._scope.pop()

    def _mutate(self, node: cst.CSTNode, kept: set[int]) -> None:
        function = ".".join(each.name.value for each in self._scope)
        for kind, operator in mutation_operators:
            if isinstance(node, kind):
                for changed in operator(node):
                    if not (kept and _touches(node, changed, kept)):
                        name = operator.__name__.removeprefix("operator_")
                        self.found.append((function, name, node, changed))


def _touches(call: cst.CSTNode, changed: cst.CSTNode, kept: set[int]) -> bool:
    """Return whether a changed call lacks one of the arguments that must be kept."""
    if not (isinstance(call, cst.Call) and isinstance(changed, cst.Call)):
        return False
    left = {id(argument.value) for argument in changed.args}
    return any(id(call.args[number].value) not in left for number in kept)


def _left_alone(node: cst.CSTNode) -> bool:
    if isinstance(node, cst.Decorator):
        return True
    if isinstance(node, cst.Call):
        return isinstance(node.func, cst.Name) and node.func.value in UNTOUCHED_CALLS
    # Defaults are evaluated when the module is imported.
    return isinstance(node, cst.Param) and not isinstance(
        node.default, cst.Name | cst.BaseNumber | cst.BaseString | None
    )

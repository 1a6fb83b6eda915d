"""A rule-based reward for Python code, by parsing only: nothing is compiled to byte code, imported or run.

It says how code looks, not whether it works; running code would need a sandbox, which this is not.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from align_scratch.rewards.composition import Judgement

LONGEST = 20_000
"""Characters of code; more is not parsed."""
LONGEST_LINE = 100
_FENCE = re.compile(r"^[ ]{0,3}```([\w+-]*)[^\n]*$", re.MULTILINE)


def code_in(text: str) -> str:
    """The last fenced block, or everything if there is none."""
    fences = list(_FENCE.finditer(text))
    if len(fences) < 2:
        return text[fences[0].end() :] if fences else text
    start, end = fences[len(fences) // 2 * 2 - 2 : len(fences) // 2 * 2]
    return text[start.end() : end.start()]


def parsed(code: str) -> ast.Module | str:
    """The syntax tree of untrusted code, or why there is none."""
    if len(code) > LONGEST:
        return f"{len(code)} characters are more than {LONGEST}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an unknown escape in a model's string is no concern of the user
            return ast.parse(code)
    except SyntaxError as error:
        return f"line {error.lineno}: {error.msg}"
    except (ValueError, RecursionError, MemoryError) as error:
        return f"cannot be parsed: {str(error) or type(error).__name__}"


def _defines(tree: ast.Module, code: str) -> str:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return "" if any(isinstance(node, kinds) for node in tree.body) else "defines no function and no class"


def _documented(tree: ast.Module, code: str) -> str:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            typed = node.returns is not None or any(a.annotation is not None for a in node.args.args)
            if not typed and ast.get_docstring(node, clean=False) is None:
                return f"{node.name} has neither a docstring nor types"
        elif isinstance(node, ast.ClassDef) and ast.get_docstring(node, clean=False) is None:
            return f"class {node.name} has no docstring"
    return "" if tree.body else "there is no code"


def _tidy(tree: ast.Module, code: str) -> str:
    for number, line in enumerate(code.splitlines(), start=1):
        if len(line) > LONGEST_LINE:
            return f"line {number} has {len(line)} characters"
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            return f"line {node.lineno}: catches everything"
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            return f"line {node.lineno}: imports everything"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("eval", "exec"):
            return f"line {node.lineno}: calls {node.func.id}"
    return "" if tree.body else "there is no code"


RULES: tuple[tuple[float, Callable[[ast.Module, str], str]], ...] = ((0.3, _defines), (0.2, _documented), (0.2, _tidy))
"""What parsed code is looked at for; that it parses, and is not empty, is worth the first 0.3."""


@dataclass(frozen=True, kw_only=True)
class CodeQuality:
    """0.3 that it parses + 0.3 that it defines something + 0.2 docstrings or types + 0.2 tidy: no overlong line, no
    catching or importing of everything, no call of eval or exec. The last fenced block counts, or the whole text."""

    name: str = "code"

    def __call__(self, completion: str, *, prompt: str, answer: str) -> Judgement:
        code = code_in(completion)
        tree = parsed(code)
        if isinstance(tree, str):
            return Judgement(0.0, tree, unparsed=True)
        if not tree.body:
            return Judgement(0.0, "there is no code", unparsed=True)
        missing = [(weight, told) for weight, rule in RULES if (told := rule(tree, code))]
        return Judgement(round(1.0 - sum(weight for weight, _ in missing), 6), "; ".join(told for _, told in missing))

"""Jinja's sandbox as chat templates of transformers expect it, with limits on what costs memory.

Jinja is imported when it is needed: it comes with the extra `chat`.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Collection
from functools import cache
from typing import Any

_MAX_REPEATED = 2**20
_MAX_RANGE = 10_000
_WIDE = re.compile(r"[0-9]{5}|\{[^{}]*\{")  # a width of five digits, or one that is itself filled in


def load_jinja() -> Any:
    """Jinja, or an error that says how to get it."""
    try:
        import jinja2
        import jinja2.exceptions
        import jinja2.ext
        import jinja2.sandbox
    except ModuleNotFoundError:
        raise ModuleNotFoundError('chat templates need Jinja: pip install "tokenizers-scratch[chat]"') from None
    return jinja2


@cache
def sandbox() -> Any:
    """Jinja as transformers sets it up, with tighter limits."""
    jinja = load_jinja()
    extension: Any = jinja.ext.Extension
    environment_class: Any = jinja.sandbox.ImmutableSandboxedEnvironment

    class Generation(extension):  # type: ignore[misc]
        """`{% generation %}` ... `{% endgeneration %}`"""

        tags = frozenset({"generation"})

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            call = self.call_method("_mark", [jinja.nodes.ContextReference()])
            return jinja.nodes.CallBlock(call, [], [], body).set_lineno(line)

        def _mark(self, context: Any, caller: Any) -> str:
            marks = context["_marks"]
            return f"{marks.open}{caller()}{marks.close}"

    class Sandbox(environment_class):  # type: ignore[misc]
        intercepted_binops = frozenset(("*", "**", "%"))

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            texts = [value for value in (left, right) if isinstance(value, str | bytes | Collection)]
            if operator == "*" and texts:
                times = left if texts[0] is right else right
                if isinstance(times, int) and times * len(texts[0]) > _MAX_REPEATED:
                    raise jinja.exceptions.SecurityError(f"repeats to more than {_MAX_REPEATED}")
            elif operator == "**" or (operator == "%" and texts):
                raise jinja.exceptions.SecurityError(f"the operator {operator} is not allowed")
            return super().call_binop(context, operator, left, right)

        def call(self, context: Any, called: Any, /, *args: Any, **kwargs: Any) -> Any:
            # center, ljust, zfill and so on make long texts of short ones
            wide = any(type(value) is int and value > _MAX_RANGE for value in (*args, *kwargs.values()))
            if wide and isinstance(getattr(called, "__self__", None), str):
                raise jinja.exceptions.SecurityError(f"{called.__name__} to more than {_MAX_RANGE} characters")
            return super().call(context, called, *args, **kwargs)

        def wrap_str_format(self, value: Any) -> Any:
            wrapped = super().wrap_str_format(value)
            if wrapped is not None and _WIDE.search(value.__self__):
                raise jinja.exceptions.SecurityError(f"format to more than {_MAX_RANGE} characters")
            return wrapped

    environment = Sandbox(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"], autoescape=False
    )
    for name in ("center", "indent", "wordwrap", "format"):  # widths again, and of no use in a template
        del environment.filters[name]
    environment.filters["indent"] = _indented
    environment.filters["tojson"] = _to_json
    environment.globals["range"] = _limited_range
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = time.strftime
    return environment


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    """As text and not as HTML, unlike Jinja's own."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


def _indented(text: str, width: int = 4, first: bool = False, blank: bool = False) -> str:
    """Jinja's own, with a limit."""
    from jinja2.filters import do_indent

    if isinstance(width, int) and width > 100:
        raise load_jinja().exceptions.SecurityError(f"indents by {width}, more than 100")
    return str(do_indent(text, width, first, blank))


def _limited_range(*bounds: int) -> range:
    values = range(*bounds)
    if len(values) > _MAX_RANGE:
        raise load_jinja().exceptions.SecurityError(f"a range of {len(values)}, more than {_MAX_RANGE}")
    return values


def _refuse(message: object) -> None:
    raise load_jinja().TemplateError(str(message))

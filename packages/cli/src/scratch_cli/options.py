"""The options of a part as rows: for `scratch describe`, and for the tables in the packages' READMEs.

`python -m scratch_cli.options --write README.md...` fills the tables between the markers, `--check` fails if one is
out of date. A README belongs to the distribution of the `pyproject.toml` beside it; the host's own shows the section
`run`.
"""

from __future__ import annotations

import dataclasses
import shlex
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scratch_cli import config as configs
from scratch_cli.errors import PluginError, UsageError
from scratch_cli.plan import RunConfig
from scratch_cli.registry import Part, Registry, discover, normalized

START, END = "<!-- options:start -->", "<!-- options:end -->"
HOST = "scratch-cli"


@dataclass(frozen=True, kw_only=True)
class Option:
    """One field of a part's config."""

    name: str
    type: str
    """In words: "a whole number or none"."""
    default: Any
    """As TOML can hold it; `none` for None."""
    help: str
    paste: str
    """A `--set` argument, quoted for a shell, that sets the field to its default."""


def options_of(config_cls: type[Any], section: str) -> list[Option]:
    """The options of a config class, in the order of its fields. Raises PluginError if it has no usable default."""
    types = configs.field_types(config_cls)
    try:
        defaults = configs.to_values(config_cls())
    except (TypeError, ValueError) as error:
        raise PluginError(f"{config_cls.__module__}.{config_cls.__qualname__} has no default: {error}") from error
    return [
        Option(
            name=field.name,
            type=configs.type_text(types[field.name]),
            default=defaults[field.name],
            help=str(field.metadata.get("help", "")),
            paste=f"--set {shlex.quote(set_text(section, field.name, defaults[field.name]))}",
        )
        for field in dataclasses.fields(config_cls)
        if field.init
    ]


def set_text(section: str, field: str, value: Any) -> str:
    """`section.field=value` such that `parse_set` reads the same value back."""
    return f"{section}.{field}={_inline(value, top=True)}"


def _inline(value: Any, *, top: bool = False) -> str:
    """A value as one line of TOML; text stands without quotes where that reads the same."""
    if isinstance(value, str):
        if top and value == value.strip() and configs.parse_value(value) == value:
            return value
        return _quoted(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_quoted(key)} = {_inline(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_inline(item) for item in value) + "]"
    return repr(value)


def _quoted(text: str) -> str:
    escapes = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return (
        '"' + "".join(escapes.get(c) or (f"\\u{ord(c):04x}" if ord(c) < 32 or ord(c) == 127 else c) for c in text) + '"'
    )


# --- tables --------------------------------------------------------------------------------------------------------


def table(title: str, options: Sequence[Option], section: str) -> str:
    """A Markdown heading and table."""
    if not options:
        return f"**{title}** has no options."
    lines = [f"**{title}**", "", "| option | type | default | what it does |", "|---|---|---|---|"]
    for option in options:
        default = set_text(section, option.name, option.default).partition("=")[2] or '""'
        cells = (f"`{section}.{option.name}`", option.type, f"`{default}`", option.help)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def tables_of(distribution: str, registry: Registry) -> str:
    """What stands between the markers of a distribution's README."""
    if normalized(distribution) == HOST:
        return table("run", options_of(RunConfig, "run"), "run")
    parts: tuple[Part, ...] = registry.restricted(distribution).parts()
    return "\n\n".join(
        table(f"{part.kind} {part.name}", options_of(part.load_config(), part.kind), part.kind) for part in parts
    )


def filled(readme: Path, registry: Registry) -> tuple[str, str]:
    """The README's text as it is, and as it should be. Raises UsageError without exactly one pair of markers."""
    project = readme.resolve().parent / "pyproject.toml"
    try:
        distribution = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["name"]
        text = readme.read_text(encoding="utf-8")
    except (OSError, KeyError, ValueError) as error:
        raise UsageError(f"{readme}: needs to be a README beside a pyproject.toml with a name: {error}") from error
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end or START in rest or END in after:
        raise UsageError(f"{readme}: must have one line {START!r} and, after it, one line {END!r}")
    return text, f"{before}{START}\n\n{tables_of(distribution, registry)}\n\n{END}{after}"


def main(args: Sequence[str] | None = None) -> int:
    """`python -m scratch_cli.options (--check | --write) README...`: 0 if all are up to date (now), else 1 or 2."""
    mode, *names = list(sys.argv[1:] if args is None else args) or [""]
    if mode not in ("--check", "--write") or not names:
        print("usage: python -m scratch_cli.options (--check | --write) README...", file=sys.stderr)
        return 2
    registry = discover()
    code = 0
    for readme in map(Path, names):
        try:
            text, wanted = filled(readme, registry)
        except (UsageError, PluginError) as error:
            print(f"error: {error}", file=sys.stderr)
            code = 2
            continue
        if text == wanted:
            continue
        if mode == "--write":
            readme.write_text(wanted, encoding="utf-8")
            print(f"{readme}: written", file=sys.stderr)
        else:
            print(
                f"{readme}: options are out of date; run: python -m scratch_cli.options --write {readme}",
                file=sys.stderr,
            )
            code = max(code, 1)
    return code


if __name__ == "__main__":
    sys.exit(main())

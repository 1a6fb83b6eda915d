r"""Patterns of HF tokenizers, whose engine is Oniguruma with Ruby's syntax, said in the words of `regex`.

| in Oniguruma | here |
|---|---|
| `^` and `$` are the ends of lines | the flag for it (`custom_patterns.compile_pattern(multiline=True)`) |
| `X{n,m}+` is a repeat of a repeat | `(?:X{n,m})+` |
| `\Z` is before a last line break too, `\z` the end | `(?=\n?\Z)`, `\Z` |
| `\h` is a hexadecimal digit, `\H` none | `[0-9A-Fa-f]`, `[^0-9A-Fa-f]` |
| `\w` has ²³¹¼½¾, and no joiners | `[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}²³¹¼½¾]` |
| `[[:alnum:]]` has digits, `[[:punct:]]` symbols | `[\p{Alphabetic}\p{Nd}]`, `[\p{P}\p{S}]` |
| `[a[bc]]`, `[a&&b]`: classes in classes | refused, as nothing published uses them |
"""

from __future__ import annotations

import re

_ESCAPE = re.compile(r"\\(?:[pP]\{[^}]*\}|x\{[^}]*\}|u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{1,2}|[gk]<[^>]*>|[\s\S])")
_COUNT = re.compile(r"\{(?:[0-9]+,?[0-9]*|,[0-9]+)\}")
_GROUP = re.compile(r"\(\?(?:[imxs-]*:|[=!>]|<[=!]|<\w+>|#)|\(")
_WORD = r"\p{Alphabetic}\p{M}\p{Nd}\p{Pc}²³¹¼½¾"
_OTHER_WORDS = {
    r"\Z": r"(?=\n?\Z)",
    r"\z": r"\Z",
    r"\h": "[0-9A-Fa-f]",
    r"\H": "[^0-9A-Fa-f]",
    r"\w": f"[{_WORD}]",
    r"\W": f"[^{_WORD}]",
}
_IN_CLASSES = {r"\w": _WORD, r"\h": "0-9A-Fa-f", "[:alnum:]": r"\p{Alphabetic}\p{Nd}", "[:punct:]": r"\p{P}\p{S}"}


def to_regex(pattern: str) -> str:
    """The pattern in the syntax of `regex`. Raises ValueError for what has no counterpart here."""
    out: list[str] = []
    groups: list[int] = []  # places in `out` where groups began that are still open
    atom = 0  # the place in `out` where the last atom began, which a quantifier repeats
    i = 0
    while i < len(pattern):
        if found := _ESCAPE.match(pattern, i):
            if found[0].startswith((r"\g", r"\G", r"\K", r"\X", r"\R")):
                raise ValueError(f"{found[0]!r} in a pattern is not supported")
            atom = len(out)
            escape = re.sub(r"\\x\{([0-9A-Fa-f]{1,8})\}", lambda m: rf"\U{int(m[1], 16):08x}", found[0])
            out.append(_OTHER_WORDS.get(escape, escape))
        elif pattern[i] == "[":
            atom = len(out)
            text, end = _character_class(pattern, i)
            out.append(text)
            i = end
            continue
        elif found := _GROUP.match(pattern, i):
            groups.append(len(out))
            out.append(found[0])
        elif found := _COUNT.match(pattern, i):
            out.append(found[0])
            if pattern[i + len(found[0]) : i + len(found[0]) + 1] == "+":
                out.insert(atom, "(?:")
                out.append(")")
                groups = [place + (place > atom) for place in groups]
        elif pattern[i] == ")":
            atom = groups.pop() if groups else 0
            out.append(")")
        else:
            if pattern[i] not in "?*+":
                atom = len(out)
            out.append(pattern[i])
        i += len(found[0]) if found else 1
    return "".join(out)


def _character_class(pattern: str, start: int) -> tuple[str, int]:
    """The class that begins at `start`, and where it ends."""
    i = start + 1
    out = ["["]
    while i < len(pattern):
        if found := _ESCAPE.match(pattern, i):
            escape = found[0]
            if escape in (r"\W", r"\H"):
                raise ValueError(f"{escape!r} in a class is not supported")
            escape = re.sub(r"\\x\{([0-9A-Fa-f]{1,8})\}", lambda m: rf"\U{int(m[1], 16):08x}", escape)
            out.append(_IN_CLASSES.get(escape, escape))
            i += len(found[0])
        elif pattern.startswith("[:", i) and (end := pattern.find(":]", i)) > 0:
            out.append(_IN_CLASSES.get(pattern[i : end + 2], pattern[i : end + 2]))
            i = end + 2
        elif pattern[i] == "[" or pattern.startswith("&&", i):
            raise ValueError("a class within a class is not supported")
        elif pattern[i] == "]" and i > start + 1 and out[-1] != "[" and out != ["[", "^"]:
            return "".join((*out, "]")), i + 1
        else:
            out.append(pattern[i])
            i += 1
    raise ValueError(f"the class that begins at {start} has no end")

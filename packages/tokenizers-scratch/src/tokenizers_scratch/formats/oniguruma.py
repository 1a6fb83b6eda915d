r"""Patterns of HF tokenizers, whose engine is Oniguruma with Ruby's syntax, said in the words of `regex`.

| in Oniguruma | here |
|---|---|
| `^` and `$` are the ends of lines | the flag for it (`custom_patterns.compile_pattern(multiline=True)`) |
| `X{n,m}+` is a repeat of a repeat | `(?:X{n,m})+` |
| `\Z` is before a last line break too, `\z` the end | `(?=\n?\Z)`, `\Z` |
| `\h` is a hexadecimal digit, `\H` none | `[0-9A-Fa-f]`, `[^0-9A-Fa-f]` |
| `\w` has ²³¹¼½¾, and no joiners | `[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}²³¹¼½¾]`, without ²³¹¼½¾ within a class |
| `[[:alnum:]]` has digits, `[[:punct:]]` symbols | `[\p{Alphabetic}\p{Nd}]`, `[\p{P}\p{S}]` |
| `[a[bc]]`, `[a&&b]`: classes in classes | `(?:[a]|[bc])`, `(?:(?=[b])[a])`; with `^`, `(?:(?!...)[\s\S])` |
"""

from __future__ import annotations

import re

_ESCAPE = re.compile(r"\\(?:[pP]\{[^}]*\}|x\{[^}]*\}|u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{1,2}|[gk]<[^>]*>|[\s\S])")
_COUNT = re.compile(r"\{(?:[0-9]+,?[0-9]*|,[0-9]+)\}")
_GROUP = re.compile(r"\(\?(?:[imxs-]*:|[=!>]|<[=!]|<\w+>|#)|\(")
MAX_DEPTH = 8
_IN_WORDS = r"\p{Alphabetic}\p{M}\p{Nd}\p{Pc}"
_WORD = _IN_WORDS + "²³¹¼½¾"  # but not within a class
_OTHER_WORDS = {
    r"\Z": r"(?=\n?\Z)",
    r"\z": r"\Z",
    r"\h": "[0-9A-Fa-f]",
    r"\H": "[^0-9A-Fa-f]",
    r"\w": f"[{_WORD}]",
    r"\W": f"[^{_WORD}]",
}
_IN_CLASSES = {r"\w": _IN_WORDS, r"\h": "0-9A-Fa-f", "[:alnum:]": r"\p{Alphabetic}\p{Nd}", "[:punct:]": r"\p{P}\p{S}"}


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


def _character_class(pattern: str, start: int, depth: int = 0) -> tuple[str, int]:
    """What the class that begins at `start` is here, one character in any case, and where it ends."""
    if depth > MAX_DEPTH:
        raise ValueError(f"classes stand in classes more than {MAX_DEPTH} deep")
    i = start + 1
    negated = pattern.startswith("^", i)
    i += negated
    parts: list[list[str]] = [[]]  # what stands between two `&&`: classes of which one must fit
    flat: list[str] = []
    first = True
    while i < len(pattern):
        if found := _ESCAPE.match(pattern, i):
            if found[0] in (r"\W", r"\H"):
                parts[-1].append(f"[^{_IN_CLASSES[found[0].lower()]}]")
            else:
                escape = re.sub(r"\\x\{([0-9A-Fa-f]{1,8})\}", lambda m: rf"\U{int(m[1], 16):08x}", found[0])
                flat.append(_IN_CLASSES.get(escape, escape))
            i += len(found[0])
        elif pattern.startswith("[:", i) and (end := pattern.find(":]", i)) > 0:
            flat.append(_IN_CLASSES.get(pattern[i : end + 2], pattern[i : end + 2]))
            i = end + 2
        elif pattern[i] == "[":
            inner, i = _character_class(pattern, i, depth + 1)
            parts[-1].append(inner)
        elif pattern.startswith("&&", i):
            parts[-1] += _as_class(flat)
            parts.append([])
            flat = []
            i += 2
        elif pattern[i] == "]" and not first:
            parts[-1] += _as_class(flat)
            return _joined(parts, negated), i + 1
        else:
            flat.append(pattern[i])
            i += 1
        first = False
    raise ValueError(f"the class that begins at {start} has no end")


def _as_class(flat: list[str]) -> list[str]:
    return ["[" + "".join(flat) + "]"] if flat else []


def _joined(parts: list[list[str]], negated: bool) -> str:
    """One of the classes of each part fits the character, or not."""
    if len(parts) == 1 and len(parts[0]) == 1 and parts[0][0][0] == "[" and (not negated or parts[0][0][1] != "^"):
        return f"[^{parts[0][0][1:]}" if negated else parts[0][0]
    if not all(parts):
        raise ValueError("there is nothing on one side of '&&' in a class")
    each = ["(?:" + "|".join(part) + ")" if len(part) > 1 else part[0] for part in parts]
    both = "".join(f"(?={other})" for other in each[1:]) + each[0]
    return rf"(?:(?!{both})[\s\S])" if negated else f"(?:{both})"

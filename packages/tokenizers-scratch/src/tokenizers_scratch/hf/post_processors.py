"""Post-processors: the special tokens that a model wants around the ids of a text or two, and which text is which."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tokenizers_scratch.hf.component import Component

Row = tuple[list[int], list[int]]
"""Ids, and for each its type: which text it belongs to, as models for two texts want to know."""

PostProcessor = Callable[[list[Row]], list[Row]]
"""From one text or two to as many rows as it makes, which are joined in the end."""

_Piece = tuple[list[int] | int, int]
"""Ids to put in, or which text goes there, with their type."""


def build_post_processor(spec: Component) -> PostProcessor:
    """The post-processor that the file describes. Raises TokenizerFileError."""
    match spec.type:
        case "Sequence":
            return partial(_in_turn, spec.sequence("processors", build_post_processor))
        case "ByteLevel":  # changes offsets alone
            return list
        case "BertProcessing":
            return partial(_bert, _named_id(spec, "cls"), _named_id(spec, "sep"))
        case "RobertaProcessing":
            return partial(_roberta, _named_id(spec, "cls"), _named_id(spec, "sep"))
        case "TemplateProcessing":
            templates = [_template(spec, name, n) for n, name in enumerate(("single", "pair"), 1)]
            return partial(_fill, spec, templates)
        case other:
            raise spec.unsupported(f"the post-processor {other!r}")


def joined(rows: list[Row]) -> Row:
    """All rows as one."""
    return [i for ids, _ in rows for i in ids], [kind for _, kinds in rows for kind in kinds]


def trimming(spec: Component | None) -> bool | None:
    """Whether white space goes from the ends of offsets: None if not, else whether the first space was put there."""
    if spec is None:
        return None
    if spec.type == "Sequence":
        found = [trimming(child) for child in spec.children("processors")]
        return next((add for add in found if add is not None), None)
    if spec.type in ("ByteLevel", "RobertaProcessing") and spec.flag("trim_offsets", True):
        return spec.flag("add_prefix_space", True)
    return None


def _in_turn(steps: list[PostProcessor], rows: list[Row]) -> list[Row]:
    for step in steps:
        rows = step(rows)
    return rows


def _bert(before: int, after: int, rows: list[Row]) -> list[Row]:
    """CLS, the text, SEP; then the second text, SEP."""
    done: list[Row] = []
    for n, (ids, _) in enumerate(rows):
        row = [*([] if n else [before]), *ids, after]
        done.append((row, [n] * len(row)))
    return done


def _roberta(before: int, after: int, rows: list[Row]) -> list[Row]:
    """As BERT, but two SEPs between the texts, and no types."""
    done = [[before if n == 0 else after, *ids, after] for n, (ids, _) in enumerate(rows)]
    return [(ids, [0] * len(ids)) for ids in done]


def _named_id(spec: Component, key: str) -> int:
    pair = spec.items(key)
    if len(pair) != 2 or type(pair[1]) is not int or pair[1] < 0:
        raise spec.error(f"must have a token and its id as {key!r}")
    return int(pair[1])


def _template(spec: Component, key: str, texts: int) -> list[_Piece]:
    """What a template for so many texts puts together."""
    ids_of: dict[str, list[int]] = {}
    tokens = spec.child("special_tokens")
    for name, entry in tokens.content.items() if tokens is not None else ():
        found = Component(spec.path, f"{spec.place}.special_tokens.{name}", entry)
        ids_of[name] = found.items("ids")
        if not all(type(i) is int and i >= 0 for i in ids_of[name]):
            raise found.error("must have 'ids' that are ids")
    template: list[_Piece] = []
    for piece in spec.children(key) if key == "single" or key in spec.content else ():
        token, text = piece.child("SpecialToken"), piece.child("Sequence")
        if token is not None:
            if (name := token.text("id")) not in ids_of:
                raise piece.error(f"has the token {name!r}, which 'special_tokens' lacks")
            template.append((ids_of[name], token.count("type_id", 0)))
        elif text is None or text.content.get("id") not in ("A", "B")[:texts]:
            raise piece.error("is neither a special token nor a text that there is")
        else:
            template.append(("AB".index(text.text("id")), text.count("type_id", 0)))
    return template or [(n, n) for n in range(texts)]


def _fill(spec: Component, templates: list[list[_Piece]], rows: list[Row]) -> list[Row]:
    if len(rows) > len(templates):
        raise spec.error(f"comes after a step that makes {len(rows)} parts, which no template is for")
    filled: list[Row] = []
    for part, kind in templates[len(rows) - 1]:
        ids = rows[part][0] if isinstance(part, int) else part
        filled.append((list(ids), [kind] * len(ids)))
    return filled

"""Post-processors: the special tokens that a model wants around the ids of a text."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from tokenizers_scratch.hf.component import Component

PostProcessor = Callable[[list[int]], list[int]]


def build_post_processor(spec: Component) -> PostProcessor:
    """The post-processor that the file describes, for one text. Raises TokenizerFileError."""
    match spec.type:
        case "Sequence":
            return partial(_in_turn, spec.sequence("processors", build_post_processor))
        case "ByteLevel":  # changes offsets alone
            return list
        case "BertProcessing" | "RobertaProcessing":
            before, after = _named_id(spec, "cls"), _named_id(spec, "sep")
            return lambda ids: [before, *ids, after]
        case "TemplateProcessing":
            return partial(_fill, _template(spec))
        case other:
            raise spec.unsupported(f"the post-processor {other!r}")


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


def _in_turn(steps: list[PostProcessor], ids: list[int]) -> list[int]:
    for step in steps:
        ids = step(ids)
    return ids


def _named_id(spec: Component, key: str) -> int:
    pair = spec.items(key)
    if len(pair) != 2 or type(pair[1]) is not int or pair[1] < 0:
        raise spec.error(f"must have a token and its id as {key!r}")
    return int(pair[1])


def _template(spec: Component) -> list[list[int] | None]:
    """Ids to put in; None is where those of the text go."""
    ids_of: dict[str, list[int]] = {}
    tokens = spec.child("special_tokens")
    for name, entry in tokens.content.items() if tokens is not None else ():
        found = Component(spec.path, f"{spec.place}.special_tokens.{name}", entry)
        ids_of[name] = found.items("ids")
        if not all(type(i) is int and i >= 0 for i in ids_of[name]):
            raise found.error("must have 'ids' that are ids")
    template: list[list[int] | None] = []
    for piece in spec.children("single"):
        token = piece.child("SpecialToken")
        if token is None:
            template.append(None)
        elif (name := token.text("id")) in ids_of:
            template.append(ids_of[name])
        else:
            raise piece.error(f"has the token {name!r}, which 'special_tokens' lacks")
    return template


def _fill(template: list[list[int] | None], ids: list[int]) -> list[int]:
    return [i for part in template for i in (ids if part is None else part)]

r"""Pre-tokenizers: cut a text into words, of which each is a text of its own for the model.

Classes of characters follow the installed `regex` (`\w`, `\p{...}`) and `unicodedata`. HF's table of scripts is that of
about Unicode 10: what was assigned later is of any script there (`UnicodeScripts`), and has its own here.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from itertools import pairwise
from typing import Any, Literal, get_args

import regex

from tokenizers_scratch.bert import is_bert_punctuation
from tokenizers_scratch.byte_alphabet import to_stand_ins
from tokenizers_scratch.custom_patterns import find_spans
from tokenizers_scratch.hf.aligned import Aligned
from tokenizers_scratch.hf.component import Component
from tokenizers_scratch.hf.normalizers import WHITE_SPACE
from tokenizers_scratch.patterns import PATTERNS
from tokenizers_scratch.scripts import ANY, MARKER, script_of
from tokenizers_scratch.utf8 import text_to_bytes

PreTokenizer = Callable[[list[Aligned]], list[Aligned]]
Behavior = Literal["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]
PrependScheme = Literal["always", "first", "never"]

_Cuts = Iterable[tuple[int, int, bool]]
"""A text in parts: start, end, and whether it is what was looked for."""

COMMON = script_of("_")
_WORDS = regex.compile(r"\w+|[^\w\s]+")


def build_pre_tokenizer(spec: Component) -> PreTokenizer:
    """The pre-tokenizer that the file describes. Raises TokenizerFileError."""
    match spec.type:
        case "Sequence":
            return partial(_in_turn, spec.sequence("pretokenizers", build_pre_tokenizer))
        case "ByteLevel":
            return partial(_byte_level, spec.flag("add_prefix_space", True), spec.flag("use_regex", True))
        case "Whitespace":
            return _each(lambda text: split(_invert(cut_by_pattern(_WORDS, text)), "Removed"))
        case "WhitespaceSplit":
            return _each(lambda text: split(cut_by_character(_is_white, text), "Removed"))
        case "BertPreTokenizer":
            white = _each(lambda text: split(cut_by_character(_is_white, text), "Removed"))
            marks = _each(lambda text: split(cut_by_character(is_bert_punctuation, text), "Isolated"))
            return partial(_in_turn, [white, marks])
        case "Punctuation":
            behavior = read_behavior(spec, "Isolated")
            return _each(lambda text: split(cut_by_character(is_bert_punctuation, text), behavior))
        case "Digits":
            digits: Behavior = "Isolated" if spec.flag("individual_digits", False) else "Contiguous"
            return _each(lambda text: split(cut_by_character(_is_number, text), digits))
        case "CharDelimiterSplit":
            delimiter = read_character(spec, "delimiter")
            return _each(lambda text: split(cut_by_character(delimiter.__eq__, text), "Removed"))
        case "Split":
            return _split_by_pattern(spec)
        case "FixedLength":
            length = spec.count("length", 5)
            if not length:
                raise spec.error("must have a 'length' above 0")
            return _each(lambda text: ((i, min(i + length, len(text))) for i in range(0, len(text), length)))
        case "UnicodeScripts":
            return _each(_runs_of_one_script)
        case "Metaspace":
            return partial(
                _metaspace,
                read_character(spec, "replacement", "▁"),
                read_prepend_scheme(spec),
                spec.flag("split", True),
            )
        case other:
            raise spec.unsupported(f"the pre-tokenizer {other!r}")


def read_character(spec: Component, key: str, default: str | None = None) -> str:
    """A text of one character."""
    character = spec.text(key, default)
    if len(character) != 1:
        raise spec.error(f"must have one character as {key!r}")
    return character


def read_behavior(spec: Component, default: str | None = None) -> Behavior:
    """What becomes of the parts found."""
    behavior = spec.text("behavior", default)
    for known in get_args(Behavior):
        if behavior == known:
            return known  # type: ignore[no-any-return]
    raise spec.unsupported(f"the behavior {behavior!r}")


def read_prepend_scheme(spec: Component) -> PrependScheme:
    """Whether Metaspace puts its mark in front; older files say so in `add_prefix_space`."""
    scheme = spec.text("prepend_scheme", "always")
    if "prepend_scheme" not in spec.content and not spec.flag("add_prefix_space", True):
        return "never"
    for known in get_args(PrependScheme):
        if scheme == known:
            return known  # type: ignore[no-any-return]
    raise spec.unsupported(f"the prepend scheme {scheme!r}")


def split(cuts: _Cuts, behavior: Behavior) -> Iterator[tuple[int, int]]:
    """The words, from parts that were looked for and parts between them."""
    match behavior:
        case "Isolated":
            return ((start, end) for start, end, _ in cuts)
        case "Removed":
            return ((start, end) for start, end, found in cuts if not found)
        case "Contiguous":
            return _joined(cuts, lambda before, found: before == found)
        case "MergedWithPrevious":
            return _joined(cuts, lambda before, found: found and not before)
        case "MergedWithNext":
            backwards = [(-end, -start, found) for start, end, found in reversed(list(cuts))]
            words = list(_joined(backwards, lambda before, found: found and not before))
            return ((-end, -start) for start, end in reversed(words))


def _joined(cuts: _Cuts, joins: Callable[[bool, bool], bool]) -> Iterator[tuple[int, int]]:
    """Words, where a part goes on the one before it if `joins` says so of what was found there and here."""
    word: tuple[int, int] | None = None
    before = False
    for start, end, found in cuts:
        if word is not None and joins(before, found):
            word = word[0], end
        else:
            if word is not None:
                yield word
            word = start, end
        before = found
    if word is not None:
        yield word


def cut_by_pattern(pattern: Any, text: str) -> Iterator[tuple[int, int, bool]]:
    """Matches, and what lies between them."""
    done = 0
    for start, end in find_spans(pattern, text):
        if start > done:
            yield done, start, False
        yield start, end, True
        done = end
    if done < len(text):
        yield done, len(text), False


def cut_by_character(wanted: Callable[[str], bool], text: str) -> Iterator[tuple[int, int, bool]]:
    """Each wanted character, and what lies between them."""
    done = 0
    for i, character in enumerate(text):
        if wanted(character):
            if i > done:
                yield done, i, False
            yield i, i + 1, True
            done = i + 1
    if done < len(text):
        yield done, len(text), False


def _invert(cuts: _Cuts) -> _Cuts:
    return ((start, end, not found) for start, end, found in cuts)


def _each(words: Callable[[str], Iterable[tuple[int, int]]]) -> PreTokenizer:
    return lambda texts: [text.slice(start, end) for text in texts for start, end in words(text.text) if end > start]


def _in_turn(steps: list[PreTokenizer], texts: list[Aligned]) -> list[Aligned]:
    for step in steps:
        texts = step(texts)
    return texts


def _split_by_pattern(spec: Component) -> PreTokenizer:
    pattern, behavior, inverted = spec.pattern(), read_behavior(spec), spec.flag("invert", False)

    def words(text: str) -> Iterator[tuple[int, int]]:
        cuts: _Cuts = cut_by_pattern(pattern, text)
        return split(_invert(cuts) if inverted else cuts, behavior)

    return _each(words)


def _byte_level(add_prefix_space: bool, use_regex: bool, texts: list[Aligned]) -> list[Aligned]:
    """Every byte as its stand-in; with `use_regex`, cut as GPT-2 does before."""
    words: list[Aligned] = []
    for text in texts:
        if add_prefix_space and not text.text.startswith(" "):
            text = text.prepended(" ")
        ends = [0]
        for word in PATTERNS["gpt2"].split(text.text) if use_regex else [text.text]:
            ends.append(ends[-1] + len(word))
        words.extend(_spelled(text.slice(start, end)) for start, end in pairwise(ends))
    return words


def _spelled(word: Aligned) -> Aligned:
    if word.text.isascii():
        return word.replaced(to_stand_ins(word.text.encode("ascii")))
    return word.edited((_stand_ins(character), 1) for character in word.text)


@cache
def _stand_ins(character: str) -> str:
    return to_stand_ins(text_to_bytes(character))


def _metaspace(replacement: str, scheme: PrependScheme, cut: bool, texts: list[Aligned]) -> list[Aligned]:
    words: list[Aligned] = []
    for text in texts:
        text = text.replaced(text.text.replace(" ", replacement))
        at_the_start = not text.starts or text.starts[0] == 0
        if (scheme == "always" or (scheme == "first" and at_the_start)) and not text.text.startswith(replacement):
            text = text.prepended(replacement)
        if cut:
            found = split(cut_by_character(replacement.__eq__, text.text), "MergedWithNext")
            words.extend(text.slice(start, end) for start, end in found)
        else:
            words.append(text)
    return words


def _runs_of_one_script(text: str) -> Iterator[tuple[int, int]]:
    """Cut where the script changes. A space is of any script; before the first other character it is lost, as in HF."""
    start: int | None = None
    before = ANY
    for i, character in enumerate(text):
        script = _script_of(character)
        if script not in (ANY, before):
            if start is not None:
                yield start, i
            start, before = i, script
    if start is not None:
        yield start, len(text)


@cache
def _script_of(character: str) -> int:
    """A number for the script of a character; ANY for a space, and for what is not assigned."""
    if character == " " or unicodedata.category(character) in ("Cn", "Co", "Cs"):
        return ANY
    return COMMON if character == MARKER else script_of(character)


def _is_white(character: str) -> bool:
    return character in WHITE_SPACE


@cache
def _is_number(character: str) -> bool:
    return (character.isascii() and character.isdigit()) or regex.match(r"\p{N}", character) is not None

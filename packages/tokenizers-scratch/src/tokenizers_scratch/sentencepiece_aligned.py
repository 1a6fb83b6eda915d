"""`SentencePieceText.normalize` with the places that characters came from, for offsets."""

from __future__ import annotations

from functools import partial
from itertools import groupby

from tokenizers_scratch.hf.aligned import Aligned
from tokenizers_scratch.hf.normalizers import each_character, unicode_form
from tokenizers_scratch.scripts import MARKER
from tokenizers_scratch.sentencepiece_text import SentencePieceText, has_own_rule


def normalize_aligned(rules: SentencePieceText, text: str, *, started: bool = False) -> Aligned:
    """`rules.normalize(text, started=started)`; what is put in has the place of what it stands before."""
    found = Aligned.of(text)
    if rules.compiled is not None:
        after_space = not started if rules.remove_extra_whitespaces else None
        found = rules.compiled.aligned(text, after_space=after_space)
    elif rules.normalization == "nfkc":
        found = unicode_form("NFKC", found)
    elif rules.normalization == "nmt_nfkc":
        found = _nmt_nfkc(rules, found)
    if rules.remove_extra_whitespaces:
        end = len(found.text.rstrip(" " + MARKER))
        start = 0 if started else end - len(found.text[:end].lstrip(" "))
        found = found.slice(start, end)
        if rules.compiled is None:
            found = _collapsed(found)
    if rules.add_dummy_prefix and not started:
        if found.text:
            found = found.prepended(" ")
        elif text and not rules.remove_extra_whitespaces:
            found = Aligned(" ", [0], [len(text)])  # all that is left of the text
    return found.replaced(found.text.replace(" ", MARKER))


def _collapsed(text: Aligned) -> Aligned:
    """Of neighbouring spaces the first."""
    kept = [i for i, c in enumerate(text.text) if c != " " or text.text[i - 1 : i] != " "]
    if len(kept) == len(text.text):
        return text
    return Aligned("".join(text.text[i] for i in kept), [text.starts[i] for i in kept], [text.ends[i] for i in kept])


def _nmt_nfkc(rules: SentencePieceText, text: Aligned) -> Aligned:
    parts: list[Aligned] = []
    start = 0
    for own, run in groupby(text.text, has_own_rule):
        part = text.slice(start, start + len(list(run)))
        start += len(part.text)
        change = partial(each_character, rules.spaced) if own else partial(unicode_form, "NFKC")
        parts.append(change(part))
    return Aligned(
        "".join(part.text for part in parts),
        [place for part in parts for place in part.starts],
        [place for part in parts for place in part.ends],
    )

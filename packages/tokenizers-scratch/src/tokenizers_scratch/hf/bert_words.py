"""BERT's words with the places that their characters came from."""

from __future__ import annotations

from tokenizers_scratch.bert import BertText, is_bert_punctuation
from tokenizers_scratch.hf.aligned import Aligned
from tokenizers_scratch.hf.normalizers import WHITE_SPACE, normalize_for_bert


def split_aligned_for_bert(rules: BertText, text: str) -> list[Aligned]:
    """`rules.split`, with places: cut at white space, each punctuation character a word."""
    normal = normalize_for_bert(rules, Aligned.of(text))
    words: list[Aligned] = []
    start = 0
    for i, character in enumerate(normal.text):
        mark = is_bert_punctuation(character)
        if mark or character in WHITE_SPACE:
            if i > start:
                words.append(normal.slice(start, i))
            if mark:
                words.append(normal.slice(i, i + 1))
            start = i + 1
    if start < len(normal.text):
        words.append(normal.slice(start, len(normal.text)))
    return words

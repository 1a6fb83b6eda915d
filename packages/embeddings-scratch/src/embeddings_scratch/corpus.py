"""Texts as ids: cut into sentences, encoded by any tokenizer, kept as one flat row.

Windows must not cross the end of a sentence, so texts are cut before they are encoded. The cut is before the white
space that follows a sentence's end, so a byte-level BPE sees the same " The" there as in running text, and the pieces
of a text joined together are that text again. A single line break is no end: prose is often wrapped. "Mr. Smith" is cut
in two, which costs a few pairs.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from embeddings_scratch.protocols import Tokenizer

SENTENCE_END = re.compile(
    r"""(?<=[.!?…])(?=\s)           # He left. | She stayed.
      | (?<=[.!?…]["'”’)\]])(?=\s)  # "He left." | She stayed.
      | (?<=[。！？])(?![。！？」』）])     # scripts that put no space after a sentence
      | (?<=[。！？][」』）])
      | (?<=\S)(?=[^\S\n]*\n\s*\n)  # a blank line ends a heading or a verse that has no full stop
    """,
    re.VERBOSE,
)
LINE_END = re.compile(r"(?=\n)")
LONGEST_SENTENCE = 10_000
"""Longer ones are cut into pieces of this many ids, so that memory is bounded. Nothing is dropped."""
ENCODE_BATCH = 1024


@dataclass(frozen=True)
class Corpus:
    """Sentences of ids, end to end."""

    ids: Tensor
    """(N,), int32 to halve the memory."""
    lengths: Tensor
    """(S,), int64: ids in each sentence; they add up to N, and none is 0."""

    def counts(self, vocab_size: int) -> Tensor:
        """How often each id occurs: (V,), int64."""
        return torch.bincount(self.ids, minlength=vocab_size)

    def only(self, known: Tensor) -> Corpus:
        """The corpus without the ids that `known` (V,), bool, is false for. Later ids move up, so windows reach
        farther, as in the authors' C program."""
        keep = known[self.ids.long()]  # (N,)
        sentence = torch.repeat_interleave(torch.arange(len(self.lengths)), self.lengths)  # (N,)
        lengths = torch.bincount(sentence[keep], minlength=len(self.lengths))
        return Corpus(self.ids[keep], lengths[lengths > 0])


def split_sentences(text: str) -> list[str]:
    """The sentences of `text`, each with the white space before it. Joined together they are `text`."""
    return [piece for piece in SENTENCE_END.split(text) if piece]


def split_lines(text: str) -> list[str]:
    """The lines of `text`, each with the line break before it. Joined together they are `text`."""
    return [piece for piece in LINE_END.split(text) if piece]


CUTS: dict[str, Callable[[str], list[str]]] = {
    "sentence": split_sentences,
    "line": split_lines,
    "text": lambda text: [text],
}


def encode_corpus(texts: Iterable[str], tokenizer: Tokenizer, *, unit: str) -> Corpus:
    """Encode `texts`, each sentence, line or text (`unit`) on its own."""
    cut = CUTS[unit]
    pieces = (piece for text in texts for piece in cut(text))
    flat = array("i")
    lengths = array("q")
    for batch in _batches(pieces):
        for ids in tokenizer.encode_batch(batch):
            flat.extend(ids)
            lengths.extend(min(LONGEST_SENTENCE, len(ids) - i) for i in range(0, len(ids), LONGEST_SENTENCE))
    if not flat:
        return Corpus(torch.empty(0, dtype=torch.int32), torch.empty(0, dtype=torch.int64))
    return Corpus(torch.frombuffer(flat, dtype=torch.int32), torch.frombuffer(lengths, dtype=torch.int64))


def _batches(pieces: Iterable[str]) -> Iterator[list[str]]:
    remaining = iter(pieces)
    while batch := list(islice(remaining, ENCODE_BATCH)):
        yield batch

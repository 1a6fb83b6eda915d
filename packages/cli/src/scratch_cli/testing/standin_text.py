"""Stand-in tokenizer and task, without torch: partners for a package that is tested alone."""

from __future__ import annotations

import codecs
import itertools
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from scratch_cli.testing.standin_config import TinyTaskConfig, TinyTokenizerConfig


class TinyTokenizer:
    """Bytes after three special ids: lossless for all text."""

    pad_id, bos_id, eos_id, unk_id = 0, 1, 2, None
    vocab_size = 259
    SPECIAL = ("<pad>", "<bos>", "<eos>")

    @classmethod
    def train(cls, texts: Iterable[str], config: TinyTokenizerConfig, /) -> Self:
        return cls()

    @classmethod
    def load(cls, directory: Path, /) -> Self:
        if json.loads((directory / "tokenizer.json").read_text(encoding="utf-8")) != {"tokenizer": "tiny"}:
            raise ValueError(f"{directory}: holds no tiny tokenizer")
        return cls()

    def save(self, directory: Path, /) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "tokenizer.json").write_text(json.dumps({"tokenizer": "tiny"}), encoding="utf-8")

    def encode(self, text: str, /) -> list[int]:
        return [byte + 3 for byte in text.encode("utf-8")]

    def encode_batch(self, texts: Sequence[str], /) -> list[list[int]]:
        return [self.encode(text) for text in texts]

    def decode(self, ids: Iterable[int], /, *, skip_special: bool = True) -> str:
        pieces: list[bytes] = []
        for i in ids:
            if i >= 3:
                pieces.append(bytes([i - 3]))
            elif not skip_special:
                pieces.append(self.SPECIAL[i].encode())
        return b"".join(pieces).decode("utf-8", errors="replace")

    def decode_batch(self, rows: Iterable[Iterable[int]], /, *, skip_special: bool = True) -> list[str]:
        return [self.decode(row, skip_special=skip_special) for row in rows]

    def stream_decoder(self) -> TinyStream:
        return TinyStream()


class TinyStream:
    """Holds back the bytes of an unfinished character."""

    def __init__(self) -> None:
        self.decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, ids: Iterable[int], /) -> str:
        return self.decoder.decode(bytes(i - 3 for i in ids if i >= 3))

    def flush(self) -> str:
        return self.decoder.decode(b"", final=True)


@dataclass(frozen=True)
class TinyExample:
    prompt: str
    answer: str
    demonstration: str


@dataclass(frozen=True)
class TinyScore:
    reward: float
    correct: bool
    parts: Mapping[str, float]
    explanation: str


@dataclass(frozen=True)
class TinyPair:
    prompt: str
    chosen: str
    rejected: str


class TinyTask:
    """Write three letters backwards: `abc>` is answered by `cba`."""

    def __init__(self, config: TinyTaskConfig) -> None:
        self.config = config
        words = ["".join(letters) for letters in itertools.product(config.letters, repeat=3)]
        random.Random(config.seed).shuffle(words)
        cut = len(words) * 3 // 4
        self._words = {"train": words[:cut], "held_out": words[cut:]}

    def texts(self, split: str = "train", /) -> list[str]:
        return [f"{word}>{word[::-1]}\n" for word in self._words[split]]

    def examples(self, split: str, /) -> list[TinyExample]:
        return [TinyExample(f"{word}>", word[::-1], word[::-1]) for word in self._words[split]]

    def check(self, example: TinyExample, completion: str, /) -> TinyScore:
        correct = completion == example.answer
        shown = completion[:40]
        explanation = "" if correct else f"got {shown!r}, expected {example.answer!r}"
        # Even characters earn a little, so that an untrained model's rewards differ and reinforcement has a signal.
        even = sum(ord(c) % 2 == 0 for c in shown) / max(len(shown), 1)
        parts = {"exact": float(correct), "even": 0.1 * even}
        return TinyScore(sum(parts.values()), correct, parts, explanation)

    def pairs(self, split: str, /) -> list[TinyPair]:
        return [TinyPair(f"{word}>", word[::-1], word) for word in self._words[split] if word != word[::-1]]

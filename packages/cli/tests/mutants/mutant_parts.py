"""Configs, tokenizers and tasks that each break one rule. Needs no torch. The class's name says how."""

from __future__ import annotations

import json
import pickle
import random
from collections import Counter
from dataclasses import dataclass, field

from scratch_cli.testing.standin_text import TinyExample, TinyPair, TinyScore, TinyStream, TinyTask, TinyTokenizer

# --- configs


@dataclass(kw_only=True)
class ThawedConfig:
    n: int = 1


@dataclass(frozen=True)
class PositionalConfig:
    n: int = 1


@dataclass(frozen=True, kw_only=True)
class NamedConfig:
    name: str = "x"


class NoDataclass:
    pass


@dataclass(frozen=True, kw_only=True)
class RequiredConfig:
    n: int


@dataclass(frozen=True, kw_only=True)
class BadDefaultConfig:
    n: int = 0

    def __post_init__(self):
        raise ValueError("n: never good")


@dataclass(frozen=True, kw_only=True)
class UnequalConfig:
    n: object = field(default_factory=object)


@dataclass(frozen=True, kw_only=True)
class SilentConfig:
    n: int = 1


@dataclass(frozen=True, kw_only=True)
class BytesConfig:
    n: bytes = field(default=b"\xff", metadata={"help": "bytes"})


@dataclass(frozen=True, kw_only=True)
class InfiniteConfig:
    n: float = field(default=float("inf"), metadata={"help": "a limit"})


@dataclass(frozen=True, kw_only=True)
class TextForNoneConfig:
    m: int | None = field(default="none", metadata={"help": "text where None is meant"})  # type: ignore[assignment]


# --- tokenizers


class Strips(TinyTokenizer):
    def encode(self, text):
        return super().encode(text.strip())


class Normalizes(TinyTokenizer):
    def encode(self, text):
        import unicodedata

        return super().encode(unicodedata.normalize("NFC", text))


class ShrinksEachTime(TinyTokenizer):
    """Loses something again and again: not even what came back is kept."""

    def decode(self, ids, *, skip_special=True):
        return super().decode(ids, skip_special=skip_special)[:-1]


class LosesEverything(TinyTokenizer):
    def encode(self, text):
        return []


class AddsBos(TinyTokenizer):
    def encode(self, text):
        return [1, *super().encode(text)]


class SmallVocabulary(TinyTokenizer):
    vocab_size = 200


class EqualSpecials(TinyTokenizer):
    bos_id = 2


class NoEos(TinyTokenizer):
    eos_id = None


class StrictDecode(TinyTokenizer):
    def decode(self, ids, *, skip_special=True):
        return bytes(i - 3 for i in ids if i >= 3).decode("utf-8")


class BatchAddsBos(TinyTokenizer):
    def encode_batch(self, texts):
        return [[1, *self.encode(text)] for text in texts]


class BatchDecodesJoined(TinyTokenizer):
    def decode_batch(self, rows, *, skip_special=True):
        return [self.decode(row, skip_special=skip_special).replace("\r\n", "\n") for row in rows]


class LoadsAnother(TinyTokenizer):
    shift = 0

    def encode(self, text):
        return [3 + (i - 3 + self.shift) % 256 for i in super().encode(text)]

    def decode(self, ids, *, skip_special=True):
        return super().decode([i if i < 3 else 3 + (i - 3 - self.shift) % 256 for i in ids], skip_special=skip_special)

    @classmethod
    def load(cls, directory):
        loaded = cls()
        loaded.shift = 1
        return loaded


class Pickles(TinyTokenizer):
    def save(self, directory):
        super().save(directory)
        (directory / "state.dat").write_bytes(pickle.dumps({}, protocol=4))


class SavesNothing(TinyTokenizer):
    def save(self, directory):
        pass

    @classmethod
    def load(cls, directory):
        return cls()


class _Saves(TinyTokenizer):
    learned = ""

    def save(self, directory):
        (directory / "t.json").write_text(json.dumps(self.learned))

    @classmethod
    def load(cls, directory):
        made = cls()
        made.learned = json.loads((directory / "t.json").read_text())
        return made


class SetOrder(_Saves):
    """Learns in the order of a set, which differs from interpreter to interpreter."""

    @classmethod
    def train(cls, texts, config):
        made = cls()
        made.learned = "".join(set("".join(texts)))
        return made


class ReadsTwice(_Saves):
    """Goes through the texts twice, which an iterator does not survive."""

    @classmethod
    def train(cls, texts, config):
        made = cls()
        first = sum(len(text) for text in texts)
        made.learned = f"{first} {sum(len(text) for text in texts)}"
        return made


class Draws(_Saves):
    @classmethod
    def train(cls, texts, config):
        made = cls()
        made.learned = str(random.random())
        return made


class ReadsSpecials(TinyTokenizer):
    """What looks like a special token becomes one."""

    def encode(self, text):
        before, eos, after = text.partition("<eos>")
        return [*super().encode(before), *([2] if eos else []), *(self.encode(after) if eos else [])]


class LearnsSpecials(TinyTokenizer):
    """Only if the training text is full of them."""

    learned = False

    @classmethod
    def train(cls, texts, config):
        made = cls()
        made.learned = Counter("".join(texts).split("<")).most_common(1)[0][1] > 10
        return made

    def encode(self, text):
        return [2] if self.learned and text == "<eos>" else super().encode(text)


class ShowsSpecials(TinyTokenizer):
    def decode(self, ids, *, skip_special=True):
        return super().decode(ids, skip_special=False)


class _PieceByPiece(TinyStream):
    def push(self, ids):
        return TinyTokenizer().decode(ids)


class CutsCharacters(TinyTokenizer):
    def stream_decoder(self):
        return _PieceByPiece()


class _NoFlush(TinyStream):
    def flush(self):
        return ""


class ForgetsTheEnd(TinyTokenizer):
    def stream_decoder(self):
        return _NoFlush()


# --- tasks


class OneSplit(TinyTask):
    def texts(self, split="train"):
        return super().texts("train") if split in ("train", "held_out") else super().texts(split)


class EmptyHeldOut(TinyTask):
    def texts(self, split="train"):
        return [] if split == "held_out" else super().texts(split)


class OneShot(TinyTask):
    def __init__(self, config):
        super().__init__(config)
        self.left = {split: iter(super(OneShot, self).texts(split)) for split in ("train", "held_out")}

    def texts(self, split="train"):
        return self.left[split]


class Shuffles(TinyTask):
    def __init__(self, config):
        super().__init__(config)
        random.shuffle(self._words["train"])


class DefaultSplit(TinyTask):
    def texts(self, split="train"):
        return super().texts(split if split in self._words else "train")


class SamePrompts(TinyTask):
    def examples(self, split):
        return super().examples("train")


class RepeatsPrompts(TinyTask):
    def examples(self, split):
        return super().examples(split) * 2


class NoDemonstration(TinyTask):
    def examples(self, split):
        return [TinyExample(e.prompt, e.answer, None) for e in super().examples(split)]


class _Checker(TinyTask):
    def good(self, example, completion):
        return completion == example.answer

    def check(self, example, completion):
        correct = bool(self.good(example, completion))
        return TinyScore(float(correct), correct, {"exact": float(correct)}, "" if correct else "wrong")


class RejectsSome(_Checker):
    def good(self, example, completion):
        return completion == example.answer and "a" not in completion


class AcceptsAll(_Checker):
    def good(self, example, completion):
        return True


class AcceptsPrefixes(_Checker):
    def good(self, example, completion):
        return example.answer.startswith(completion) and completion


class AcceptsWhatStartsRight(_Checker):
    def good(self, example, completion):
        return completion.startswith(example.answer)


class AcceptsAnyOrder(_Checker):
    def good(self, example, completion):
        return sorted(completion) == sorted(example.answer)


class LooksAtTheEnds(_Checker):
    def good(self, example, completion):
        return completion[:1] == example.answer[:1] and completion[-1:] == example.answer[-1:]


class PaysTheSame(TinyTask):
    def check(self, example, completion):
        score = super().check(example, completion)
        return TinyScore(1.0, score.correct, score.parts, score.explanation)


class ExplainsNothing(TinyTask):
    def check(self, example, completion):
        score = super().check(example, completion)
        return TinyScore(score.reward, score.correct, score.parts, "")


class ExplainsTheRight(TinyTask):
    def check(self, example, completion):
        score = super().check(example, completion)
        return TinyScore(score.reward, score.correct, score.parts, "well done")


class PaysNaN(TinyTask):
    def check(self, example, completion):
        score = super().check(example, completion)
        return TinyScore(float("nan") if "inf" in completion else score.reward, score.correct, {}, score.explanation)


class Evaluates(_Checker):
    """Runs what the model writes."""

    def good(self, example, completion):
        return completion == example.answer or eval(completion, {"__builtins__": {}}, {c: c for c in "abcd"}) == 0  # noqa: S307


class Backtracks(_Checker):
    """Slow on long text. Bounded, so that the test's thread ends."""

    def good(self, example, completion):
        import time

        if len(completion) > 20_000:
            time.sleep(3)
        return completion == example.answer


class QuotesEverything(TinyTask):
    def check(self, example, completion):
        score = super().check(example, completion)
        return TinyScore(score.reward, score.correct, score.parts, "" if score.correct else f"got {completion!r}")


class EqualPairs(TinyTask):
    def pairs(self, split):
        return [TinyPair(p.prompt, p.chosen, p.chosen) for p in super().pairs(split)]


class SharedPairs(TinyTask):
    def pairs(self, split):
        return super().pairs("train")

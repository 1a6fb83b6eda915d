"""Parts made of numpy arrays: quick to import, quick to save, and exact to resume."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from scratch_fakes.config import ClimbConfig, LettersConfig, ShiftConfig, TableConfig, ToyConfig

HOSTILE = "<script>alert(1)</script>"


class BadData(ValueError):
    exit_code = 3


class Letters:
    """Ids are places in the sorted characters of the training text; the last id is EOS."""

    pad_id = bos_id = unk_id = None

    def __init__(self, letters: str) -> None:
        self.letters = letters
        self.eos_id = len(letters)
        self.vocab_size = len(letters) + 1

    @classmethod
    def train(cls, texts: Any, config: LettersConfig) -> Letters:
        text = "".join(texts)
        if config.sigterm and not Path("terminated").exists():
            Path("terminated").touch()
            signal.raise_signal(signal.SIGTERM)
        if not text:
            raise BadData("there is no letter in the text")
        return cls("".join(sorted(set(text.upper() if config.upper else text))))

    @classmethod
    def load(cls, directory: Path) -> Letters:
        return cls(json.loads((directory / "letters.json").read_text("utf-8")))

    def save(self, directory: Path) -> None:
        (directory / "letters.json").write_text(json.dumps(self.letters), "utf-8")

    def encode(self, text: str) -> list[int]:
        return [self.letters.index(c) for c in text if c in self.letters]

    def decode(self, ids: Any) -> str:
        return "".join(self.letters[i] for i in ids if i < len(self.letters))

    def stream_decoder(self) -> Any:
        return SimpleNamespace(push=self.decode, flush=lambda: "")


class Table:
    def __init__(self, config: TableConfig, *, vocab_size: int) -> None:
        self.width = config.width
        self.values = np.zeros((vocab_size, config.width), dtype=np.float32)

    def save(self, directory: Path) -> None:
        (directory / "table.json").write_text(json.dumps(self.values.tolist()))

    @classmethod
    def load(cls, directory: Path) -> Table:
        values = np.array(json.loads((directory / "table.json").read_text()), dtype=np.float32)
        table = cls(TableConfig(width=values.shape[1]), vocab_size=values.shape[0])
        table.values = values
        return table


class Shift:
    def __init__(self, config: ShiftConfig) -> None:
        self.shift = np.full(1, config.start)

    def wrap(self, model: Table) -> None:
        self.model = model

    def trainable_parameters(self) -> Mapping[str, Any]:
        return {"shift": self.shift}

    @contextlib.contextmanager
    def disabled(self) -> Iterator[None]:
        yield

    def save(self, directory: Path) -> None:
        (directory / "shift.json").write_text(json.dumps(self.shift.tolist()))

    @classmethod
    def load(cls, directory: Path) -> Shift:
        shift = cls(ShiftConfig())
        shift.shift[:] = json.loads((directory / "shift.json").read_text())
        return shift


class Toy:
    lesson = "A toy teaches nothing, and says so."

    def __init__(self, config: ToyConfig) -> None:
        self.words = ["ab", "ba", "abc", "cab", "bca", "acb", "abba", "cabba"][: config.words]
        if config.path is not None:
            try:
                self.words = Path(config.path).read_text("utf-8").split()
            except (OSError, UnicodeDecodeError) as error:
                raise BadData(f"{config.path}: {error}") from None

    def texts(self, split: str = "train") -> list[str]:
        return self.words[:-1] if split == "train" else self.words[-1:]

    def examples(self, split: str) -> list[Any]:
        return [SimpleNamespace(prompt=w, answer=w[::-1], demonstration=w[::-1]) for w in self.texts(split)]

    def check(self, example: Any, completion: str) -> Any:
        correct = completion == example.answer
        return SimpleNamespace(reward=float(correct), correct=correct, parts={}, explanation="")


class Climb:
    """Adds random numbers to the model (or its adapter); every step depends on all steps before."""

    def __init__(
        self, config: ClimbConfig, *, model: Any, tokenizer: Any, task: Any, sampler: Any, adapter: Any, seed: int
    ) -> None:
        self.config, self.model, self.adapter, self.task = config, model, adapter, task
        self.rng = np.random.default_rng(seed)
        self.at = 0
        self.rollouts: list[dict[str, Any]] = []

    @property
    def weights(self) -> np.ndarray[Any, Any]:
        return self.model.values if self.adapter is None else self.adapter.shift

    def train(self) -> Iterator[dict[str, Any]]:
        while self.at < self.config.steps and self.at != self.config.stop_at:
            time.sleep(self.config.pause)
            self.at += 1
            if self.at == self.config.signal_at:
                signal.raise_signal(signal.SIGINT)
            if self.at == self.config.wait_at:
                Path("waiting").touch()
                while Path("waiting").exists():
                    time.sleep(0.005)
            self.weights[...] += self.config.lr * self.rng.standard_normal(self.weights.shape)
            total = float(np.tanh(self.weights).sum())
            self.rollouts = [
                {"step": self.at, "prompt": "ab", "completion": HOSTILE, "reward": total, "correct": False}
            ]
            if self.at == self.config.raise_at:
                raise ArithmeticError("no gradient")
            loss = float("nan") if self.at == self.config.nan_at else abs(total)
            yield {
                "step": self.at, "loss": loss, "reward": total, "kl": 0.01 * self.at, "entropy": 1.0,
                "frac_reward_zero_std": 0.25, "num_tokens": 10 * self.at,
                "reward/errors": 3 * (self.at == self.config.errors_at), "time/step": time.perf_counter(),
            }  # fmt: skip

    def evaluate(self) -> dict[str, Any]:
        score = float(0.5 + 0.5 * np.tanh(self.weights.sum() + self.model.values.sum()))
        return {"greedy": score, "sampled": score / 2}

    def last_rollouts(self) -> list[dict[str, Any]]:
        return self.rollouts

    def samples(self, n: int) -> list[dict[str, Any]]:
        return [{"prompt": "ab", "completion": HOSTILE, "reward": 0.5, "correct": False, "answer": "ba"}] * n

    def state_dict(self) -> dict[str, Any]:
        return {"model": {"weights": self.weights}, "rng": self.rng.bit_generator.state, "at": self.at}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if state["model"]["weights"].shape != self.weights.shape:
            raise ValueError(f"weights: shape {state['model']['weights'].shape}, must be {self.weights.shape}")
        self.weights[...] = state["model"]["weights"]
        self.rng.bit_generator.state = state["rng"]
        self.at = state["at"]

"""Options of the parts in this package. No torch here, so options are described and checked without loading it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

UNITS = ("sentence", "line", "text")


def _at_least(name: str, value: int, least: int, why: str) -> None:
    if value < least:
        raise ValueError(f"{name}: got {value}, must be at least {least}: {why}")


def _finite(name: str, value: float) -> None:
    if not math.isfinite(value):
        raise ValueError(f"{name}: got {value}, must be a finite number: every update would be undefined")


@dataclass(frozen=True, kw_only=True)
class SkipGramConfig:
    """Options of the model `skipgram`."""

    embed_dim: int = field(default=100, metadata={"help": "numbers in a word vector"})

    def __post_init__(self) -> None:
        _at_least("embed_dim", self.embed_dim, 1, "a vector needs at least one number")


@dataclass(frozen=True, kw_only=True)
class Word2VecConfig:
    """Options of the trainer `word2vec`."""

    steps: int = field(default=2000, metadata={"help": "optimizer steps of the whole run"})
    batch_size: int = field(default=1024, metadata={"help": "word pairs in an optimizer step"})
    grad_accum_steps: int = field(default=1, metadata={"help": "parts a batch is worked through in, to save memory"})
    lr: float = field(default=0.05, metadata={"help": "learning rate of row-wise AdaGrad at the first step"})
    min_lr: float = field(default=0.0, metadata={"help": "learning rate that `lr` falls towards, linearly"})
    window: int = field(default=5, metadata={"help": "most tokens to look at on each side"})
    shrink_windows: bool = field(
        default=True, metadata={"help": "draw each window from 1..window: near words weigh more"}
    )
    negative: int = field(default=5, metadata={"help": "random ids held against each true pair"})
    ns_exponent: float = field(default=0.75, metadata={"help": "negatives are drawn in proportion to count**this"})
    subsample: float = field(
        default=1e-3, metadata={"help": "share of the text above which ids are thinned out; 0: never"}
    )
    min_count: int = field(default=1, metadata={"help": "leave out ids that occur less often in the training texts"})
    unit: str = field(default="sentence", metadata={"help": "what windows never leave: `sentence`, `line` or `text`"})
    eval_pairs: int = field(default=20_000, metadata={"help": "most held-out pairs that an evaluation looks at"})

    def __post_init__(self) -> None:
        _at_least("steps", self.steps, 1, "a run needs at least one step")
        _at_least("batch_size", self.batch_size, 1, "a step needs at least one pair")
        _at_least("grad_accum_steps", self.grad_accum_steps, 1, "a batch has at least one part")
        if self.grad_accum_steps > self.batch_size:
            raise ValueError(
                f"grad_accum_steps: got {self.grad_accum_steps}, must be at most batch_size={self.batch_size}: "
                "a part needs at least one pair"
            )
        _finite("lr", self.lr)
        if self.lr <= 0:
            raise ValueError(f"lr: got {self.lr}, must be above 0: nothing would be learnt")
        _finite("min_lr", self.min_lr)
        if not 0 <= self.min_lr <= self.lr:
            raise ValueError(f"min_lr: got {self.min_lr}, must be from 0 to lr={self.lr}: the learning rate only falls")
        _at_least("window", self.window, 1, "a word needs at least one neighbour to predict")
        _at_least("negative", self.negative, 1, "without negatives every score grows without end")
        if not -10 <= self.ns_exponent <= 10:
            raise ValueError(
                f"ns_exponent: got {self.ns_exponent}, must be from -10 to 10: beyond, one id would be every negative"
            )
        if not 0 <= self.subsample < 1:
            raise ValueError(
                f"subsample: got {self.subsample}, must be at least 0 and below 1: it is a share of all tokens"
            )
        _at_least("min_count", self.min_count, 1, "an id that never occurs has nothing to learn from")
        if self.unit not in UNITS:
            raise ValueError(f"unit: got {self.unit!r}, must be one of {', '.join(UNITS)}: windows end there")
        _at_least("eval_pairs", self.eval_pairs, 1, "an evaluation needs at least one pair")

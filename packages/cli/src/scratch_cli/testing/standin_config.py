"""Options of the stand-in parts. Torch-free, like the config of every part."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class TinyTokenizerConfig:
    """The 256 bytes and three special ids: nothing to choose."""


@dataclass(frozen=True, kw_only=True)
class TinyTaskConfig:
    letters: str = field(default="abcd", metadata={"help": "letters that the words are made of"})
    seed: int = field(default=0, metadata={"help": "decides which words are held out"})

    def __post_init__(self) -> None:
        if len(set(self.letters)) != len(self.letters) or len(self.letters) < 2:
            raise ValueError(f"letters: got {self.letters!r}, must be two or more different letters: words need them")


@dataclass(frozen=True, kw_only=True)
class TinyLMConfig:
    n_embd: int = field(default=8, metadata={"help": "width of the features"})
    context: int = field(default=48, metadata={"help": "longest sequence"})
    dropout: float = field(default=0.1, metadata={"help": "share of features dropped in training"})

    def __post_init__(self) -> None:
        for name in ("n_embd", "context"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: got {getattr(self, name)}, must be 1 or more: it is a size")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout: got {self.dropout}, must be in 0 <= dropout < 1: it is a share")


@dataclass(frozen=True, kw_only=True)
class TinyVectorsConfig:
    embed_dim: int = field(default=8, metadata={"help": "width of a word vector"})


@dataclass(frozen=True, kw_only=True)
class TinySamplerConfig:
    temperature: float = field(default=1.0, metadata={"help": "divides the logits"})

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ValueError(f"temperature: got {self.temperature}, must be above 0: it divides")


@dataclass(frozen=True, kw_only=True)
class TinyAdapterConfig:
    rank: int = field(default=2, metadata={"help": "rank of the change to each weight"})

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"rank: got {self.rank}, must be 1 or more: it is a size")


@dataclass(frozen=True, kw_only=True)
class TinyTrainerConfig:
    steps: int = field(default=20, metadata={"help": "optimizer steps of the whole run"})
    lr: float = field(default=1e-2, metadata={"help": "learning rate"})
    batch_size: int = field(default=4, metadata={"help": "rows a step"})
    grad_accum_steps: int = field(default=2, metadata={"help": "parts that a step's rows are computed in"})

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "grad_accum_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: got {getattr(self, name)}, must be 1 or more: it counts")
        if self.batch_size % self.grad_accum_steps:
            raise ValueError(
                f"grad_accum_steps: got {self.grad_accum_steps}, must divide batch_size {self.batch_size}: "
                "the parts are equal"
            )

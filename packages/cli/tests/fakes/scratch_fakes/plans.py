"""Parts that only plans are made of: every kind, with needs, defaults and a warm start, and nothing to load."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scratch_cli.plan import Plan, make_plan
from scratch_cli.registry import Part, Registry


@dataclass(frozen=True, kw_only=True)
class SizeConfig:
    size: int = field(default=4, metadata={"help": "a size"})
    share: float | None = field(default=None, metadata={"help": "a share"})

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size: got {self.size}, must be 1 or more: it is a size")


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    steps: int = field(default=100, metadata={"help": "steps"})
    lr: float = field(default=1e-3, metadata={"help": "rate"})
    stop_at: float | None = field(default=None, metadata={"help": "accuracy to stop at"})
    betas: tuple[float, float] = field(default=(0.9, 0.95), metadata={"help": "decay"})


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    path: str | None = field(default=None, metadata={"help": "a file"})
    mode: str = field(default="a", metadata={"help": "a mode"})


def part(kind: str, name: str, config: type = SizeConfig, distribution: str = "dist", **registered: Any) -> Part:
    return Part(
        kind=kind,
        name=name,
        distribution=distribution,
        version="1.0",
        target="json:JSONDecoder",
        config=f"{__name__}:{config.__name__}",
        summary=f"the {kind} {name}",
        **registered,
    )


LM = {"model": ("causal-lm",), "tokenizer": ("eos",), "task": ("checker",), "sampler": ("full-support",)}
PARTS = (
    part("tokenizer", "bpe", provides=("text", "eos")),
    part("tokenizer", "bare", provides=("text",)),
    part("model", "gpt", provides=("causal-lm", "linear-layers")),
    part("model", "bigram", provides=("causal-lm",)),
    part("model", "skipgram", provides=("word-vectors",)),
    part("sampler", "multinomial", provides=("full-support",)),
    part("sampler", "greedy", provides=("deterministic",)),
    part(
        "trainer",
        "grpo",
        TrainerConfig,
        needs=LM,
        defaults={"task": "sort"},
        warm_start={"trainer": "sft", "options": {"stop_at": 0.4, "steps": 300}},
    ),
    part("trainer", "sft", TrainerConfig, needs=LM, defaults={"task": "sort"}),
    part(
        "trainer",
        "pretrain",
        TrainerConfig,
        needs={"model": ("causal-lm",), "task": ("text",)},
        defaults={"task": "corpus"},
    ),
    part(
        "trainer",
        "word2vec",
        TrainerConfig,
        needs={"model": ("word-vectors",), "task": ("text",)},
        defaults={"task": "corpus", "model": "skipgram"},
    ),
    part("adapter", "lora", needs={"model": ("linear-layers",)}, provides=("adapter",)),
    part("task", "sort", provides=("text", "checker")),
    part("task", "corpus", DataConfig, provides=("text",), data="path", defaults={"trainer": "pretrain"}),
)
REGISTRY = Registry(all_parts=PARTS, distributions=(("dist", "1.0"),))


def plan(names: Mapping[str, str | None] | None = None, *sets: str, registry: Registry = REGISTRY, **more: Any) -> Plan:
    return make_plan(registry, names=names or {}, sets=sets, **more)

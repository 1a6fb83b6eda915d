"""The options of the trainers `tinylora` and `lora`: GRPO with what suits an adapter of that name."""

from __future__ import annotations

from dataclasses import dataclass

from align_scratch.config.checks import option
from align_scratch.config.grpo import GRPOConfig


@dataclass(frozen=True, kw_only=True)
class TinyLoRATrainerConfig(GRPOConfig):
    """Trainer `tinylora`: reinforcement learning of a dozen numbers.

    The paper (arXiv:2602.04118) trains Qwen2.5 by GRPO with exact-match rewards: GSM8K for 3 epochs, 4 completions a
    prompt, 64 in a batch, 4,096 tokens, no KL term; MATH with 8 completions, 256 in a batch and a KL weight of .001, at
    temperature 1. Its learning rates are the best of 1e-7 .. 2e-4, for each size apart. A number of v moves a weight by
    about lr times its largest singular value a step, which is far smaller in a small model: hence .05 here. The sweep
    of adapters found .1 for 1 and 12 numbers, .05 for 48, .03 for 96 and .02 for 200.
    """

    steps: int = option(100, "rollout batches; each gives `minibatches` x `epochs_per_batch` optimizer updates")
    lr: float = option(0.05, "peak learning rate of AdamW")


@dataclass(frozen=True, kw_only=True)
class LoRATrainerConfig(GRPOConfig):
    """Trainer `lora`: the same with LoRA, whose A and B have thousands of numbers and want smaller steps."""

    steps: int = option(100, "rollout batches; each gives `minibatches` x `epochs_per_batch` optimizer updates")
    lr: float = option(5e-3, "peak learning rate of AdamW")

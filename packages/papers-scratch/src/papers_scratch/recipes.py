"""Trainers `tinylora` and `lora`: GRPO through an adapter, with a base on which few numbers are enough.

TinyLoRA (arXiv:2602.04118) claims that reinforcement learning needs a dozen numbers where the model can do the task
already and only has to be told to. So what comes first matters most: these trainers take a longer imitation as their
warm start, run to its end with a falling learning rate, after which the model knows every behaviour that its
demonstrations show. `grpo` stops imitation as soon as there is something to reinforce, and then has more to teach than
a few numbers can hold.

The algorithm is `align_scratch.grpo`, unchanged; any other adapter may take the place of the one they are named after.
"""

from __future__ import annotations

from align_scratch.grpo import GRPO
from papers_scratch.config.recipes import LoRATrainerConfig, TinyLoRATrainerConfig


class TinyLoRAGRPO(GRPO):
    """Trainer `tinylora`."""

    name = "tinylora"
    config: TinyLoRATrainerConfig


class LoRAGRPO(GRPO):
    """Trainer `lora`."""

    name = "lora"
    config: LoRATrainerConfig

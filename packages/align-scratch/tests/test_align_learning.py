"""The point of it all, at a size that takes seconds: a reward selects what demonstrations only mention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from align_scratch.config.grpo import GRPOConfig
from align_scratch.config.sft import SFTConfig
from align_scratch.config.tasks import SortConfig
from align_scratch.grpo import GRPO
from align_scratch.sft import SFT
from align_scratch.tasks.sorting import Sort

Parts = Callable[..., dict[str, Any]]


def test_grpo_learns_what_more_sft_does_not(parts: Parts) -> None:
    """Seeds 0, 1, 2 gave 0.71, 0.77, 0.74 greedy after GRPO, and 0.18, 0.17, 0.21 after more SFT."""
    built = parts(Sort(SortConfig(length=3, n_train=800, n_held_out=100)), n_embd=64)
    trainer = GRPO(GRPOConfig(steps=60, prompts_per_step=32, lr=4e-3), **built)
    assert trainer.evaluate()["greedy"] < 0.05  # untrained

    list(SFT(SFTConfig(steps=500, batch_size=64, lr=1.5e-2), **built).train())
    start = {name: tensor.clone() for name, tensor in built["model"].state_dict().items()}
    before = trainer.evaluate()

    rewards = [metrics["reward"] for metrics in trainer.train()]
    after = trainer.evaluate()
    assert after["greedy"] > 0.55
    assert after["sampled"] > before["sampled"] + 0.1
    assert sum(rewards[-5:]) > sum(rewards[:5])

    built["model"].load_state_dict(start)
    list(SFT(SFTConfig(steps=200, batch_size=64, lr=1.5e-2), **built).train())
    assert built["model"].training
    control = trainer.evaluate()
    assert control["greedy"] < 0.35
    assert control["sampled"] < 0.35


def test_grpo_learns_from_chance_alone(parts: Parts, toy_task: Any) -> None:
    """No warm start: what an untrained model does now and then is enough, and a constant reward teaches nothing."""
    config = GRPOConfig(steps=25, prompts_per_step=8, lr=1e-2)
    task = toy_task(lambda text: float(text[:1] > "m"))
    rewards = [metrics["reward"] for metrics in GRPO(config, **parts(task)).train()]
    assert rewards[0] < 0.6
    assert sum(rewards[-5:]) / 5 > 0.95

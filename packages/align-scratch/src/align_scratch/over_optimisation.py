"""What a policy would gain in truth from a reward model, before any of it is trained: the best of n of its samples.

    curve = best_of_n_experiment(model, tokenizer, task, sampler=sampler, scorer=RewardModel.load(run, ...))
    best_against_kl(curve)   # beyond this divergence the reward model is over-optimised

Gao et al. 2022, "Scaling Laws for Reward Model Overoptimization", arXiv:2210.10760.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from align_scratch.protocols import Model, Sampler, Scorer, Task, Tokenizer
from align_scratch.reward_probes import best_of_n_curve
from align_scratch.rollouts import Prompts, longest_answer, roll_out

AT_ONCE = 32  # prompts: bounds memory, not the result


def best_of_n_experiment(
    model: Model,
    tokenizer: Tokenizer,
    task: Task,
    *,
    sampler: Sampler,
    scorer: Scorer,
    prompts: int = 128,
    sizes: Sequence[int] = (1, 2, 4, 8, 16, 32, 64),
    max_new_tokens: int | None = None,
    seed: int = 0,
) -> list[Mapping[str, float]]:
    """Sample max(sizes) completions of each of the first held-out prompts: `n`, `kl`, `proxy` and `gold` for each size.

    The proxy is the scorer's value, the gold is the mark of the task's checker, by which a completion without a mark
    has 0. Changes neither the model nor any random state. `max_new_tokens` as of trainers.
    """
    examples = task.examples("held_out")[:prompts]
    if not examples or not sizes:
        raise ValueError(f"got {len(examples)} held-out prompts and {len(sizes)} sizes, must be at least one of each")
    longest = max_new_tokens or longest_answer(tokenizer, task.examples("train"))
    rows, device = Prompts(tokenizer, examples), next(model.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    proxy, gold = [], []
    for start in range(0, len(rows), AT_ONCE):
        some, ids = rows.select(range(start, min(start + AT_ONCE, len(rows))))
        rollouts = roll_out(
            model, tokenizer, task, some, ids,
            sampler=sampler, group_size=max(sizes), max_new_tokens=longest, generator=generator,
        )  # fmt: skip
        proxy.append(scorer.score(rollouts.sequences).cpu().double().view_as(rollouts.rewards))
        gold.append(rollouts.rewards.nan_to_num(0.0))
    return best_of_n_curve(torch.cat(proxy), torch.cat(gold), sizes)

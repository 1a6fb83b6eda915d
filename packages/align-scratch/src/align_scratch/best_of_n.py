"""Best of n: what choosing among samples is worth, and a policy that learns to give the chosen one at once.

Of n completions the one with the highest reward is kept. As a rule of decoding that costs n samples an answer; here the
policy is fine-tuned on the kept ones, batch after batch (RAFT: Dong et al. 2023, arXiv:2304.06767, algorithm 1; the
target of BOND: Sessa et al. 2024, arXiv:2407.14622, which matches the best-of-n *distribution* and not its samples).
The reward is the task's, or that of the model of a run of trainer `reward`. An evaluation says what the best of 1, 2,
4, ... n samples would be worth, marked by the task (`best_of/4`, say): with a reward model that curve bends down where
more choice only finds its mistakes (Gao et al. 2023, arXiv:2210.10760).

Left out: a group whose rewards are all equal, which has no best (`drop_zero_variance`), and completions that were cut
off, which do not show how to end (`mask_truncated`). The best of n is never further than log n - (n - 1)/n nats from
the policy (Beirami et al. 2024, arXiv:2401.01879): that bounds what one batch asks for, not where many batches lead,
which `kl` among the metrics shows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from time import perf_counter

import torch
from torch import Tensor

from align_scratch.advantages import zero_variance
from align_scratch.config.best_of_n import BestOfNConfig
from align_scratch.evaluation import SEED
from align_scratch.imitation import ImitatingTrainer
from align_scratch.metrics import Metrics, finite
from align_scratch.rescoring import rescore
from align_scratch.rollouts import roll_out
from align_scratch.state import current_lr

ROWS = 512  # completions at a time in an evaluation: bounds memory


def best_rows(rewards: Tensor, usable: Tensor, *, drop_zero_variance: bool = True) -> list[int]:
    """Row numbers of the best usable completion of each group: rewards (P, G), NaN if unknown; usable (P, G) bool.

    Of equals the first, which is as good a draw as any. Groups without a usable completion and a reward give none.
    """
    best, place = rewards.masked_fill(rewards.isnan() | ~usable, -math.inf).max(1)  # (P,)
    keep = best > -math.inf
    if drop_zero_variance:
        keep &= ~zero_variance(rewards)
    rows = torch.arange(len(rewards)) * rewards.shape[1] + place  # (P,)
    found: list[int] = rows[keep].tolist()
    return found


def best_of_curve(rewards: Tensor, gold: Tensor, sizes: Sequence[int]) -> list[float]:
    """The expected gold mark of the sample that has the highest reward among n, for each n of `sizes`.

    Rewards and gold marks (P, N) of N samples of each of P prompts. Unbiased: the mean over all subsets of n of the N
    samples, and over all ways to break ties among equal rewards. With the gold marks 0 or 1 as rewards it is pass@n,
    1 - C(N - c, n) / C(N, n) for c right ones. NaN rewards come last.
    """
    if rewards.ndim != 2 or gold.shape != rewards.shape:
        raise ValueError(f"got rewards {tuple(rewards.shape)} and gold {tuple(gold.shape)}, must be (P, N) both")
    n_samples = rewards.shape[1]
    if not all(1 <= n <= n_samples for n in sizes):
        raise ValueError(f"sizes: got {list(sizes)}, must be between 1 and the {n_samples} samples there are")
    totals = [0.0] * len(sizes)
    for row, marks in zip(rewards.nan_to_num(nan=-math.inf).tolist(), gold.tolist(), strict=True):
        groups: dict[float, list[float]] = {}  # the marks of samples with one reward
        for reward, mark in sorted(zip(row, marks, strict=True), key=lambda pair: pair[0]):
            groups.setdefault(reward, []).append(mark)
        below = 0
        for ties in groups.values():
            up_to = below + len(ties)
            for i, n in enumerate(sizes):
                # The highest of n is one of these if all n are among the lowest `up_to` and not all below.
                chance = (math.comb(up_to, n) - math.comb(below, n)) / math.comb(n_samples, n)
                totals[i] += chance * sum(ties) / len(ties)
            below = up_to
    return [total / len(rewards) for total in totals]


def sizes_up_to(n: int) -> list[int]:
    """1, 2, 4, ... below n, and n."""
    return [2**i for i in range(n.bit_length()) if 2**i < n] + [n]


class BestOfN(ImitatingTrainer):
    """Trainer `best-of-n`."""

    name = "best-of-n"
    config: BestOfNConfig

    def train(self) -> Iterator[Metrics]:
        """Metrics after each batch of samples and the imitation of its best."""
        config = self.config
        while self.step < config.steps:
            started = perf_counter()
            rollouts = self._sample()
            kl = self.reference.measure_kl(rollouts.sequences, config.track_kl) if config.track_kl else None
            usable = torch.ones_like(rollouts.rewards, dtype=torch.bool)  # (P, G)
            if config.mask_truncated:
                usable = rollouts.generation.finished.view_as(usable).cpu()
            kept = best_rows(rollouts.rewards, usable, drop_zero_variance=config.drop_zero_variance)
            self._last = self.step + 1, rollouts, kept
            sampled = perf_counter()

            lr = current_lr(config, self.step + 1)
            imitation = self._imitate(rollouts, kept, lr)

            best = rollouts.rewards.nan_to_num(nan=-math.inf).amax(1)  # (P,)
            metrics = self._counted(rollouts, kl=kl, lr=lr, started=started, sampled=sampled)
            metrics |= {"reward/best": finite(best[best > -math.inf].mean()), "kept": len(kept)}
            yield metrics | imitation.metrics()

    def evaluate(self) -> dict[str, float | int | None]:
        """Held-out accuracy, `greedy` and `sampled` in 0..1, the mean `reward`, and accuracy as `best_of/N`; changes
        nothing."""
        return self.source.evaluation.run() | self._curve()

    def _curve(self) -> dict[str, float | int | None]:
        """`best_of/1`, `best_of/2`, ... up to n on the first held-out prompts, from n samples of each."""
        n, held_out = self.config.group_size, self.source.evaluation.held_out
        count = min(self.config.curve_prompts, len(held_out))
        if not count:
            return {}
        generator = torch.Generator(self.device).manual_seed(SEED)
        rewards, gold = [], []
        at_once = max(1, ROWS // n)
        for start in range(0, count, at_once):
            examples, prompts = held_out.select(range(start, min(start + at_once, count)))
            rollouts = rescore(
                roll_out(
                    self.model,
                    self.source.tokenizer,
                    self.source.task,
                    examples,
                    prompts,
                    sampler=self.source.sampler,
                    group_size=n,
                    max_new_tokens=self.source.max_new_tokens,
                    generator=generator,
                ),
                self.scorer,
            )
            if not rollouts.checked:  # what the choice is worth in truth is not known
                return {}
            rewards.append(rollouts.rewards)
            gold.append(torch.tensor([float(score.correct) for score in rollouts.scores]).view(-1, n))
        sizes = sizes_up_to(n)
        curve = best_of_curve(torch.cat(rewards), torch.cat(gold), sizes)
        return {f"best_of/{size}": value for size, value in zip(sizes, curve, strict=True)}

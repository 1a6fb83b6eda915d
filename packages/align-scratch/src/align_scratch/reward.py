"""Training a reward model on pairs: which of two completions of a prompt was preferred.

    L = mean_i [ -log s(r(x_i, chosen_i) - r(x_i, rejected_i) - margin_i)                 (Ouyang et al. 2022, eq. 1)
                 + center_rewards_coefficient (r(x_i, chosen_i) + r(x_i, rejected_i))^2 ]

with a mean over the pairs of a step, whose number is known before it is split to save memory. Both sides of all pairs
go through the model as one batch. Differences alone are learned, so scores have no zero and no unit of their own: the
second term keeps them near 0, and when the model is saved they are normalised on reference samples.

Dropout is off: it would judge the two sides of a pair by different models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any, cast

import torch
from torch import Tensor

from align_scratch.config.reward import RewardConfig
from align_scratch.losses import split
from align_scratch.preference_data import PairRows, encode_pairs
from align_scratch.protocols import Adapter, Model, PairTask, Sampler, Tokenizer
from align_scratch.reward_losses import bradley_terry, centring, margin_ranking
from align_scratch.reward_model import RewardModel
from align_scratch.reward_probes import calibration_error, length_bias
from align_scratch.schedule import Shuffled, derived_seed
from align_scratch.state import adamw, current_lr, load_training_state, trainable, training_state, update

_JUDGED = 256  # pairs judged at a time: bounds memory, not the result


class Reward:
    """Trainer `reward`."""

    def __init__(
        self,
        config: RewardConfig,
        *,
        model: Model,
        tokenizer: Tokenizer,
        task: PairTask,
        sampler: Sampler | None = None,
        adapter: Adapter | None = None,
        seed: int = 0,
    ) -> None:
        """Raises DoesNotFit if no pair can be used, DataError if one lacks a side."""
        del sampler  # nothing is sampled
        self.config = config
        longest = model.max_length
        if config.body == "encoder" and config.encoder_length is not None:
            longest = config.encoder_length
        train, held_out = (
            encode_pairs(task.pairs(name), tokenizer, max_length=longest, what=f"task, {name} pairs")
            for name in ("train", "held_out")
        )
        self.pairs, self.held_out = train, held_out
        self.reward_model = self._new_model(model, tokenizer, longest, derived_seed(seed, "reward head"), adapter)
        self.body = cast(Any, self.reward_model)  # as a module with parameters; it is no language model
        self.device = self.reward_model.head.weight.device
        self.named = trainable(self.body)
        self.optimizer = adamw(self.named, config)
        self.batches = Shuffled(len(train), config.batch_size, derived_seed(seed, "reward batches"))
        self.generator = torch.Generator(self.device).manual_seed(derived_seed(seed, "reward"))
        self.step, self.num_tokens = 0, 0

    def _new_model(
        self, model: Model, tokenizer: Tokenizer, longest: int | None, seed: int, adapter: Adapter | None
    ) -> RewardModel:
        config = self.config
        if config.body == "model":
            return RewardModel.on_model(model, tokenizer, adapter=adapter, seed=seed)
        shape = {
            "vocab_size": model.vocab_size,
            "n_layer": config.encoder_layers,
            "n_head": config.encoder_heads,
            "n_embd": config.encoder_embd,
            "max_length": longest or max(self.pairs.longest, self.held_out.longest),
            "dropout": config.encoder_dropout,
        }
        return RewardModel.on_encoder(shape, tokenizer, seed=seed).to(next(model.parameters()).device)

    def train(self) -> Iterator[Mapping[str, float | int | None]]:
        """Metrics after each step."""
        config = self.config
        while self.step < config.steps:
            started = perf_counter()
            rows = self.batches[self.step]
            batch = self.pairs.batch(rows, self.device)  # (2P, T): P chosen, then P rejected
            margins = self._margins(rows)  # (P,)

            self.reward_model.train(not config.disable_dropout)
            loss, scores = 0.0, torch.empty(2, len(rows), device=self.device)
            for part in split(torch.arange(len(rows), device=self.device), config.grad_accum_steps):
                # r(x, chosen) and r(x, rejected) by one pass over both.
                chosen, rejected = self.reward_model(batch.select(torch.cat((part, part + len(rows))))).chunk(2)
                if config.loss_type == "bt":
                    terms = bradley_terry(chosen, rejected, margins[part])  # (M,)
                else:
                    terms = margin_ranking(chosen, rejected, margins[part])
                if config.center_rewards_coefficient:
                    terms = terms + config.center_rewards_coefficient * centring(chosen, rejected)
                micro_loss = terms.sum() / len(rows)
                micro_loss.backward()  # type: ignore[no-untyped-call]
                loss += micro_loss.item()
                scores[:, part] = torch.stack((chosen, rejected)).detach()

            lr = current_lr(config, self.step + 1)
            where = f"reward step {self.step + 1}"
            grad_norm = update(self.optimizer, self.named, loss=loss, lr=lr, grad_clip=config.grad_clip, where=where)
            self.step += 1
            self.num_tokens += int((batch.prompt_lengths + batch.completion_lengths).sum())
            difference = scores[0] - scores[1]  # (P,)
            yield {
                "step": self.step,
                "loss": loss,
                "accuracy": float((difference > 0).float().mean()),
                "margin": float(difference.mean()),
                "min_reward": float(scores.min()),
                "mean_reward": float(scores.mean()),
                "max_reward": float(scores.max()),
                "lr": lr,
                "grad_norm": grad_norm,
                "num_tokens": self.num_tokens,
                "time/training": perf_counter() - started,
            }

    def _margins(self, rows: list[int]) -> Tensor:
        """What each pair's scores are to differ by at least: its own margin, or the loss's (P,)."""
        usual = {"bt": 0.0, "margin": self.config.margin, "hinge": 1.0}[self.config.loss_type]
        own = [self.pairs.margins[row] for row in rows]
        return torch.tensor([usual if margin is None else margin for margin in own], device=self.device)

    # --- what a host asks for

    def evaluate(self) -> dict[str, float | int | None]:
        """On held-out pairs: `accuracy` (a tie counts half), `margin`, `loss` (Bradley-Terry, nats a pair), `ece` (how
        far confidence is from accuracy, in 0..1) and `length_bias` (correlation of score and length among chosen and
        among rejected; None where lengths do not vary). Changes nothing."""
        n = min(self.config.eval_pairs, len(self.held_out))
        scores, lengths = self._judge(self.held_out, n)  # (2, n), (2, n)
        difference = scores[0] - scores[1]  # (n,)
        side = torch.tensor([[1.0], [0.0]]).expand(2, n)
        return {
            "accuracy": float((difference > 0).float().mean() + (difference == 0).float().mean() / 2),
            "margin": float(difference.mean()),
            "loss": float(bradley_terry(scores[0], scores[1]).mean()),
            "ece": calibration_error(difference),
            "length_bias": length_bias(scores.flatten(), lengths.flatten(), side.flatten()),
            "pairs": n,
        }

    def _judge(self, pairs: PairRows, n: int) -> tuple[Tensor, Tensor]:
        """Raw scores of the first `n` chosen and rejected, and their lengths in tokens: (2, n) each, on the CPU."""
        scores, lengths = [], []
        for start in range(0, n, _JUDGED):
            batch = pairs.batch(range(start, min(start + _JUDGED, n)), self.device)
            scores.append(self.reward_model.raw_scores(batch).view(2, -1).cpu())
            lengths.append(batch.completion_lengths.view(2, -1).cpu())
        return torch.cat(scores, 1), torch.cat(lengths, 1)

    def samples(self, n: int, /) -> list[Mapping[str, Any]]:
        """Of the first `n` held-out pairs the completion that scores higher; changes nothing."""
        n = min(n, len(self.held_out))
        if not n:
            return []
        scores, _ = self._judge(self.held_out, n)
        shown: list[Mapping[str, Any]] = []
        for pair, chosen, rejected in zip(self.held_out.texts, *scores.tolist(), strict=False):
            right = chosen > rejected
            shown.append(
                {
                    "prompt": pair.prompt,
                    "completion": pair.chosen if right else pair.rejected,
                    "answer": pair.chosen,
                    "reward": max(chosen, rejected),
                    "correct": right,
                }
            )
        return shown

    def save(self, directory: Path, /) -> None:
        """Write the head, and the encoder if there is one: what `RewardModel.load` reads besides the run's model."""
        unit = self.reward_model.mean.clone(), self.reward_model.std.clone()
        if self.config.normalise:
            n = min(self.config.reference_pairs, len(self.pairs))
            self.reward_model.normalise_on(self.pairs.batch(range(n), self.device))
        self.reward_model.save(directory)
        self.reward_model.mean.copy_(unit[0])  # training goes on, if it does, as if nothing had been saved
        self.reward_model.std.copy_(unit[1])

    def load(self, directory: Path, /) -> None:
        """Read what `save` wrote, the model being the saved one already."""
        self.reward_model.read_head(directory)

    def state_dict(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "num_tokens": self.num_tokens,
            **training_state(self.body, self.optimizer, self.named, self.generator),
        }

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        load_training_state(self.body, self.optimizer, self.named, self.generator, state)
        self.step, self.num_tokens = state["step"], state["num_tokens"]

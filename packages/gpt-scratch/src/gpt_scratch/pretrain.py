"""Pretraining: next-token prediction on one stream of text, with AdamW and a warm-up and decay of the rate.

What makes it resumable to the bit is that almost nothing has to be remembered: the windows and the learning rate of a
step follow from its number (`windows`, `schedule`), so that the state is the weights, the two moments of AdamW, the
step, and torch's random state, which dropout draws from.

The loss of a step is one sum over all its micro-batches divided by one count known beforehand, so that cutting the step
into more micro-batches changes its gradient by rounding only.

Left out: mixed precision, compilation, several devices, text that does not fit in memory.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gpt_scratch.config import PretrainConfig
from gpt_scratch.continuations import continuations
from gpt_scratch.errors import NonFiniteError, StateError
from gpt_scratch.evaluation import evaluate
from gpt_scratch.losses import language_model_loss
from gpt_scratch.optimizer import decay_groups, load_moments, moments
from gpt_scratch.protocols import LanguageModel, Sampler, Task, Tokenizer
from gpt_scratch.schedule import learning_rate
from gpt_scratch.stream import fingerprint, held_out, token_stream
from gpt_scratch.windows import Windows


class Pretrain:
    """Trains whatever parameters of `model` require gradients on `task.texts("train")`.

    Raises CorpusError if either text is too small, ValueError if model and tokenizer do not fit.
    """

    def __init__(
        self,
        config: PretrainConfig,
        *,
        model: LanguageModel,
        tokenizer: Tokenizer,
        task: Task,
        sampler: Sampler | None = None,
        adapter: object = None,
        seed: int = 0,
    ) -> None:
        if tokenizer.vocab_size > model.vocab_size:
            raise ValueError(f"the tokenizer has {tokenizer.vocab_size} ids, but the model only {model.vocab_size}")
        self.config = config
        self.model = model
        self.tokenizer = tokenizer
        self.sampler = sampler
        self.context = min(config.context, model.max_length or config.context)
        self.windows = Windows(token_stream(task.texts("train"), tokenizer), self.context, seed=seed)
        self.held_out = held_out(task.texts("held_out"), tokenizer, config.eval_tokens)
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}  # tied ones once
        if not self.parameters:
            raise ValueError("the model has no parameter that requires gradients: there is nothing to train")
        self.device = next(iter(self.parameters.values())).device
        self.optimizer = torch.optim.AdamW(
            decay_groups(self.parameters, config.weight_decay),
            lr=config.lr,
            betas=(config.beta1, config.beta2),
            eps=1e-8,
        )
        self.step = 0  # optimizer steps done

    def train(self) -> Iterator[dict[str, float | int]]:
        """One optimizer step per item, from where the state stands up to `config.steps`."""
        config = self.config
        self.model.train()
        while self.step < config.steps:
            began = time.perf_counter()
            starts = self.windows.starts(self.step * config.batch_size, config.batch_size)
            inputs, targets = self.windows.batch(starts)  # (batch_size, T) each
            denominator = targets.numel()

            self.optimizer.zero_grad(set_to_none=True)
            total = torch.zeros((), device=self.device)
            micro_batches = zip(
                inputs.tensor_split(config.grad_accum_steps), targets.tensor_split(config.grad_accum_steps), strict=True
            )
            for x, y in micro_batches:
                features = self.model.features(x.to(self.device))  # (b, T, D)
                loss = language_model_loss(
                    features, y.to(self.device), self.model.head, vocab_size=self.model.vocab_size
                )
                (loss / denominator).backward()  # type: ignore[no-untyped-call]
                total += loss.detach()
            mean_loss = float(total) / denominator
            grad_norm = float(self._clip_gradients())
            if not (math.isfinite(mean_loss) and math.isfinite(grad_norm)):
                raise NonFiniteError(
                    f"step {self.step + 1}: loss {mean_loss}, gradient norm {grad_norm}; the step was not taken. "
                    f"Try a lower lr than {config.lr} or a smaller grad_clip",
                    step=self.step + 1,
                    window_starts=starts,
                )

            lr = self.learning_rate(self.step)
            for group in self.optimizer.param_groups:
                group["lr"] = lr
            self.optimizer.step()
            self.step += 1
            windows_seen = self.step * config.batch_size
            yield {
                "step": self.step,
                "loss": mean_loss,
                "lr": lr,
                "grad_norm": grad_norm,
                "num_tokens": windows_seen * self.context,
                "epoch": windows_seen / self.windows.num_windows,
                "time/step": time.perf_counter() - began,
            }

    def learning_rate(self, step: int) -> float:
        """The rate of optimizer step `step`, counted from 0."""
        config = self.config
        return learning_rate(
            step,
            steps=config.steps,
            lr=config.lr,
            min_lr_ratio=config.min_lr_ratio,
            warmup_steps=round(config.warmup_ratio * config.steps),
            schedule=config.schedule,
        )

    def evaluate(self) -> dict[str, float]:
        """Held-out `loss` (nats per token), `perplexity` and `bits_per_byte`; see `evaluation`."""
        return evaluate(self.model, self.held_out, self.context, self.device)

    def samples(self, n: int) -> Sequence[Mapping[str, str]]:
        """`n` continuations of held-out text: mappings with `prompt` and `completion`."""
        return continuations(self.model, self.tokenizer, self.held_out.ids, n, sampler=self.sampler, device=self.device)

    def state_dict(self) -> dict[str, Any]:
        """Weights that are trained, buffers, moments, step, random states, and the fingerprint of the text. Copies."""
        rng = {"torch": torch.get_rng_state()}
        if self.device.type == "cuda":
            rng["cuda"] = torch.cuda.get_rng_state(self.device)
        return {
            "step": self.step,
            "model": {name: tensor.detach().clone() for name, tensor in self._saved_tensors().items()},
            "optimizer": moments(self.optimizer, self.parameters),
            "rng": rng,
            "data": fingerprint(self.windows.stream),
        }

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        """Go on from `state`. Raises StateError, before changing anything, if it belongs to another model or text."""
        if state["data"] != fingerprint(self.windows.stream):
            raise StateError("the training text gives other tokens than the one this state was saved with")
        own, saved = self._saved_tensors(), state["model"]
        different = sorted(own.keys() ^ saved.keys())
        if different:
            raise StateError(f"{different[0]}: in only one of the saved state and this model")
        for name, tensor in own.items():
            if saved[name].shape != tensor.shape:
                raise StateError(f"{name}: saved {tuple(saved[name].shape)}, this model has {tuple(tensor.shape)}")
        load_moments(self.optimizer, self.parameters, state["optimizer"])
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(saved[name])
        torch.set_rng_state(state["rng"]["torch"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state["rng"]["cuda"], self.device)
        self.step = int(state["step"])

    def _clip_gradients(self) -> Tensor:
        """Norm of the whole gradient before clipping."""
        limit = self.config.grad_clip or math.inf
        return nn.utils.clip_grad_norm_(self.parameters.values(), limit)

    def _saved_tensors(self) -> dict[str, Tensor]:
        persistent = self.model.state_dict().keys()
        buffers = {name: buffer for name, buffer in self.model.named_buffers() if name in persistent}
        return {**self.parameters, **buffers}

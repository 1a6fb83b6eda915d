"""Stand-in trainer: imitation of demonstrations by cross-entropy, as short as the whole contract allows."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from scratch_cli.testing.lazy import lazy
from scratch_cli.testing.standin_config import TinyTrainerConfig

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy("torch")


class TinyTrainer:
    """AdamW on next-token loss over whole rows, with gradient accumulation."""

    def __init__(
        self,
        config: TinyTrainerConfig,
        *,
        model: Any,
        tokenizer: Any,
        task: Any,
        sampler: Any = None,
        adapter: Any = None,
        seed: int = 1,
    ) -> None:
        self.config, self.model, self.tokenizer, self.task, self.sampler = config, model, tokenizer, task, sampler
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.optimizer = torch.optim.AdamW(self.parameters.values(), lr=config.lr)
        self.generator = torch.Generator().manual_seed(seed)
        self.examples = task.examples("train")
        self.step = 0
        self.num_tokens = 0

    def train(self) -> Iterator[Mapping[str, float]]:
        config = self.config
        while self.step < config.steps:
            self.model.train()
            picked = torch.randint(len(self.examples), (config.batch_size,), generator=self.generator).tolist()
            ids, lengths = self._rows([self.examples[i] for i in picked])  # (B, T), (B,)
            real = int((lengths - 1).sum())
            self.optimizer.zero_grad()
            total = 0.0
            for part in torch.arange(config.batch_size).chunk(config.grad_accum_steps):
                loss = self._loss(ids[part], lengths[part]) / real  # a sum over a denominator known before the split
                loss.backward()  # type: ignore[no-untyped-call]
                total += loss.item()
            norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), math.inf)
            self.optimizer.step()
            self.step += 1
            self.num_tokens += real
            yield {"step": self.step, "loss": total, "grad_norm": norm.item(), "num_tokens": self.num_tokens}

    def _rows(self, examples: Sequence[Any]) -> tuple[Tensor, Tensor]:
        tokenizer = self.tokenizer
        rows = [[*tokenizer.encode(e.prompt + e.demonstration), tokenizer.eos_id] for e in examples]
        lengths = torch.tensor([len(row) for row in rows])
        ids = torch.zeros(len(rows), int(lengths.max()), dtype=torch.int64)
        for i, row in enumerate(rows):
            ids[i, : len(row)] = torch.tensor(row)
        return ids, lengths

    def _loss(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Summed over the real positions."""
        logits = self.model(ids, lengths=lengths)[:, :-1]  # (B, T-1, V)
        real = torch.arange(ids.shape[1] - 1) < (lengths - 1)[:, None]  # (B, T-1)
        return torch.nn.functional.cross_entropy(logits[real], ids[:, 1:][real], reduction="sum")

    # --- judging

    def evaluate(self) -> Mapping[str, float]:
        with self._judging():
            examples = self.task.examples("held_out")
            generator = torch.Generator().manual_seed(0)
            greedy = [self.task.check(e, self._complete(e, None)).correct for e in examples]
            sampled = [self.task.check(e, self._complete(e, generator)).correct for e in examples]
            ids, lengths = self._rows(examples)
            loss = self._loss(ids, lengths).item() / int((lengths - 1).sum())
        return {"greedy": sum(greedy) / len(greedy), "sampled": sum(sampled) / len(sampled), "loss": loss}

    def samples(self, n: int, /) -> Sequence[Mapping[str, Any]]:
        shown = []
        with self._judging():
            for example in self.task.examples("held_out")[:n]:
                completion = self._complete(example, None)
                score = self.task.check(example, completion)
                shown.append(
                    {
                        "prompt": example.prompt,
                        "completion": completion,
                        "answer": example.answer,
                        "reward": score.reward,
                        "correct": score.correct,
                    }
                )
        return shown

    @contextlib.contextmanager
    def _judging(self) -> Iterator[None]:
        modes = {module: module.training for module in self.model.modules()}
        self.model.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            for module, mode in modes.items():
                module.training = mode

    def _complete(self, example: Any, generator: torch.Generator | None) -> str:
        ids = self.tokenizer.encode(example.prompt)
        cache = self.model.new_cache(1, len(ids) + 5)
        done: list[int] = []
        new = ids
        for _ in range(5):
            logits = self.model(torch.tensor([new]), cache=cache)[:, -1]  # (1, V)
            if generator is None or self.sampler is None:
                choice = int(logits.argmax())
            else:
                choice = int(self.sampler.sample(logits, generator=generator))
            if choice == self.tokenizer.eos_id:
                break
            done.append(choice)
            new = [choice]
        text: str = self.tokenizer.decode(done)
        return text

    # --- state

    def state_dict(self) -> dict[str, Any]:
        buffers = {name: b for name, b in self.model.state_dict().items() if name in self._persistent()}
        optimizer = self.optimizer.state_dict()
        return {
            "model": {**{name: p.detach() for name, p in self.parameters.items()}, **buffers},
            "optimizer": {str(i): dict(s) for i, s in optimizer["state"].items()},
            "generator": self.generator.get_state(),
            "torch": torch.get_rng_state(),
            "step": self.step,
            "num_tokens": self.num_tokens,
        }

    def _persistent(self) -> set[str]:
        return set(self.model.state_dict()) - {name for name, _ in self.model.named_parameters()}

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        with torch.no_grad():
            mine = {**self.parameters, **{n: b for n, b in self.model.state_dict().items() if n in self._persistent()}}
            for name, tensor in mine.items():
                tensor.copy_(state["model"][name])
        whole = self.optimizer.state_dict()
        whole["state"] = {int(i): {k: v.clone() for k, v in s.items()} for i, s in state["optimizer"].items()}
        self.optimizer.load_state_dict(whole)
        self.generator.set_state(state["generator"])
        torch.set_rng_state(state["torch"])
        self.step = state["step"]
        self.num_tokens = state["num_tokens"]

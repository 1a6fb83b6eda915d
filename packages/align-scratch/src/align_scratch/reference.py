"""The reference policy pi_ref: what a policy started from and is held near."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from align_scratch.protocols import Adapter, Model, Sampler
from align_scratch.scoring import chunk_tokens, kl_divergence, sequence_log_probs
from inference_scratch.score import Sequences, completion_features


class Reference:
    """The base below an adapter, which costs nothing, or else a frozen copy of the model as it is now."""

    def __init__(self, model: Model, adapter: Adapter | None, *, sampler: Sampler | None, needed: bool = True) -> None:
        """`needed` False keeps no copy; asking for anything is then an error. `sampler` as in scoring."""
        self.model, self.adapter, self.sampler = model, adapter, sampler
        self.copy: Any = None
        if needed and adapter is None:
            self.copy = copy.deepcopy(model).eval().requires_grad_(False)

    @contextmanager
    def active(self) -> Iterator[Model]:
        """pi_ref as a model, inside the block."""
        if self.adapter is not None:
            with self.adapter.disabled():
                yield self.model
        elif self.copy is not None:
            yield self.copy
        else:
            raise RuntimeError("reference: none was kept, because nothing in the configuration needed one")

    @torch.no_grad()
    def log_probs(self, rows: Sequences) -> Tensor:
        """log pi_ref (N, T_new) of the completion tokens of `rows`, 0 at padding."""
        with self.active() as reference:
            return sequence_log_probs(reference, rows, self.sampler)

    @torch.no_grad()
    def measure_kl(self, rows: Sequences, most: int) -> float:
        """KL(pi || pi_ref) in nats per token, exactly, on at most `most` of the rows, spread evenly over all."""
        n = len(rows.ids)
        some = rows.select(torch.arange(0, n, -(-n // most), device=rows.ids.device))
        features = completion_features(self.model, some)[0]  # (M, D)
        base_features: Tensor | None = None
        divergences = []
        for chunk in torch.split(torch.arange(len(features), device=features.device), chunk_tokens(self.model)):
            policy = self._distribution(self.model, features[chunk])  # (C, V)
            with self.active() as reference:
                if base_features is None:
                    base_features = completion_features(reference, some)[0]  # (M, D)
                base = self._distribution(reference, base_features[chunk])  # (C, V)
            divergences.append(kl_divergence(policy, base))
        return float(torch.cat(divergences).mean())

    @torch.no_grad()
    def sync(self, alpha: float) -> None:
        """pi_ref <- alpha pi + (1 - alpha) pi_ref, weight by weight (Gorbatovski et al. 2024, TR-DPO, eq. 5).

        Raises RuntimeError if there is no copy: an adapter's base stays what it is.
        """
        if self.copy is None:
            raise RuntimeError("reference: there is no copy of the model that could follow it")
        for kept, now in zip(self.copy.parameters(), self.model.parameters(), strict=True):
            kept.mul_(1 - alpha).add_(now, alpha=alpha)

    def _distribution(self, model: Model, features: Tensor) -> Tensor:
        logits = model.head(features)  # (C, V)
        return logits.float().log_softmax(-1) if self.sampler is None else self.sampler.log_probs(logits)

    def state_dict(self) -> dict[str, Tensor]:
        """The copy's weights; empty where there is none."""
        return {} if self.copy is None else {name: t.detach().clone() for name, t in self.copy.state_dict().items()}

    def load_state_dict(self, state: Mapping[str, Tensor], /) -> None:
        if self.copy is not None:
            self.copy.load_state_dict(state)

"""What the reference policy says of given completions: asked when needed, or once before training and then known.

Held-out completions are always asked about before the first step. Where no adapter keeps the starting model apart and
no copy is kept, nobody could say afterwards; so that is also what a finished run keeps in a file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from align_scratch.errors import DataError, DoesNotFit
from align_scratch.preference_data import LabelledRows, PairRows
from align_scratch.preference_scoring import log_probs_of
from align_scratch.protocols import Adapter, Model, Sampler
from align_scratch.reference import Reference
from align_scratch.reward_model import evaluating
from inference_scratch.score import Sequences

ABOUT, KNOWN = "dpo.json", "reference.safetensors"


class KnownReference:
    """pi_ref of a run of preference learning; says nothing (None) for losses that have no reference."""

    def __init__(
        self,
        model: Model,
        adapter: Adapter | None,
        *,
        sampler: Sampler | None,
        compared: bool,
        precompute: bool,
        reference_model: Model | None = None,
    ) -> None:
        """`compared`: whether the loss has a reference. `precompute`: ask about all training rows before training, and
        keep no copy. `reference_model`: another reference than `model` as it is now.

        Raises DoesNotFit for a reference of another vocabulary.
        """
        self.model, self.sampler, self.compared, self.precompute = model, sampler, compared, precompute
        self.device = next(model.parameters()).device
        self.policy = Reference(
            model, adapter, sampler=sampler, needed=compared and not precompute and reference_model is None
        )
        if reference_model is not None:
            self._refer_to(reference_model)
        self.train: Tensor | None = None
        """(n, 2): log pi_ref of all training rows, if precomputed."""
        self.held_out: Tensor | None = None
        """(n, 2): of the held-out rows that are judged."""
        self.prepared = False

    def _refer_to(self, model: Model) -> None:
        if model.vocab_size != self.model.vocab_size:
            raise DoesNotFit(
                f"reference_model: has a vocabulary of {model.vocab_size}, the policy one of {self.model.vocab_size}: "
                "their probabilities are of different things; use a reference with the same tokenizer"
            )
        frozen: Any = model
        self.policy = Reference(model, None, sampler=self.sampler, needed=False)
        self.policy.copy = frozen.eval().requires_grad_(False)

    def prepare(
        self, rows: PairRows | LabelledRows | None, held_out: PairRows | LabelledRows | None, most: int
    ) -> None:
        """Ask, before any step, what will be asked later; once in a run, resumed or not. `most` held-out rows."""
        if self.prepared:
            return
        self.prepared = True
        if self.compared:
            self.held_out = self._all(held_out, most)
            self.now_learning_from(rows)

    def now_learning_from(self, rows: PairRows | LabelledRows | None) -> None:
        """Ask about all of these at once, if that is how it is to be. Only before the policy has moved."""
        if self.compared and self.precompute:
            self.train = self._all(rows)

    def _all(self, rows: PairRows | LabelledRows | None, most: int | None = None) -> Tensor:
        if rows is None:
            return torch.zeros(0, 2, device=self.device)
        places = range(len(rows) if most is None else min(most, len(rows)))
        with self._active() as reference, evaluating(reference):
            return both_log_probs(reference, rows, places, self.sampler)

    def _active(self) -> AbstractContextManager[Model]:
        """pi_ref as a model; where no copy is kept, it is the policy before its first step."""
        if self.policy.adapter is None and self.policy.copy is None:
            return nullcontext(self.model)
        return self.policy.active()

    def of(self, rows: Sequence[int], batch: Sequences, *, paired: bool) -> Tensor | None:
        """log pi_ref of a batch of the training `rows`: (2P,) of pairs, (N,) of labelled completions."""
        if not self.compared:
            return None
        if self.train is not None:
            known = self.train[torch.tensor(rows, device=self.device)]  # (P, 2) or (N, 2)
            return known.T.flatten() if paired else known[:, 0]
        return self._ask(batch)

    def of_mismatched(self, rows: Sequence[int], mismatched: Sequences) -> Tensor:
        """log pi_ref (N,) of prompts with completions that are not theirs."""
        if self.train is not None:
            return self.train[torch.tensor(rows, device=self.device), 1]
        return self._ask(mismatched)

    def _ask(self, batch: Sequences) -> Tensor:
        with self._active() as reference, evaluating(reference):
            return log_probs_of(reference, batch, self.sampler)

    # --- files and state

    def save(self, directory: Path, /) -> None:
        """Write what is known of held-out rows."""
        known = torch.zeros(0, 2) if self.held_out is None else self.held_out
        (directory / ABOUT).write_text(json.dumps({"format": 1, "held_out": len(known)}) + "\n", encoding="utf-8")
        (directory / KNOWN).write_bytes(save_tensors({"held_out": known.cpu().contiguous()}))

    def load(self, directory: Path, n: int, /) -> None:
        """Read it, for `n` held-out rows. Raises DataError if it is damaged or belongs to other rows."""
        path = directory / KNOWN
        try:
            known = load_tensors(path.read_bytes())["held_out"]
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise DataError(f"{path}: not readable: {error}") from None
        n = n if self.compared else 0
        if known.shape != (n, 2) or not known.is_floating_point() or not bool(known.isfinite().all()):
            raise DataError(f"{path}: holds {known.dtype} {tuple(known.shape)}, must be finite numbers ({n}, 2)")
        self.held_out = known.to(self.device) if self.compared else None
        self.prepared = True

    def state_dict(self) -> dict[str, Any]:
        known = {"train": self.train, "held_out": self.held_out}
        return {
            "policy": self.policy.state_dict(),
            "known": {name: tensor.clone() for name, tensor in known.items() if tensor is not None},
        }

    def load_state_dict(self, state: Mapping[str, Any], /) -> None:
        self.policy.load_state_dict(state["policy"])
        known = {name: tensor.clone().to(self.device) for name, tensor in state["known"].items()}
        self.train, self.held_out, self.prepared = known.get("train"), known.get("held_out"), True


def both_log_probs(model: Model, rows: PairRows | LabelledRows, places: range, sampler: Sampler | None) -> Tensor:
    """log pi (n, 2): of chosen and rejected, or of a completion and, where there is one, another prompt's."""
    device = next(model.parameters()).device
    if not len(places):
        return torch.zeros(0, 2, device=device)
    if isinstance(rows, PairRows):
        return log_probs_of(model, rows.batch(places, device), sampler).view(2, -1).T.contiguous()
    own = log_probs_of(model, rows.batch(places, device), sampler)
    other = log_probs_of(model, rows.mismatched(places, device), sampler) if rows.others else torch.zeros_like(own)
    return torch.stack((own, other), 1)

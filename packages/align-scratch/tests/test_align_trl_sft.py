"""SFT against TRL: its labels, its losses (nll and dft), its entropy and accuracy."""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from align_scratch.labels import collate, make_row
from align_scratch.sft_losses import labelled_loss, row_weights

trl = pytest.importorskip("trl", reason="the rival library is the oracle")
sft_trainer = pytest.importorskip("trl.trainer.sft_trainer", reason="the rival library is the oracle")

EOS = 0
PROMPTS = [[5, 6, 7], [5], [9, 9]]
ANSWERS = [[8, 9], [8, 9, 10, 11], [4]]


def ours() -> Any:
    pairs = zip(PROMPTS, ANSWERS, strict=True)
    return collate([make_row(((prompt, False), (answer, True)), [EOS]) for prompt, answer in pairs])


def theirs() -> Any:
    rows = [
        {"input_ids": [*p, *a, EOS], "labels": [-100] * len(p) + [*a, EOS]}
        for p, a in zip(PROMPTS, ANSWERS, strict=True)
    ]
    return sft_trainer.DataCollatorForLanguageModeling(pad_token_id=EOS)(rows)


def test_labels() -> None:
    """Padding has the end mark's id, and both learn the end mark all the same."""
    batch, inputs = ours(), theirs()
    labels = inputs["labels"][:, 1:]
    assert torch.equal(batch.ids, inputs["input_ids"][:, :-1] * (inputs["attention_mask"][:, 1:]))
    assert torch.equal(batch.mask, labels >= 0)
    assert torch.equal(batch.targets[batch.mask], labels[labels >= 0])


class Fake(nn.Module):
    """Fixed logits, in the shape that TRL's fused head returns."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, input_ids: Any, labels: Any, **_: Any) -> Any:
        shifted = labels[:, 1:]
        mask = shifted >= 0
        log_probs = self.logits.log_softmax(-1)
        entropy = -(log_probs.exp() * log_probs).sum(-1) * mask
        chosen = log_probs.gather(-1, shifted.clamp(min=0)[..., None])[..., 0] * mask
        top = (log_probs.argmax(-1) == shifted) & mask
        return SimpleNamespace(log_probs=chosen, label_mask=mask, entropy=entropy, is_top1=top)


@pytest.mark.parametrize("loss_type", ["nll", "dft"])
def test_losses_gradients_and_metrics(loss_type: str) -> None:
    batch, inputs = ours(), theirs()
    torch.manual_seed(0)
    model = Fake(torch.randn(*batch.ids.shape, 12))
    trainer = sft_trainer.SFTTrainer.__new__(sft_trainer.SFTTrainer)
    for name, value in {
        "model": model,
        "aux_loss_enabled": False,
        "compute_loss_func": None,
        "label_smoother": None,
        "args": SimpleNamespace(loss_type=loss_type, average_tokens_across_devices=False, max_length=None),
        "accelerator": SimpleNamespace(gather_for_metrics=lambda value: value, parallelism_config=None),
        "_metrics": {"train": defaultdict(list)},
        "_total_train_tokens": 0,
        "_tp_size": 1,
    }.items():
        setattr(trainer, name, value)
    expected = trainer.compute_loss(model, dict(inputs))
    (gradient,) = torch.autograd.grad(expected, model.logits)

    class Ours(nn.Module):
        vocab_size = 12

        def features(self, ids: Any, /, *, lengths: Any = None, cache: Any = None) -> Any:
            return model.logits

        def head(self, features: Any, /) -> Any:
            return features

    weights = row_weights(loss_type, batch.mask.sum(1))[:, None].expand(batch.ids.shape)
    loss, hits, spread = labelled_loss(Ours(), batch, weights, loss_type=loss_type)  # type: ignore[arg-type]
    (same,) = torch.autograd.grad(loss, model.logits)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(same, gradient)
    metrics, count = trainer._metrics["train"], int(batch.mask.sum())
    assert hits / count == pytest.approx(metrics["mean_token_accuracy"][0])
    assert spread.item() / count == pytest.approx(metrics["entropy"][0], rel=1e-5)
    assert metrics["num_tokens"] == [sum(map(len, PROMPTS + ANSWERS)) + 3]

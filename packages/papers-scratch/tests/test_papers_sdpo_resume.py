"""A run of SDPO that is taken up again goes on to the bit, whatever its teacher is and whatever it draws."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
import torch

from align_scratch.tasks.problems import Example, Score
from inference_scratch.config import MultinomialConfig
from inference_scratch.samplers import Multinomial
from papers_scratch.config.frames import TinyLoRAConfig
from papers_scratch.config.sdpo import SDPOConfig
from papers_scratch.config.transformers_model import TransformersConfig
from papers_scratch.sdpo.trainer import SDPO
from papers_scratch.tinylora import TinyLoRA
from papers_scratch.transformers_model import TransformersLM


class Letters:
    eos_id, vocab_size = 0, 27

    def encode_batch(self, texts: Sequence[str], /) -> list[list[int]]:
        return [[1 + ord(c) % 26 for c in text] for text in texts]

    def decode_batch(self, rows: Iterable[Iterable[int]], /) -> list[str]:
        return ["".join(chr(96 + i) for i in row if i > 0) for row in rows]


class Early:
    """Pays for a first letter in the front half of the alphabet."""

    def examples(self, split: str) -> list[Example]:
        return [Example(prompt=f"{split[0]}{letter}", answer="ab", demonstration="ab") for letter in "abcdefgh"]

    def check(self, example: Example, completion: str) -> Score:
        paid = "" < completion[:1] < "n"
        return Score(reward=float(paid), correct=paid, parts={}, explanation="" if paid else "too late")


def trainer(*, adapter: bool = False, dtype: torch.dtype = torch.float32, **options: Any) -> SDPO:
    torch.manual_seed(0)
    config = TransformersConfig(architecture="gpt2", n_layer=1, n_head=2, n_embd=16, max_length=64)
    model = TransformersLM(config, vocab_size=Letters.vocab_size).to(dtype)
    made = TinyLoRA(TinyLoRAConfig(r=2, u=3)) if adapter else None
    if made is not None:
        made.wrap(model)
    small = {"steps": 4, "prompts_per_step": 4, "group_size": 4, "minibatches": 2, "warmup_steps": 0, "lr": 1e-2}
    return SDPO(
        SDPOConfig(**{**small, "max_new_tokens": 4, "track_kl": 0, **options}),
        model=model, tokenizer=Letters(), task=Early(), sampler=Multinomial(MultinomialConfig()), adapter=made,
    )  # fmt: skip


def rest(steps: Iterable[Any]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if not key.startswith("time/")} for row in steps]


@pytest.mark.parametrize(
    "options",
    [
        {"teacher": "ema"},
        {"teacher": "trust_region"},
        {"teacher": "ema", "rehearsal": 1.0},
        {"demonstration": "random", "include_feedback": True},
        {"epochs_per_batch": 3, "disable_dropout": False},
        {"policy_weight": 0.5, "kl_coef": 0.1},
        {"teacher": "ema", "adapter": True},
        {"teacher": "ema", "dtype": torch.bfloat16},
    ],
    ids=str,
)
def test_a_resumed_run_is_the_whole_run(options: dict[str, Any]) -> None:
    whole = trainer(**options)
    steps = whole.train()
    next(steps)
    next(steps)
    state = copy.deepcopy(whole.state_dict())
    expected = rest(steps)
    again = trainer(**options)
    again.load_state_dict(state)
    assert rest(again.train()) == expected
    assert len(expected) == 2
    for a, b in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(a, b)
    for name, weight in whole.teacher.weights.items():
        assert torch.equal(weight, again.teacher.weights[name])
    if whole.teacher.kind == "ema":  # a check that there is something to forget
        start = trainer(**options).teacher.weights
        assert any(not torch.equal(weight, start[name]) for name, weight in whole.teacher.weights.items())

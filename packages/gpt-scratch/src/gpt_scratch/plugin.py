"""What this package offers to the `scratch` command: names and import strings, nothing imported."""

from __future__ import annotations

from typing import Any

import pluggy

hookimpl = pluggy.HookimplMarker("scratch")


@hookimpl
def register_models(register: Any) -> None:
    register(
        "gpt",
        "gpt_scratch.model:GPT",
        config="gpt_scratch.config:GPTConfig",
        summary="GPT-2 style decoder: learned positions, pre-norm blocks, tied head",
        provides=("causal-lm", "linear-layers"),
        smoke={"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 64},
    )
    register(
        "bigram",
        "gpt_scratch.bigram:Bigram",
        config="gpt_scratch.config:BigramConfig",
        summary="table of next-token logits: the smallest language model, and a baseline",
        provides=("causal-lm",),
    )


@hookimpl
def register_trainers(register: Any) -> None:
    register(
        "pretrain",
        "gpt_scratch.pretrain:Pretrain",
        config="gpt_scratch.config:PretrainConfig",
        summary="next-token prediction on a text, with loss, perplexity and bits per byte on a held-out part",
        provides=("lm",),
        needs={"model": ["causal-lm"], "task": ["text"]},
        defaults={"task": "corpus", "model": "gpt"},
        smoke={"steps": 2, "batch_size": 2, "context": 8, "eval_tokens": 64},
    )

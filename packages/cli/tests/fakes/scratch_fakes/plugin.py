"""Registers the fake parts. Tests put the directory above this one on the path, where the metadata lies beside."""

from __future__ import annotations

from typing import Any

import pluggy

hookimpl = pluggy.HookimplMarker("scratch")


@hookimpl
def register_tokenizers(register: Any) -> None:
    register(
        "letters",
        "scratch_fakes.parts:Letters",
        config="scratch_fakes.config:LettersConfig",
        summary="one id a character",
        provides=("text", "eos"),
    )


@hookimpl
def register_models(register: Any) -> None:
    register(
        "table",
        "scratch_fakes.parts:Table",
        config="scratch_fakes.config:TableConfig",
        summary="an array of numbers; no torch",
    )
    register(
        "pairs",
        "scratch_fakes.torch_parts:Pairs",
        config="scratch_fakes.config:PairsConfig",
        summary="bigram logits, in torch",
        provides=("causal-lm",),
    )


@hookimpl
def register_samplers(register: Any) -> None:
    register(
        "draw",
        "scratch_fakes.torch_parts:Draw",
        config="scratch_fakes.config:DrawConfig",
        summary="draws from the softmax",
        provides=("full-support",),
    )


@hookimpl
def register_adapters(register: Any) -> None:
    register(
        "shift",
        "scratch_fakes.parts:Shift",
        config="scratch_fakes.config:ShiftConfig",
        summary="trains one number that is added to a frozen table",
        needs={"model": []},
    )
    register(
        "lost",
        "scratch_fakes.lost:Lost",
        config="scratch_fakes.config:ShiftConfig",
        summary="an adapter whose module is not there",
    )
    register(
        "delta",
        "scratch_fakes.torch_parts:Delta",
        config="scratch_fakes.config:DeltaConfig",
        summary="trains a matrix that is added to the frozen pairs",
        needs={"model": ["causal-lm"]},
    )


@hookimpl
def register_tasks(register: Any) -> None:
    register(
        "toy",
        "scratch_fakes.parts:Toy",
        config="scratch_fakes.config:ToyConfig",
        summary="a few words",
        provides=("text", "checker"),
        data="path",
    )


@hookimpl
def register_trainers(register: Any) -> None:
    register(
        "climb",
        "scratch_fakes.parts:Climb",
        config="scratch_fakes.config:ClimbConfig",
        summary="moves the table by random numbers",
        defaults={"tokenizer": "letters", "model": "table", "task": "toy"},
    )
    register(
        "climb-warm",
        "scratch_fakes.parts:Climb",
        config="scratch_fakes.config:ClimbConfig",
        summary="climb, after a warm start by climb",
        defaults={"tokenizer": "letters", "model": "table", "task": "toy"},
        warm_start={"trainer": "climb", "options": {"steps": 12, "stop_at": 9}},
    )
    register(
        "count",
        "scratch_fakes.torch_parts:Count",
        config="scratch_fakes.config:CountConfig",
        summary="gradient descent on the pairs of a text",
        defaults={"tokenizer": "letters", "model": "pairs", "sampler": "draw", "task": "toy"},
        needs={"model": ["causal-lm"]},
    )
    register(
        "judge",
        "scratch_fakes.judge:Judge",
        config="scratch_fakes.config:ClimbConfig",
        summary="climb, with files of its own",
        provides=("reward-model",),
        defaults={"tokenizer": "letters", "model": "table", "task": "toy"},
    )

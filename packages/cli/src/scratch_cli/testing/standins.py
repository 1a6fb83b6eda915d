"""The stand-in parts as a plugin: one tiny part of each kind, so that a package can be tested alone.

It is no installed plugin; `standin_registry()` gives a registry that holds nothing else. With it, the whole command
can be tried without any other package: `main(["run", ...], registry=standin_registry())`.
"""

from __future__ import annotations

import importlib.metadata

import pluggy

from scratch_cli.registry import GROUP, Register, Registry, discover

hookimpl = pluggy.HookimplMarker("scratch")

DISTRIBUTION = "scratch-standins"
_CONFIG = "scratch_cli.testing.standin_config"


@hookimpl
def register_tokenizers(register: Register) -> None:
    register(
        "tiny",
        "scratch_cli.testing.standin_text:TinyTokenizer",
        config=f"{_CONFIG}:TinyTokenizerConfig",
        summary="bytes and three special ids",
        provides=("text", "eos", "lossless-unicode"),
    )


@hookimpl
def register_models(register: Register) -> None:
    register(
        "tiny-lm",
        "scratch_cli.testing.standin_model:TinyLM",
        config=f"{_CONFIG}:TinyLMConfig",
        summary="one block of causal attention",
        provides=("causal-lm", "linear-layers"),
    )
    register(
        "tiny-vectors",
        "scratch_cli.testing.standin_model:TinyVectors",
        config=f"{_CONFIG}:TinyVectorsConfig",
        summary="two tables of vectors",
        provides=("word-vectors",),
    )


@hookimpl
def register_samplers(register: Register) -> None:
    register(
        "tiny",
        "scratch_cli.testing.standin_parts:TinySampler",
        config=f"{_CONFIG}:TinySamplerConfig",
        summary="the model's own distribution",
        provides=("full-support",),
    )


@hookimpl
def register_trainers(register: Register) -> None:
    register(
        "tiny",
        "scratch_cli.testing.standin_trainer:TinyTrainer",
        config=f"{_CONFIG}:TinyTrainerConfig",
        summary="imitates the task's demonstrations",
        provides=("lm",),
        needs={"model": ["causal-lm"], "tokenizer": ["eos"], "task": ["checker"]},
        defaults={"tokenizer": "tiny", "model": "tiny-lm", "sampler": "tiny", "task": "tiny"},
        smoke={"steps": 2},
    )


@hookimpl
def register_adapters(register: Register) -> None:
    register(
        "tiny",
        "scratch_cli.testing.standin_parts:TinyAdapter",
        config=f"{_CONFIG}:TinyAdapterConfig",
        summary="a change of low rank to every linear layer",
        provides=("adapter",),
        needs={"model": ["linear-layers"]},
    )


@hookimpl
def register_tasks(register: Register) -> None:
    register(
        "tiny",
        "scratch_cli.testing.standin_text:TinyTask",
        config=f"{_CONFIG}:TinyTaskConfig",
        summary="three letters backwards",
        provides=("text", "checker", "pairs"),
    )


def standin_registry() -> Registry:
    """A registry of the stand-in parts alone."""
    return discover([importlib.metadata.EntryPoint(DISTRIBUTION, "scratch_cli.testing.standins", GROUP)])

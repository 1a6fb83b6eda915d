"""What this package offers to `scratch`. Imports only pluggy: torch and peft load when a part is first used."""

from __future__ import annotations

from typing import Any

import pluggy

hookimpl = pluggy.HookimplMarker("scratch")

_RL_NEEDS = {"model": ["causal-lm"], "tokenizer": ["eos"], "task": ["checker"], "sampler": ["full-support"]}
_PARTNERS = {"task": "sort", "sampler": "multinomial"}
# To its end, with a falling rate: a base that knows both orders well is what makes few numbers enough.
_LONG_IMITATION = {"trainer": "sft", "options": {"steps": 800, "min_lr_ratio": 0.0}}
_SMALL_GRPO = {"steps": 2, "prompts_per_step": 4, "group_size": 2, "warmup_steps": 0}


@hookimpl
def register_models(register: Any) -> None:
    register(
        "transformers",
        "papers_scratch.transformers_model:TransformersLM",
        config="papers_scratch.config.transformers_model:TransformersConfig",
        summary="any causal language model of the transformers library, saved or new",
        provides=("causal-lm", "linear-layers"),
        smoke={"n_layer": 1, "n_head": 2, "n_embd": 16, "max_length": 64},
    )


@hookimpl
def register_adapters(register: Any) -> None:
    register(
        "lora",
        "papers_scratch.lora:LoRA",
        config="papers_scratch.config.lora:LoRAConfig",
        summary="PEFT's LoRA around the linear layers of any model",
        provides=("adapter",),
        needs={"model": ["linear-layers"]},
        smoke={"r": 2},
    )
    register(
        "tinylora",
        "papers_scratch.tinylora:TinyLoRA",
        config="papers_scratch.config.frames:TinyLoRAConfig",
        summary="a few trained numbers, shared by layers, along fixed random directions (13 parameters)",
        provides=("adapter",),
        needs={"model": ["linear-layers"]},
        smoke={"r": 2, "u": 2},
    )
    register(
        "peft-tinylora",
        "papers_scratch.peft_tinylora:PeftTinyLoRA",
        config="papers_scratch.config.peft_tinylora:PeftTinyLoRAConfig",
        summary="PEFT's own TinyLoRA, to compare `tinylora` with",
        provides=("adapter",),
        needs={"model": ["linear-layers"]},
        smoke={"r": 2, "u": 2},
    )
    register(
        "lora-xs",
        "papers_scratch.lora_xs:LoRAXS",
        config="papers_scratch.config.frames:LoRAXSConfig",
        summary="r x r trained numbers a layer between its frozen singular directions",
        provides=("adapter",),
        needs={"model": ["linear-layers"]},
        smoke={"r": 2},
    )


@hookimpl
def register_trainers(register: Any) -> None:
    register(
        "sdpo",
        "papers_scratch.sdpo.trainer:SDPO",
        config="papers_scratch.config.sdpo:SDPOConfig",
        summary="self-distilled policy optimization: learn from the model itself, shown what succeeded",
        provides=("rl",),
        needs=_RL_NEEDS,
        defaults=_PARTNERS,
        smoke={  # with a threshold that a model which has learnt nothing reaches
            "steps": 2,
            "prompts_per_step": 4,
            "group_size": 2,
            "minibatches": 2,
            "warmup_steps": 0,
            "success_threshold": 0.0,
        },
        warm_start={"trainer": "hinted-sft", "options": {"stop_at": 0.4}},
    )
    register(
        "hinted-sft",
        "papers_scratch.sdpo.hints:HintedSFT",
        config="papers_scratch.config.sdpo:HintedSFTConfig",
        summary="supervised fine-tuning in which some prompts show their solution, as SDPO's teacher sees them",
        provides=("lm",),
        needs=_RL_NEEDS,
        defaults=_PARTNERS,
        smoke={"steps": 2, "batch_size": 8, "warmup_steps": 0},
    )
    register(
        "tinylora",
        "papers_scratch.recipes:TinyLoRAGRPO",
        config="papers_scratch.config.recipes:TinyLoRATrainerConfig",
        summary="reinforcement learning of a dozen numbers: GRPO through TinyLoRA, on a base that knows how",
        provides=("rl",),
        needs={**_RL_NEEDS, "adapter": ["adapter"]},
        defaults={**_PARTNERS, "adapter": "tinylora"},
        smoke=_SMALL_GRPO,
        warm_start=_LONG_IMITATION,
    )
    register(
        "lora",
        "papers_scratch.recipes:LoRAGRPO",
        config="papers_scratch.config.recipes:LoRATrainerConfig",
        summary="GRPO through PEFT's LoRA: what few numbers are compared with",
        provides=("rl",),
        needs={**_RL_NEEDS, "adapter": ["adapter"]},
        defaults={**_PARTNERS, "adapter": "lora"},
        smoke=_SMALL_GRPO,
        warm_start=_LONG_IMITATION,
    )


@hookimpl
def register_ablations(register: Any) -> None:
    register(
        "adapter-sweep",
        "papers_scratch.ablations:ADAPTERS",
        summary="how many numbers are enough on sort: 21 cells, by GRPO and by SFT, 3 seeds, one shared base a seed",
    )

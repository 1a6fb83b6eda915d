"""What this package offers to the host. Names and import strings only: nothing is imported before it is used."""

from __future__ import annotations

from typing import Any

import pluggy

hookimpl = pluggy.HookimplMarker("scratch")

_SMALL_TASK = {"n_train": 64, "n_held_out": 16}
_ON_POLICY: dict[str, Any] = {
    "provides": ("rl",),
    "needs": {"model": ["causal-lm"], "tokenizer": ["eos"], "task": ["checker"], "sampler": ["full-support"]},
    "defaults": {"task": "sort", "sampler": "multinomial"},
    "warm_start": {"trainer": "sft", "options": {"stop_at": 0.4}},
}
"""What all trainers state that learn from the marks of their own samples."""
_SMALL_GRPO = {"steps": 2, "prompts_per_step": 4, "group_size": 2, "warmup_steps": 0}


@hookimpl
def register_tasks(register: Any) -> None:
    register(
        "corpus",
        "align_scratch.tasks.corpus:Corpus",
        config="align_scratch.config.tasks:CorpusConfig",
        summary="English prose and verse, or a text file of yours (--data)",
        provides=("text",),
        smoke={"passage_chars": 200},
        data="path",
    )
    register(
        "sort",
        "align_scratch.tasks.sorting:Sort",
        config="align_scratch.config.tasks:SortConfig",
        summary="sort digits; most demonstrations show the order that the reward does not want",
        provides=("text", "checker"),
        smoke={"length": 3, **_SMALL_TASK},
    )
    register(
        "add",
        "align_scratch.tasks.addition:Add",
        config="align_scratch.config.tasks:AddConfig",
        summary="add two numbers digit by digit",
        provides=("text", "checker"),
        smoke={"digits": 1, **_SMALL_TASK},
    )
    register(
        "reverse",
        "align_scratch.tasks.reversal:Reverse",
        config="align_scratch.config.tasks:ReverseConfig",
        summary="write letters backwards",
        provides=("text", "checker"),
        smoke={"length": 3, **_SMALL_TASK},
    )
    register(
        "sub",
        "align_scratch.tasks.subtraction:Sub",
        config="align_scratch.config.drawn_tasks:SubConfig",
        summary="subtract two numbers digit by digit",
        provides=("text", "checker"),
        smoke={"digits": 1, **_SMALL_TASK},
    )
    register(
        "mul",
        "align_scratch.tasks.multiplication:Mul",
        config="align_scratch.config.drawn_tasks:MulConfig",
        summary="multiply two numbers digit by digit",
        provides=("text", "checker"),
        smoke={"digits": 1, **_SMALL_TASK},
    )
    register(
        "copy",
        "align_scratch.tasks.copying:Copy",
        config="align_scratch.config.drawn_tasks:CopyConfig",
        summary="write letters again",
        provides=("text", "checker"),
        smoke={"length": 3, **_SMALL_TASK},
    )
    register(
        "parity",
        "align_scratch.tasks.parity:Parity",
        config="align_scratch.config.drawn_tasks:ParityConfig",
        summary="say whether the ones are odd in number, with or without working",
        provides=("text", "checker"),
        smoke={"length": 6, **_SMALL_TASK},
    )
    register(
        "count-letters",
        "align_scratch.tasks.counting:CountLetters",
        config="align_scratch.config.drawn_tasks:CountLettersConfig",
        summary="count a letter in a word",
        provides=("text", "checker"),
        smoke={"length": 4, **_SMALL_TASK},
    )
    register(
        "brackets",
        "align_scratch.tasks.brackets:Brackets",
        config="align_scratch.config.drawn_tasks:BracketsConfig",
        summary="close the open brackets, last opened first",
        provides=("text", "checker"),
        smoke={"length": 4, **_SMALL_TASK},
    )
    register(
        "cipher",
        "align_scratch.tasks.cipher:Cipher",
        config="align_scratch.config.drawn_tasks:CipherConfig",
        summary="write letters in a key that only feedback or luck tells",
        provides=("text", "checker"),
        smoke={"length": 3, **_SMALL_TASK},
    )
    register(
        "countdown",
        "align_scratch.tasks.countdown:Countdown",
        config="align_scratch.config.drawn_tasks:CountdownConfig",
        summary="reach a target from numbers with + - * /; many answers are right",
        provides=("text", "checker"),
        smoke={"numbers": 2, **_SMALL_TASK},
    )
    register(
        "preferences",
        "align_scratch.tasks.preferences:Preferences",
        config="align_scratch.config.drawn_tasks:PreferencesConfig",
        summary="pairs of a right answer to a task and one with a stated flaw",
        provides=("text", "checker", "pairs"),
        smoke={"difficulty": 3, **_SMALL_TASK},
    )
    register(
        "instructions",
        "align_scratch.tasks.instructions:Instructions",
        config="align_scratch.config.data:InstructionsConfig",
        summary="eight kinds of instruction about letters and digits, put by a template",
        provides=("text", "checker"),
        smoke={"length": 2, "template": "plain", **_SMALL_TASK},
    )
    register(
        "file",
        "align_scratch.tasks.file:File",
        config="align_scratch.config.data:FileConfig",
        summary="a data file of yours (--data): texts, conversations, demonstrations, problems, pairs",
        provides=("text", "checker", "pairs"),
        smoke={"max_rows": 40},
        data="path",
    )
    register(
        "gsm8k",
        "align_scratch.tasks.gsm8k:GSM8K",
        config="align_scratch.config.data:GSM8KConfig",
        summary="grade-school word problems, from files (--data) or the Hugging Face hub",
        provides=("text", "checker"),
        smoke={"source": "sample", "n_train": 32, "n_held_out": 8},
        data="path",
    )
    register(
        "choice",
        "align_scratch.tasks.choice:Choice",
        config="align_scratch.config.choice:ChoiceConfig",
        summary="multiple choice: a file like MMLU's, ARC's or HellaSwag's (--data), or drawn questions",
        provides=("text", "checker"),
        smoke={"n_train": 64, "n_held_out": 16},
        data="path",
    )


@hookimpl
def register_trainers(register: Any) -> None:
    register(
        "sft",
        "align_scratch.sft:SFT",
        config="align_scratch.config.sft:SFTConfig",
        summary="supervised fine-tuning on a task's demonstrations",
        provides=("lm",),
        needs={
            "model": ["causal-lm"],
            "tokenizer": ["eos"],
            "task": ["checker"],
            "sampler": ["full-support"],
        },
        defaults={"task": "sort", "sampler": "multinomial"},
        smoke={"steps": 2, "batch_size": 8, "warmup_steps": 0},
    )
    register(
        "grpo",
        "align_scratch.grpo:GRPO",
        config="align_scratch.config.grpo:GRPOConfig",
        summary="group relative policy optimization against a task's checker",
        provides=("rl",),
        needs={
            "model": ["causal-lm"],
            "tokenizer": ["eos"],
            "task": ["checker"],
            "sampler": ["full-support"],
        },
        defaults={"task": "sort", "sampler": "multinomial"},
        smoke=_SMALL_GRPO,
        warm_start={"trainer": "sft", "options": {"stop_at": 0.4}},
    )
    register(
        "rloo",
        "align_scratch.rloo:RLOO",
        config="align_scratch.config.rloo:RLOOConfig",
        summary="REINFORCE leave-one-out: whole completions, the divergence in the reward",
        smoke=_SMALL_GRPO,
        **_ON_POLICY,
    )
    register(
        "reinforce",
        "align_scratch.reinforce:REINFORCE",
        config="align_scratch.config.reinforce:REINFORCEConfig",
        summary="the policy gradient itself, with or without a baseline",
        smoke=_SMALL_GRPO,
        **_ON_POLICY,
    )
    register(
        "dpo",
        "align_scratch.dpo:DPO",
        config="align_scratch.config.dpo:DPOConfig",
        summary="direct preference optimization and its relatives, from pairs or from the best and worst of samples",
        provides=("rl",),
        needs={"model": ["causal-lm"], "tokenizer": ["eos"], "task": ["checker"], "sampler": ["full-support"]},
        defaults={"task": "preferences", "sampler": "multinomial"},
        smoke={
            "steps": 2,
            "batch_size": 4,
            "warmup_steps": 0,
            "eval_pairs": 8,
            "prompts_per_sampling": 8,
            "group_size": 4,
        },
        warm_start={"trainer": "sft", "options": {"stop_at": 0.4}},
    )
    register(
        "reward",
        "align_scratch.reward:Reward",
        config="align_scratch.config.reward:RewardConfig",
        summary="a reward model from pairs of which one completion was preferred",
        provides=("reward-model",),
        needs={"model": ["causal-lm"], "tokenizer": ["eos"], "task": ["pairs"]},
        defaults={"task": "preferences"},
        smoke={
            "steps": 2,
            "batch_size": 4,
            "warmup_steps": 0,
            "reference_pairs": 8,
            "eval_pairs": 8,
            "encoder_layers": 1,
            "encoder_heads": 2,
            "encoder_embd": 16,
        },
    )
    register(
        "ppo",
        "align_scratch.ppo:PPO",
        config="align_scratch.config.ppo:PPOConfig",
        summary="proximal policy optimization with a value head, on a checker or a reward model",
        smoke={"steps": 2, "prompts_per_step": 8, "warmup_steps": 0},
        **_ON_POLICY,
    )
    register(
        "expert-iteration",
        "align_scratch.expert_iteration:ExpertIteration",
        config="align_scratch.config.expert_iteration:ExpertIterationConfig",
        summary="sample, keep what a task's checker finds correct, imitate it, repeat",
        smoke={
            "steps": 2,
            "prompts_per_step": 4,
            "group_size": 2,
            "min_reward": 0.0,
            "mask_truncated": False,
            "warmup_steps": 0,
        },
        **_ON_POLICY,
    )
    register(
        "best-of-n",
        "align_scratch.best_of_n:BestOfN",
        config="align_scratch.config.best_of_n:BestOfNConfig",
        summary="imitate the best of n samples, by a checker or a reward model",
        smoke={
            "steps": 2,
            "prompts_per_step": 4,
            "group_size": 2,
            "drop_zero_variance": False,
            "mask_truncated": False,
            "curve_prompts": 4,
            "warmup_steps": 0,
        },
        **_ON_POLICY,
    )


@hookimpl
def register_proofs(register: Any) -> None:
    register(
        "align",
        "align_scratch.proofs:run",
        summary="losses, gradients, advantages and fixed points against their definitions",
    )


@hookimpl
def register_ablations(register: Any) -> None:
    register(
        "grpo-ablations",
        "align_scratch.ablations:GRPO",
        summary="what of GRPO matters on sort: 23 cells, 3 seeds, one shared warm start a seed",
    )

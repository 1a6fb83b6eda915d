"""How fast is a GRPO step beside TRL's, and how much memory does it take? The same model, weights, prompts and reward.

    python benchmarks/grpo_trl.py                     # 64 rollouts of 32 tokens, Llama of 0.86 M parameters
    python benchmarks/grpo_trl.py --vocab-size 32000  # with the peak of memory, each trainer in a process of its own
    python benchmarks/grpo_trl.py --prompt-length 96  # instead of 7 tokens

Both train a transformers Llama (4 layers, width 128) from the same weights, with groups of 8 at temperature 1; no
completion can end before it has 32 tokens; one optimizer update a batch; fp32; the same number of threads. That the two
compute the same loss and gradient is what `tests/test_align_trl_grpo.py` of align-scratch is for.

TRL is measured twice. The fair row, to which the others are compared, turns off what costs TRL time and has no
counterpart here: gradient checkpointing. `TRL as it comes` leaves its own defaults: gradient checkpointing, which saves
memory and runs the forward pass twice, and bf16 autocast.

Trainers take turns, each in a process of its own. Medians over steps of CPU seconds (all threads) and their ratio are
printed, because on a shared machine nothing else means much; the fastest step by the clock is given for `--threads 2`.
The project's own model of that shape is measured beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

PROMPTS, GROUP, NEW = 8, 8, 32
WARM_UP = 2
TRAINERS = (
    ("ours", "ours, the same Llama"),
    ("gpt", "ours, gpt of that shape"),
    ("trl", "TRL, fp32, no checkpointing"),
    ("trl-defaults", "TRL as it comes"),
)


def llama(vocab_size: int, context: int) -> Any:
    import transformers

    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=vocab_size, hidden_size=128, intermediate_size=364, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=context, tie_word_embeddings=True, bos_token_id=None,
        eos_token_id=None, pad_token_id=None,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config)


def prompts(length: int) -> list[str]:
    """512 different ones of `length` characters, each of which is a token."""
    texts = [f"{i % 10} {i // 10 % 10} {i // 100 % 10} =" for i in range(512)]
    return [(text * (length // len(text) + 1))[-length:] for text in texts]


def reward(text: str) -> float:
    """Something that differs inside a group: the share of even characters."""
    return sum(ord(c) % 2 == 0 for c in text) / max(len(text), 1)


class Symbols:
    """Ids below 256 are characters; the end mark is an id beyond the model's, so that no completion ends early."""

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size, self.eos_id = vocab_size, vocab_size

    def encode_batch(self, texts: Sequence[str], /) -> list[list[int]]:
        return [[ord(c) for c in text] for text in texts]

    def decode_batch(self, rows: Any, /) -> list[str]:
        return ["".join(chr(32 + i % 90) for i in row) for row in rows]


class Ours:
    def __init__(self, model: Any, vocab_size: int, steps: int, prompt_length: int) -> None:
        from align_scratch.config.grpo import GRPOConfig
        from align_scratch.grpo import GRPO
        from align_scratch.tasks.problems import Example, Score
        from inference_scratch.config import MultinomialConfig
        from inference_scratch.samplers import Multinomial

        class Task:
            def examples(self, split: str) -> list[Example]:
                return [Example(prompt=prompt, answer="", demonstration="") for prompt in prompts(prompt_length)]

            def check(self, example: Example, completion: str) -> Score:
                value = reward(completion)
                return Score(reward=value, correct=False, parts={"even": value}, explanation="")

        config = GRPOConfig(
            steps=steps, prompts_per_step=PROMPTS, group_size=GROUP, max_new_tokens=NEW, minibatches=1, warmup_steps=0,
            lr=1e-5, min_lr_ratio=1.0, track_kl=0,
        )  # fmt: skip
        self.trainer = GRPO(
            config, model=model, tokenizer=Symbols(vocab_size), task=Task(), sampler=Multinomial(MultinomialConfig())
        )
        self.steps: Iterator[Any] = iter(self.trainer.train())

    def step(self) -> int:
        metrics = next(self.steps)
        assert metrics["completions/mean_length"] == NEW
        return PROMPTS * GROUP


def wrapped(vocab_size: int, context: int) -> Any:
    """The same transformers Llama behind the project's contract of models."""
    from papers_scratch.config.transformers_model import TransformersConfig
    from papers_scratch.transformers_model import TransformersLM

    with tempfile.TemporaryDirectory() as folder:
        llama(vocab_size, context).save_pretrained(folder)
        return TransformersLM(TransformersConfig(path=folder), vocab_size=vocab_size)


def own(vocab_size: int, context: int) -> Any:
    from gpt_scratch.config import GPTConfig
    from gpt_scratch.model import GPT

    torch.manual_seed(0)
    return GPT(GPTConfig(n_layer=4, n_head=4, n_embd=128, block_size=context), vocab_size=vocab_size)


class Theirs:
    """TRL's trainer, stepped from outside through a callback that hands over after each optimizer step."""

    def __init__(self, vocab_size: int, steps: int, prompt_length: int, *, defaults: bool) -> None:
        import datasets
        import tokenizers
        import transformers
        import trl

        vocabulary = {chr(i) if i < 256 else f"<{i}>": i for i in range(vocab_size + 1)}
        raw = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token=chr(63)))
        raw.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
        last = f"<{vocab_size}>"
        tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=raw, eos_token=last, pad_token=last)
        self.folder = tempfile.TemporaryDirectory()
        fair = {} if defaults else {"bf16": False, "gradient_checkpointing": False}
        config = trl.GRPOConfig(
            output_dir=self.folder.name, per_device_train_batch_size=PROMPTS * GROUP, num_generations=GROUP,
            max_completion_length=NEW, max_steps=steps, learning_rate=1e-5, beta=0.0, report_to=[], logging_steps=1000,
            save_strategy="no", use_cpu=True, disable_tqdm=True, **fair,
        )  # fmt: skip
        self.times: list[tuple[float, float]] = []
        times = self.times

        class Clock(transformers.TrainerCallback):
            def on_step_end(self, *args: Any, **options: Any) -> None:
                times.append(now())

        self.trainer = trl.GRPOTrainer(
            model=llama(vocab_size, prompt_length + NEW), args=config, processing_class=tokenizer,
            reward_funcs=lambda completions, **columns: [reward(text) for text in completions],
            train_dataset=datasets.Dataset.from_list([{"prompt": prompt} for prompt in prompts(prompt_length)]),
            callbacks=[Clock()],
        )  # fmt: skip

    def seconds(self) -> list[tuple[float, float]]:
        """Of each step but the first, as `now` counts."""
        self.trainer.train()
        return [(b[0] - a[0], b[1] - a[1]) for a, b in zip(self.times, self.times[1:], strict=False)]


def now() -> tuple[float, float]:
    """Seconds: of the process on all cores, and by the clock."""
    return time.process_time(), time.perf_counter()


def measure(what: str, vocab_size: int, steps: int, prompt_length: int) -> dict[str, Any]:
    """In a process of its own: CPU seconds of each step, and the peak of memory above what stood before the first."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(int(os.environ.get("THREADS", "1")))
    if what.startswith("trl"):
        theirs = Theirs(vocab_size, steps + WARM_UP + 1, prompt_length, defaults=what == "trl-defaults")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        seconds = theirs.seconds()[WARM_UP:]
    else:
        make = own if what == "gpt" else wrapped
        ours = Ours(make(vocab_size, prompt_length + NEW), vocab_size, steps + WARM_UP, prompt_length)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        seconds = timed(ours.step, steps)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": seconds, "before": before, "peak": peak}


def timed(step: Callable[[], int], steps: int) -> list[tuple[float, float]]:
    found = []
    for number in range(steps + WARM_UP):
        started = now()
        step()
        if number >= WARM_UP:
            found.append((now()[0] - started[0], now()[1] - started[1]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocab-size", type=int, default=300)
    parser.add_argument("--prompt-length", type=int, default=7, help="tokens")
    parser.add_argument("--steps", type=int, default=20, help="steps a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--measure", choices=[name for name, _ in TRAINERS], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure, args.vocab_size, args.steps, args.prompt_length)))
        return
    size = sum(p.numel() for p in llama(args.vocab_size, args.prompt_length + NEW).parameters())
    print(f"Llama of {size / 1e6:.2f} M parameters, vocabulary {args.vocab_size}: {PROMPTS * GROUP} rollouts of {NEW}")
    results: dict[str, list[dict[str, Any]]] = {name: [] for name, _ in TRAINERS}
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads), "THREADS": str(args.threads)}
    for _ in range(args.rounds):
        for what, found in results.items():
            command = [sys.executable, __file__, "--measure", what, "--vocab-size", str(args.vocab_size)]
            command += ["--steps", str(args.steps), "--prompt-length", str(args.prompt_length)]
            done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
            if done.returncode:
                sys.exit(done.stderr)
            found.append(json.loads(done.stdout.splitlines()[-1]))
    print(
        "\n| trainer | rollouts per CPU second, median | against TRL | by the clock, best | peak MB above the start |"
    )
    print("|---|---|---|---|---|")
    theirs = statistics.median(PROMPTS * GROUP / cpu for r in results["trl"] for cpu, _ in r["seconds"])
    for name, title in TRAINERS:
        steps = [seconds for r in results[name] for seconds in r["seconds"]]
        rate = statistics.median(PROMPTS * GROUP / cpu for cpu, _ in steps)
        best = PROMPTS * GROUP / min(clock for _, clock in steps)
        memory = statistics.median((r["peak"] - r["before"]) / 1024 for r in results[name])
        print(f"| {title} | {rate:.0f} | {rate / theirs:.2f}x | {best:.0f} | {memory:.0f} |")


if __name__ == "__main__":
    main()

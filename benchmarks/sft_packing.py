"""How much of a step of SFT is padding, and what does packing save?

    python benchmarks/sft_packing.py --data ../shared/data --seeds 1 2 3

Two kinds of data: GSM8K (solutions of 20 to 300 tokens) and toy instructions (rows that are nearly equal). For each,
the same batches with packing `none`, `buckets` and `shared_rows` on the same model: share of padding among positions,
CPU seconds of one thread a step (the median step; on a busy machine neighbours change CPU seconds least), and how far
the first gradient is from the other's. Prints a Markdown table.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from align_scratch.config.data import GSM8KConfig, InstructionsConfig
from align_scratch.config.sft import SFTConfig
from align_scratch.sft import SFT
from align_scratch.tasks.gsm8k import GSM8K
from align_scratch.tasks.instructions import Instructions
from gpt_scratch.config import GPTConfig
from gpt_scratch.model import GPT
from tokenizers_scratch.bpe import BPETokenizer
from tokenizers_scratch.config import BPEConfig

STEPS = 6


def one(task: Any, tokenizer: Any, seed: int, packing: str) -> tuple[float, float, torch.Tensor]:
    """Padding and CPU seconds of the median step, and the first step's gradient up to a factor."""
    torch.manual_seed(seed)
    model = GPT(GPTConfig(block_size=512, dropout=0.0), vocab_size=tokenizer.vocab_size)
    config = SFTConfig(
        steps=STEPS, batch_size=32, packing=packing, too_long="skip", max_new_tokens=64, grad_clip=None, lr=1e-3
    )  # type: ignore[arg-type]
    trainer = SFT(config, model=model, tokenizer=tokenizer, task=task, sampler=None, seed=seed)
    padding, seconds = [], []
    gradient = torch.empty(0)
    started = time.process_time()
    for metrics in trainer.train():
        seconds.append(time.process_time() - started)
        padding.append(float(metrics["padding"] or 0.0))
        if metrics["step"] == 1:
            moments = trainer.state_dict()["optimizer"].values()
            gradient = torch.cat([moment["exp_avg"].flatten() for moment in moments])
        started = time.process_time()
    return statistics.median(padding), statistics.median(seconds[1:]), gradient


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="directory of gsm8k_train.jsonl and gsm8k_test.jsonl")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    tasks = {
        "gsm8k": GSM8K(GSM8KConfig(path=str(arguments.data), n_train=1000, n_held_out=50)),
        "instructions": Instructions(InstructionsConfig(n_train=1000, n_held_out=50)),
    }
    print("| data | seed | packing | padding | ms a step | as quick as none | gradient differs by |")
    print("|---|---|---|---|---|---|---|")
    for name, task in tasks.items():
        tokenizer = BPETokenizer.train(task.texts("train"), BPEConfig(vocab_size=1000))
        for seed in arguments.seeds:
            found = {packing: one(task, tokenizer, seed, packing) for packing in ("none", "buckets", "shared_rows")}
            _, slow, gradient = found["none"]
            for packing, (padding, seconds, same) in found.items():
                apart = float((gradient - same).norm() / gradient.norm())
                row = [name, seed, packing, f"{padding:.1%}", f"{1e3 * seconds:.0f}"]
                print("|", " | ".join(map(str, [*row, f"{slow / seconds:.2f}", f"{apart:.0e}"])), "|", flush=True)


if __name__ == "__main__":
    main()

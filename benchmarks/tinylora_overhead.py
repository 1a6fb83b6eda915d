"""What does a training step through our TinyLoRA cost against PEFT's, and what does a merged model cost?

    python benchmarks/tinylora_overhead.py --sizes small medium --rounds 15

The same new transformers model (Llama, seed 0), the same frames, projections and numbers in both adapters: the outputs
and the gradients of v are first asserted to be equal. Then rounds of one step each (forward, backward, AdamW), ours,
PEFT's and, as a floor, the frozen model's own forward and backward with no adapter at all, one after the other and in
turns that change, so that a busy machine is busy for all. Prints medians of the rounds' CPU seconds (the process's own,
which neighbours change least; wall seconds on a GPU, between synchronisations) and the median of their ratios, and the
peak of memory within a step above its start (torch's own count on a GPU, from the profiler's allocations on a CPU).
Last, forward passes of the merged model against the model that never had an adapter.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import peft
import torch
import transformers
from torch.profiler import ProfilerActivity, profile

from papers_scratch.config.frames import TinyLoRAConfig
from papers_scratch.tinylora import TinyLoRA

SIZES = {  # hidden, inner, layers, heads, tokens in a row
    "tiny": (64, 256, 4, 4, 32),
    "small": (256, 768, 4, 4, 128),
    "medium": (512, 1536, 6, 8, 256),
    "large": (1024, 3072, 12, 16, 512),
}


def base(size: str, device: str, dtype: torch.dtype) -> Any:
    hidden, inner, layers, heads, _ = SIZES[size]
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=1024,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        attn_implementation="sdpa",
    )
    return transformers.LlamaForCausalLM(config).to(device, dtype)


def pair(model: Any, r: int, u: int, weight_tying: float) -> tuple[Any, Any, list[Any], list[Any], TinyLoRA]:
    """The model with our adapter, with PEFT's, and the trained numbers of each, equal and not zero."""
    options = TinyLoRAConfig(r=r, u=u, tying="peft", weight_tying=weight_tying, sigma="sqrt")
    ours, adapter = copy.deepcopy(model), TinyLoRA(options)
    adapter.wrap(ours)
    config = peft.TinyLoraConfig(r=r, u=u, weight_tying=weight_tying, target_modules="all-linear")
    theirs = peft.get_peft_model(copy.deepcopy(model), config)
    numbers = list(theirs.base_model.tinylora_v["default"].values())
    with torch.no_grad():
        for name, layer in adapter.layers.items():
            twin = theirs.base_model.model.get_submodule(name)
            for part in ("A", "B", "P"):
                getattr(twin, f"tinylora_{part}")["default"].copy_(getattr(layer, part))
        for group, (v, w) in enumerate(zip(adapter.v, numbers, strict=True)):
            v.copy_(0.01 * torch.randn(u, generator=torch.Generator().manual_seed(group)))
            w.copy_(v)
    return ours, theirs, adapter.v, numbers, adapter


def stepper(model: Any, numbers: list[Any], ids: torch.Tensor) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(numbers, lr=1e-3, weight_decay=0.0)

    def step() -> None:
        optimizer.zero_grad()
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        optimizer.step()

    return step


def floor(model: Any, ids: torch.Tensor) -> Callable[[], None]:
    """Forward, and backward to the embeddings: what any adapter has to pay."""
    frozen = copy.deepcopy(model).requires_grad_(False)
    frozen.enable_input_require_grads()

    def step() -> None:
        frozen(input_ids=ids, labels=ids, use_cache=False).loss.backward()

    return step


def seconds(run: Callable[[], None], device: str) -> float:
    if device == "cpu":
        started = time.process_time()
        run()
        return time.process_time() - started
    torch.cuda.synchronize()
    started = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def in_turns(runs: list[Callable[[], None]], rounds: int, device: str) -> list[list[float]]:
    """Seconds of each run in each round; who goes first changes."""
    for run in runs:
        run()
        run()
    found: list[list[float]] = [[] for _ in runs]
    for number in range(rounds):
        order = list(range(len(runs)))
        for i in order if number % 2 == 0 else order[::-1]:
            found[i].append(seconds(runs[i], device))
    return found


def peak_bytes(run: Callable[[], None], device: str) -> int:
    """The most memory in a step above its start."""
    if device != "cpu":
        torch.cuda.synchronize()
        start = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - start
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        run()
    level = peak = 0
    for event in record.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            level += event.nbytes()
            peak = max(peak, level)
    return peak


def assert_equal(ours: Any, theirs: Any, v: list[Any], w: list[Any], ids: torch.Tensor) -> None:
    tolerance = 1e-4 if next(ours.parameters()).dtype == torch.float32 else 5e-2
    results = [model(input_ids=ids, labels=ids, use_cache=False) for model in (ours, theirs)]
    torch.testing.assert_close(results[0].logits, results[1].logits, rtol=tolerance, atol=tolerance)
    for result in results:
        result.loss.backward()
    for own, their in zip(v, w, strict=True):
        torch.testing.assert_close(
            own.grad, their.grad, rtol=tolerance, atol=10 * tolerance * float(their.grad.abs().max())
        )


def median_ratio(ours: list[float], theirs: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["tiny", "small", "medium"])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--r", type=int, default=2)
    parser.add_argument("--u", type=int, default=4)
    parser.add_argument("--weight-tying", type=float, default=0.0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    device, dtype = arguments.device, getattr(torch, arguments.dtype)
    print(
        "| model | ms a step: ours | PEFT | no adapter | ours / PEFT | MB: ours | PEFT | ours / PEFT | merged / plain |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for size in arguments.sizes:
        model = base(size, device, dtype)
        ids = torch.randint(1024, (arguments.rows, SIZES[size][4]), generator=torch.Generator().manual_seed(1)).to(
            device
        )
        ours, theirs, v, w, adapter = pair(model, arguments.r, arguments.u, arguments.weight_tying)
        assert_equal(ours, theirs, v, w, ids)
        steps = [stepper(ours, v, ids), stepper(theirs, w, ids)]
        own, their, bare = in_turns([*steps, floor(model, ids)], arguments.rounds, device)
        memory = [peak_bytes(step, device) for step in steps]

        adapter.merge()
        plain = copy.deepcopy(model).requires_grad_(False)

        def forward(wanted: Any, ids: torch.Tensor = ids) -> Callable[[], None]:
            def run() -> None:
                with torch.no_grad():
                    wanted(input_ids=ids, use_cache=False)

            return run

        merged, untouched = in_turns([forward(ours), forward(plain)], arguments.rounds, device)
        cells = [
            f"{size}, {sum(p.numel() for p in model.parameters()):,} numbers",
            f"{1e3 * statistics.median(own):.1f}",
            f"{1e3 * statistics.median(their):.1f}",
            f"{1e3 * statistics.median(bare):.1f}",
            f"{median_ratio(own, their):.2f}",
            *(f"{part / 2**20:.1f}" for part in memory),
            f"{memory[0] / memory[1]:.2f}",
            f"{median_ratio(merged, untouched):.2f}",
        ]
        print("|", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()

"""Byte-level BPE side by side with tiktoken, rustbpe and gigatoken: same ids first, then ratios.

    python benchmarks/tokenizers_bpe.py [encode] [short] [growth] [train] [process] [memory]

Texts and GPT-2's vocabulary are read from ../shared/data. Runs of all sides alternate; ratios are those of medians.
What one thread does is measured in processor time, which other programs on the machine disturb least; what several
threads or a whole process do, in time on the wall. Needs tiktoken and rustbpe; gigatoken is compared if it is there.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ["TOKENIZERS_SCRATCH_KERNELS"] = "always"

import numpy as np
import tiktoken

from tokenizers_scratch.bpe import BPETokenizer
from tokenizers_scratch.byte_alphabet import to_stand_ins
from tokenizers_scratch.patterns import PATTERNS

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
ENGLISH = ("war-and-peace.txt", "moby-dick.txt", "tinyshakespeare.txt", "wikitext2-valid.txt")
CORPUS = (*ENGLISH, "gsm8k_train.jsonl", "gsm8k_test.jsonl", "names.txt", "japanese-novel.txt")
GPT4 = PATTERNS["gpt4"].split.__self__.pattern  # type: ignore[attr-defined]
GPT2 = PATTERNS["gpt2"].split.__self__.pattern  # type: ignore[attr-defined]
RUNS = 7


def read(*names: str) -> str:
    return "".join((DATA / name).read_bytes().decode("utf-8") for name in names)


def medians(
    *jobs: Callable[[], object], clock: Callable[[], float], runs: int = RUNS, settle: bool = True
) -> list[float]:
    """The median time of each job; the jobs take turns, and in each turn the second of two runs counts.

    The first lets the processor's caches forget the job before. `settle` False: there is only one run.
    """
    times: list[list[float]] = [[] for _ in jobs]
    for _ in range(runs):
        for job, taken in zip(jobs, times, strict=True):
            if settle:
                job()
            start = clock()
            job()
            taken.append(clock() - start)
    return [statistics.median(taken) for taken in times]


def row(work: str, ours: float, theirs: float, must: str, unit: str = "s", amount: float = 0.0) -> None:
    """A line of the table; `ours` and `theirs` in seconds, shown as amount per second if there is an amount."""
    a, b = (amount / ours, amount / theirs) if amount else (ours, theirs)
    print(f"| {work} | {a:.4g} {unit} | {b:.4g} {unit} | {theirs / ours:.2f}x | {must} |", flush=True)


def gpt2() -> tuple[BPETokenizer, tiktoken.Encoding]:
    tokenizer = BPETokenizer.from_files(DATA / "gpt2_vocab.json", DATA / "gpt2_merges.txt", eos_token="<|endoftext|>")
    special = dict(tokenizer.special_tokens)
    ranks = {token: i for i, token in tokenizer.vocab.items() if i not in special.values()}
    return tokenizer, tiktoken.Encoding("gpt2", pat_str=GPT2, mergeable_ranks=ranks, special_tokens=special)


def forget(tokenizer: BPETokenizer) -> None:
    """Empty the table of words, as if the tokenizer were new."""
    encoder = tokenizer._kernels._encoder
    assert encoder is not None
    encoder._idle.clear()


def encode() -> None:
    tokenizer, oracle = gpt2()
    for name, texts, must_fresh, must_warm in (
        ("English", ENGLISH, "4x", "7x"),
        ("Japanese", ("japanese-novel.txt",), "1.2x", "-"),
        ("GSM8K", ("gsm8k_train.jsonl",), "-", "-"),
    ):
        text = read(*texts)
        megabytes = len(text.encode()) / 1e6
        expected = oracle.encode_to_numpy(text, disallowed_special=())
        assert np.array_equal(tokenizer.encode_to_numpy(text), expected)
        forget(tokenizer)

        def fresh(text: str = text) -> None:
            forget(tokenizer)
            tokenizer.encode_to_numpy(text)

        cold, warm, to_list, theirs, their_list = medians(
            fresh,
            lambda text=text: tokenizer.encode_to_numpy(text),
            lambda text=text: tokenizer.encode(text),
            lambda text=text: oracle.encode_to_numpy(text, disallowed_special=()),
            lambda text=text: oracle.encode_ordinary(text),
            clock=time.process_time,
        )
        row(f"{name}, {megabytes:.1f} MB, one thread, fresh", cold, theirs, must_fresh, "MB/s", megabytes)
        row(f"{name}, one thread, warm", warm, theirs, must_warm, "MB/s", megabytes)
        row(f"{name}, one thread, warm, list out", to_list, their_list, "-", "MB/s", megabytes)
    text = read(*ENGLISH)
    megabytes = len(text.encode()) / 1e6
    parts = [text[i : i + 2**18] for i in range(0, len(text), 2**18)]
    assert tokenizer.encode_batch(parts, threads=2) == oracle.encode_ordinary_batch(parts, num_threads=2)
    assert np.array_equal(tokenizer.encode_to_numpy(text, threads=2), tokenizer.encode_to_numpy(text))
    two, two_lists, theirs = medians(
        lambda: tokenizer.encode_to_numpy(text, threads=2),
        lambda: tokenizer.encode_batch(parts, threads=2),
        lambda: oracle.encode_ordinary_batch(parts, num_threads=2),
        clock=time.perf_counter,
    )
    row("English, two threads, warm", two, theirs, "6x", "MB/s", megabytes)
    row("English, two threads, warm, lists out", two_lists, theirs, "-", "MB/s", megabytes)
    against_gigatoken(tokenizer, text)


def hf_twin(tokenizer: BPETokenizer) -> object:
    from tokenizers import Tokenizer, models, pre_tokenizers

    special = set(tokenizer.special_tokens.values())
    vocab = {to_stand_ins(token): i for i, token in tokenizer.vocab.items() if i not in special}
    merges = [(to_stand_ins(left), to_stand_ins(right)) for left, right in tokenizer.merges]
    twin = Tokenizer(models.BPE(vocab, merges))
    twin.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return twin


def against_gigatoken(tokenizer: BPETokenizer, text: str) -> None:
    try:
        from gigatoken import Tokenizer
    except ImportError:
        print("gigatoken is not installed")
        return
    peer = Tokenizer(hf_twin(tokenizer))
    assert np.array_equal(peer.encode(text), tokenizer.encode_to_numpy(text))
    ours, theirs = medians(lambda: tokenizer.encode_to_numpy(text), lambda: peer.encode(text), clock=time.process_time)
    megabytes = len(text.encode()) / 1e6
    row("English, one thread, warm, against gigatoken", ours, theirs, "level", "MB/s", megabytes)


def short() -> None:
    tokenizer, oracle = gpt2()
    text = read("war-and-peace.txt")
    rng = random.Random(0)
    strings = [text[i : i + 30] for i in (rng.randrange(len(text) - 30) for _ in range(10_000))]
    assert list(map(tokenizer.encode, strings)) == list(map(oracle.encode_ordinary, strings))
    ours, theirs = medians(
        lambda: list(map(tokenizer.encode, strings)),
        lambda: list(map(oracle.encode_ordinary, strings)),
        clock=time.process_time,
    )
    row("a string of 30 characters, 10,000 of them in turn", ours / 1e-2, theirs / 1e-2, "0.5x", "us")
    one = strings[0]
    ours, theirs = medians(
        lambda: [tokenizer.encode(one) for _ in range(10_000)],
        lambda: [oracle.encode_ordinary(one) for _ in range(10_000)],
        clock=time.process_time,
    )
    row("the same string of 30 characters again and again", ours / 1e-2, theirs / 1e-2, "0.5x", "us")


def growth() -> None:
    tokenizer, _ = gpt2()
    letters = random.Random(0).choices("abcdefghijklmnopqrstuvwxyz", k=200_000)
    for name, text in (
        ("a", "a" * 200_000),
        ("spaces", " " * 200_000),
        ("newlines", "\n" * 200_000),
        ("emoji", "👩\u200d👧" * 66_667),
        ("random letters", "".join(letters)),
    ):

        def whole(text: str = text) -> None:
            tokenizer.encode_to_numpy(text[:200_000])

        def part(text: str = text) -> None:
            tokenizer.encode_to_numpy(text[:25_000])

        large, small = medians(whole, part, clock=time.process_time, runs=15)
        print(f"| growth, {name}: t(200k) / t(25k) | {large / small:.1f} ({large * 1e3:.1f} ms) | | | at most 12 |")


def train() -> None:
    import rustbpe

    from tokenizers_scratch.kernels.trainer import Trainer, prepare

    prepare()
    text = read(*CORPUS)

    def ours(threads: int) -> list[bytes]:
        trainer = Trainer("gpt4", threads)
        trainer.count([text])
        return trainer.learn(
            n_tokens=32_000, min_frequency=1, max_token_length=None, byte_order=range(256), ties="ids"
        )[0]

    def theirs() -> list[bytes]:
        trainer = rustbpe.Tokenizer()
        trainer.train_from_iterator(iter([text]), 32_000, pattern=GPT4)
        return [bytes(token) for token, _ in trainer.get_mergeable_ranks()]

    assert ours(1) == ours(2) == theirs()
    one, two, rust = medians(lambda: ours(1), lambda: ours(2), theirs, clock=time.perf_counter, runs=5)
    megabytes = len(text.encode()) / 1e6
    row(f"training 32,000 on {megabytes:.1f} MB, all different, one thread", one, rust, "2x")
    row("the same, two threads", two, rust, "2x")


OUR_PROCESS = """
import sys
from pathlib import Path
from tokenizers_scratch.bpe import BPETokenizer
from tokenizers_scratch.config import BPEConfig
text = "".join(Path(name).read_bytes().decode("utf-8") for name in sys.argv[1:])
tokenizer = BPETokenizer.train([text], BPEConfig(vocab_size=32_000, pattern="gpt4", min_frequency=1))
print(tokenizer.vocab_size)
"""
THEIR_PROCESS = f"""
import sys
from pathlib import Path
import rustbpe
text = "".join(Path(name).read_bytes().decode("utf-8") for name in sys.argv[1:])
tokenizer = rustbpe.Tokenizer()
tokenizer.train_from_iterator(iter([text]), 32_000, pattern={GPT4!r})
print(len(tokenizer.get_mergeable_ranks()))
"""


def process() -> None:
    files = [str(DATA / name) for name in CORPUS]
    environment = {key: value for key, value in os.environ.items() if key != "TOKENIZERS_SCRATCH_KERNELS"}

    def run(code: str) -> None:
        done = subprocess.run([sys.executable, "-c", code, *files], capture_output=True, env=environment, check=True)
        assert done.stdout == b"32000\n", done.stdout

    run(OUR_PROCESS)
    ours, theirs = medians(
        lambda: run(OUR_PROCESS), lambda: run(THEIR_PROCESS), clock=time.perf_counter, runs=5, settle=False
    )
    row("training as a whole process, machine code on disk", ours, theirs, "0.67x")


MEMORY_PROCESS = """
import json, resource, sys
from pathlib import Path
from tokenizers_scratch.bpe import BPETokenizer
from tokenizers_scratch.config import BPEConfig
def lines(times, names):
    for _ in range(times):
        for name in names:
            with Path(name).open(encoding="utf-8", newline="") as file:
                yield from file
BPETokenizer.train(lines(int(sys.argv[1]), sys.argv[2:]), BPEConfig(vocab_size=32_000))
print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
"""


def memory() -> None:
    files = [str(DATA / name) for name in CORPUS]
    peaks = []
    for times in (1, 10):
        command = [sys.executable, "-c", MEMORY_PROCESS, str(times), *files]
        peaks.append(json.loads(subprocess.run(command, capture_output=True, check=True).stdout) / 1024)
    print(f"| peak memory, the corpus ten times over | {peaks[1]:.0f} MB | {peaks[0]:.0f} MB once "
          f"| {peaks[1] / peaks[0]:.2f} times | below 1.5 |")  # fmt: skip


PARTS = {f.__name__: f for f in (encode, short, growth, train, process, memory)}


def main() -> None:
    print("| work | here | peer | ratio | must |\n|---|---|---|---|---|")
    for name in sys.argv[1:] or PARTS:
        PARTS[name]()


if __name__ == "__main__":
    main()

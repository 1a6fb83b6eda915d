"""Training WordPiece, Unigram and sentencepiece's BPE side by side with HF tokenizers and sentencepiece.

    python benchmarks/tokenizers_subword.py [wordpiece] [bpe] [unigram] [memory]

Texts are read from ../shared/data. Both sides train 8,000 entries on the same text, from a file as each does it best,
in turns, with the kernels loaded: the median of the runs on the wall, and that of the processor time of all threads,
which other programs on the machine disturb least. Threads are as each has them by default: sentencepiece starts 16, HF
one a core; here one thread counts words for sentencepiece while one reads, all else is one. Printed next to the ratio:
into how many tokens each cuts the text, and for Unigram what each says of the most probable segmentations in nats (the
higher the better). `memory` is the peak of a process that trains on the text once, ten times over, and ten times over
with so many new words in each round that there are twice as many different ones in the end; the text comes as a stream.
Needs tokenizers and sentencepiece.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["TOKENIZERS_SCRATCH_KERNELS"] = "always"

import sentencepiece as spm
import tokenizers

from tokenizers_scratch.bert import BertText
from tokenizers_scratch.config_subword import BERT_TOKENS, SentencePieceConfig, WordPieceConfig
from tokenizers_scratch.sentencepiece import SentencePieceTokenizer
from tokenizers_scratch.subword_kernels import kernels
from tokenizers_scratch.wordpiece import WordPieceTokenizer

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
NAMES = (
    *("moby-dick.txt", "war-and-peace.txt", "wikitext2-valid.txt", "tinyshakespeare.txt"),
    *("gsm8k_train.jsonl", "gsm8k_test.jsonl", "names.txt", "japanese-novel.txt"),
)
SIZE = 8000
RUNS = 3


def corpus() -> list[str]:
    """Lines. <unk> is a word of one text and a special token of sentencepiece, which would not learn from it."""
    text = "\n".join((DATA / name).read_text(encoding="utf-8") for name in NAMES)
    return text.replace("<unk>", "unk").split("\n")


def in_turns(*jobs: Callable[[], object]) -> list[tuple[float, float]]:
    """The median time of each job on the wall, and that of the processors, all threads together."""
    times: list[list[tuple[float, float]]] = [[] for _ in jobs]
    for _ in range(RUNS):
        for job, taken in zip(jobs, times, strict=True):
            start, worked = time.perf_counter(), time.process_time()
            job()
            taken.append((time.perf_counter() - start, time.process_time() - worked))
    return [(statistics.median(t for t, _ in taken), statistics.median(t for _, t in taken)) for taken in times]


def row(work: str, ours: tuple[float, float], theirs: tuple[float, float], quality: str) -> None:
    cells = [f"{a:.2f} s | {b:.2f} s | {b / a:.2f}x" for a, b in zip(ours, theirs, strict=True)]
    print(f"| {work} | {' | '.join(cells)} | {quality} |", flush=True)


def wordpiece(lines: list[str], path: Path) -> None:
    def train_theirs() -> tokenizers.Tokenizer:
        made = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
        made.normalizer = tokenizers.normalizers.BertNormalizer()
        made.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
        made.train(
            [str(path)],
            tokenizers.trainers.WordPieceTrainer(
                vocab_size=SIZE, special_tokens=list(BERT_TOKENS.values()), limit_alphabet=1000, show_progress=False
            ),
        )
        return made

    def train_ours() -> WordPieceTokenizer:
        with path.open(encoding="utf-8") as file:
            return WordPieceTokenizer.train(file, WordPieceConfig(vocab_size=SIZE))

    ours, theirs = in_turns(train_ours, train_theirs)
    mine, other = train_ours(), train_theirs()
    vocab = sorted(other.get_vocab(), key=other.get_vocab().__getitem__)
    imported = WordPieceTokenizer(vocab, text=BertText())  # its ids are those of HF, and come faster
    sample = lines[:40_000]
    assert imported.encode(sample[100]) == other.encode(sample[100], add_special_tokens=False).ids
    counts = [sum(map(len, tokenizer.encode_batch(lines))) for tokenizer in (mine, imported)]
    row("WordPiece, against HF", ours, theirs, f"{counts[0]:,} tokens against {counts[1]:,}")


def sentencepiece(model: str, lines: list[str], path: Path) -> None:
    prefix = str(path.with_suffix(f".{model}"))

    def train_theirs() -> None:
        spm.SentencePieceTrainer.train(
            input=str(path),
            model_prefix=prefix,
            vocab_size=SIZE,
            model_type=model,
            character_coverage=0.9995,
            normalization_rule_name="identity",
            max_sentence_length=10**6,
            minloglevel=2,
        )

    config = SentencePieceConfig(
        model=model,  # type: ignore[arg-type]
        vocab_size=SIZE + 1,  # they have three special tokens, we have four
        byte_fallback=False,
        remove_extra_whitespaces=True,
        min_frequency=1,
    )

    def train_ours() -> SentencePieceTokenizer:
        with path.open(encoding="utf-8", newline="\n") as file:
            return SentencePieceTokenizer.train((line.rstrip("\n") for line in file), config)

    ours, theirs = in_turns(train_ours, train_theirs)
    mine = train_ours()
    other = spm.SentencePieceProcessor(model_file=f"{prefix}.model")
    pieces = {i: (other.id_to_piece(i), other.get_score(i)) for i in range(3, SIZE)}
    counts = sum(map(len, mine.encode_batch(lines))), sum(map(len, other.encode(lines)))
    quality = f"{counts[0]:,} tokens against {counts[1]:,}"
    if model == "bpe":
        same = [text for text, _ in mine.pieces.values()] == [text for text, _ in pieces.values()]
        quality += f"; the same pieces in the same order: {'yes' if same else 'no'}"
    else:
        nats = [
            sum(score[i] for row in rows for i in row if i in score)
            for rows, score in (
                (mine.encode_batch(lines), {i: score for i, (_, score) in mine.pieces.items()}),
                (other.encode(lines), {i: score for i, (_, score) in pieces.items()}),
            )
        ]
        quality += f"; {nats[0] / 1e6:.3f} against {nats[1] / 1e6:.3f} million nats"
    row(f"sentencepiece {model}, against sentencepiece", ours, theirs, quality)


MEMORY_PROCESS = """
import sys
from tokenizers_scratch.config_subword import SentencePieceConfig, UnigramConfig, WordPieceConfig
from tokenizers_scratch.sentencepiece import SentencePieceTokenizer
from tokenizers_scratch.unigram import UnigramTokenizer
from tokenizers_scratch.wordpiece import WordPieceTokenizer

path, name, times, new_words = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "new"

def lines():
    for time in range(times):
        with open(path, encoding="utf-8", newline="\\n") as file:
            for number, line in enumerate(file):
                line = line.rstrip("\\n")
                if new_words and number % 20 == 0:
                    line = line[::-1].replace("e", chr(97 + time)).replace("a", chr(98 + time))
                yield line

size = int(sys.argv[5])
cls, config = {
    "wordpiece": (WordPieceTokenizer, WordPieceConfig(vocab_size=size)),
    "unigram": (UnigramTokenizer, UnigramConfig(vocab_size=size)),
    "sentencepiece bpe": (SentencePieceTokenizer, SentencePieceConfig(model="bpe", vocab_size=size)),
    "sentencepiece unigram": (SentencePieceTokenizer, SentencePieceConfig(model="unigram", vocab_size=size)),
}[name]
cls.train(lines(), config)
with open("/proc/self/status") as status:  # of this process alone, as getrusage does not have it after a fork
    print(next(line for line in status if line.startswith("VmHWM")).split()[1])
"""


def memory(path: Path) -> None:
    print("\n| peak memory of training | the text once | ten times over | with twice the words |\n|---|---|---|---|")
    for name in ("wordpiece", "unigram", "sentencepiece bpe", "sentencepiece unigram"):
        peaks = []
        for case in (("1", "old"), ("10", "old"), ("10", "new")):
            command = [sys.executable, "-c", MEMORY_PROCESS, str(path), name, *case, str(SIZE)]
            peaks.append(int(subprocess.run(command, capture_output=True, check=True).stdout) / 1024)
        once, *others = peaks
        cells = " | ".join(f"{peak:.0f} MB, {peak / once:.2f}x" for peak in others)
        print(f"| {name} | {once:.0f} MB | {cells} |", flush=True)


def main() -> None:
    chosen = sys.argv[1:] or ["wordpiece", "bpe", "unigram", "memory"]
    lines = corpus()
    for name in ("wordpieces", "sentencepieces", "unigram", "parts"):
        kernels(name, float("inf"))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "corpus.txt"
        path.write_text("\n".join(lines), encoding="utf-8", newline="\n")
        print(f"{path.stat().st_size / 1e6:.1f} MB, {SIZE} entries, {os.cpu_count()} processors\n")
        print("| training | ours | theirs | ratio | processor time, ours | theirs | ratio | how well |")
        print("|---|---|---|---|---|---|---|---|")
        for name in chosen:
            if name == "wordpiece":
                wordpiece(lines, path)
            elif name == "memory":
                memory(path)
            else:
                sentencepiece(name, lines, path)


if __name__ == "__main__":
    main()

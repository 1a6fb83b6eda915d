"""Checks for tokenizers. Needs no torch.

Capability `lossless-unicode`: every text comes back unchanged. Without it, texts made of characters of the training
text do. Capability `lossy` (white space, case or rare words go): what comes back stays so when it is encoded again.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scratch_cli.config import to_values
from scratch_cli.testing.outcome import CheckFailed, require
from scratch_cli.testing.saving import require_plain_files
from scratch_cli.testing.subject import Subject

TEXTS = (
    "The quick brown fox jumps over the lazy dog, and the dog does not mind.\n",
    "Sort 31415926: 98654321 is what the reward wants.\n",
    "naïve café, Zürich, Ελληνικά, русский, 日本語, 한국어, عربي, हिन्दी, 🙂👩‍👩‍👧\n",
    "the cat sat on the mat; the cats sat on the mats; the mats sat still.\n" * 8,
    "def f(x):\n\treturn {'a': [1, 2.5e-3], \"b\": x}\r\n",
)

HARD = (
    "",
    " ",
    "\n",
    "   leading and trailing   ",
    "a\r\nb\rc\n\n\n",
    "tab\tnul\x00bell\x07",
    "e\u0301 \u00e9 combining",
    "👩‍👩‍👧‍👦🏳️‍🌈🇨🇭",
    "\u202eright to left\u202c שלום",
    "\ufeffbyte-order mark",
    "\U0010ffff\U00010000\uffff",
    "don't you'll we've I'm it's he'd they're",
    "1234567890 1,234.56 ½ ²",
    "<|endoftext|> <pad> <s> </s> <bos> <eos> <unk> [PAD] [UNK] <|im_start|>",
    "a" * 300,
)

# Runs in another interpreter, where strings hash differently: a loop over a set then has another order.
_TRAIN_ELSEWHERE = """
import json, pathlib, pkgutil, sys
from scratch_cli.config import build
target, config, values, texts, directory = json.loads(sys.stdin.read())
made = pkgutil.resolve_name(target).train(texts, build(pkgutil.resolve_name(config), values, "tokenizer"))
made.save(pathlib.Path(directory))
"""


def trained(subject: Subject, texts: Sequence[str] = TEXTS) -> Any:
    return subject.cls().train(texts, subject.config())


def special_ids(tokenizer: Any) -> dict[str, int]:
    names = ("pad_id", "bos_id", "eos_id", "unk_id")
    return {name: i for name in names if (i := getattr(tokenizer, name)) is not None}


def samples(subject: Subject, seed: int = 0) -> list[str]:
    """Texts that this tokenizer claims to keep."""
    rng = random.Random(seed)
    known = sorted({c for text in TEXTS for c in text})
    texts = ["".join(rng.choices(known, k=rng.randint(1, 40))) for _ in range(60)] + list(TEXTS)
    if "lossless-unicode" in subject.part.provides:
        texts += HARD
        for limit in (0x80, 0x800, 0x3000, 0x110000):
            for _ in range(60):
                codes = (rng.randrange(limit) for _ in range(rng.randint(1, 12)))
                texts.append("".join(chr(c) for c in codes if not 0xD800 <= c < 0xE000))
    return texts


def check_round_trip(subject: Subject) -> None:
    """decode(encode(text)) is the text, for all text that the tokenizer claims to keep; if `lossy`, from then on."""
    tokenizer = trained(subject)
    kept = 0
    for text in samples(subject):
        once = tokenizer.decode(tokenizer.encode(text)) if "lossy" in subject.part.provides else text
        back = tokenizer.decode(tokenizer.encode(once))
        require(back == once, f"decode(encode({once!r})) gives {back!r}")
        kept += bool(back)
    require(kept > 0, "no text leaves anything after decode(encode(text))")
    require(tokenizer.encode("") == [], "encode('') must give no ids")
    require(tokenizer.decode([]) == "", "decode([]) must give no text")


def check_ids_below_vocab_size(subject: Subject) -> None:
    """Every id is an int in 0 .. vocab_size - 1; special ids are, and differ."""
    tokenizer = trained(subject)
    size = tokenizer.vocab_size
    require(isinstance(size, int) and size > 0, f"vocab_size is {size!r}, must be a positive int")
    for text in (*samples(subject), *HARD):
        for i in tokenizer.encode(text):
            require(type(i) is int and 0 <= i < size, f"encode({text!r}) has {i!r}; vocab_size is {size}")
    special = special_ids(tokenizer)
    for name, i in special.items():
        require(type(i) is int and 0 <= i < size, f"{name} is {i!r}; vocab_size is {size}")
    require(len(set(special.values())) == len(special), f"special ids must differ: {special}")
    if "eos" in subject.part.provides:
        require("eos_id" in special, "provides 'eos', but eos_id is None")


def check_every_id_decodes(subject: Subject) -> None:
    """Any sequence of ids decodes to text without an error, also one that no text encodes to."""
    tokenizer = trained(subject)
    rng = random.Random(1)
    rows = [[i] for i in range(min(tokenizer.vocab_size, 3000))]
    rows += [[rng.randrange(tokenizer.vocab_size) for _ in range(20)] for _ in range(50)]
    for row in rows:
        for skip in (True, False):
            try:
                text = tokenizer.decode(row, skip_special=skip)
            except Exception as error:
                raise CheckFailed(f"decode({row}, skip_special={skip}) raised {error!r}") from error
            require(isinstance(text, str), f"decode({row}) gives {text!r}, must give text")


def check_batches(subject: Subject) -> None:
    """encode_batch and decode_batch give what the single calls give."""
    tokenizer = trained(subject)
    texts = samples(subject)
    rows = tokenizer.encode_batch(texts)
    require([list(r) for r in rows] == [tokenizer.encode(t) for t in texts], "encode_batch differs from encode")
    require(tokenizer.decode_batch(rows) == [tokenizer.decode(r) for r in rows], "decode_batch differs from decode")


def check_save_and_load(subject: Subject) -> None:
    """A loaded tokenizer equals the saved one, and its files are no pickles."""
    tokenizer = trained(subject)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name) / "saved"
        directory.mkdir()
        tokenizer.save(directory)
        require_plain_files(directory)
        loaded = subject.cls().load(directory)
    require(loaded.vocab_size == tokenizer.vocab_size, "loaded: vocab_size differs")
    require(special_ids(loaded) == special_ids(tokenizer), "loaded: special ids differ")
    for text in (*samples(subject), *HARD):
        ids = tokenizer.encode(text)
        require(loaded.encode(text) == ids, f"loaded: encode({text!r}) differs")
        require(loaded.decode(ids) == tokenizer.decode(ids), f"loaded: decode({ids}) differs")


def check_training_is_deterministic(subject: Subject) -> None:
    """The same texts give the same tokenizer: from a list or an iterator, here or in another interpreter."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        seen = {}
        for way, texts in (("a list", list(TEXTS)), ("an iterator", iter(TEXTS)), ("a list again", list(TEXTS))):
            there = directory / way
            there.mkdir()
            subject.cls().train(texts, subject.config()).save(there)
            seen[way] = fingerprint(there)
        for seed in ("0", "1"):
            there = directory / f"hash seed {seed}"
            there.mkdir()
            part = subject.part
            request = [part.target, part.config, to_values(subject.config()), TEXTS, str(there)]
            environment = {
                **os.environ,
                "PYTHONHASHSEED": seed,
                "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
            }
            done = subprocess.run(
                [sys.executable, "-c", _TRAIN_ELSEWHERE],
                input=json.dumps(request),
                capture_output=True,
                text=True,
                env=environment,
                timeout=300,
            )
            require(done.returncode == 0, f"training in another interpreter failed: {done.stderr.strip()[-500:]}")
            seen[f"hash seed {seed}"] = fingerprint(there)
    for way, files in seen.items():
        require(files == seen["a list"], f"training from {way} gives other files than from a list")


def fingerprint(directory: Path) -> dict[str, str]:
    """Relative path -> SHA-256 of every file."""
    files = (path for path in sorted(directory.rglob("*")) if path.is_file())
    return {str(p.relative_to(directory)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def check_special_tokens_are_not_text(subject: Subject) -> None:
    """Plain text never encodes to a special id, whatever it looks like, also if the training text had it."""
    plain = trained(subject)
    shown = {name: plain.decode([i], skip_special=False) for name, i in special_ids(plain).items()}
    tricky = [text for text in shown.values() if text]
    for texts in (TEXTS, (*TEXTS, *(text * 20 for text in tricky))):
        tokenizer = trained(subject, texts)
        special = special_ids(tokenizer)
        unknown = special.pop("unk_id", None)  # what a lossy tokenizer gives for a character it does not know
        for text in (*tricky, *(f"a{t}b" for t in tricky), *HARD):
            produced = [name for name, i in special.items() if i in tokenizer.encode(text)]
            require(not produced, f"encode({text!r}) produces {', '.join(produced)}")
        for name, i in special.items():
            text = tokenizer.decode([i])
            require(text == "", f"decode([{name}]) gives {text!r}, must give nothing unless skip_special=False")
        require(unknown is None or isinstance(unknown, int), f"unk_id is {unknown!r}")


def check_stream_decoder(subject: Subject) -> None:
    """The pieces of the stream decoder make up what decode gives, however the ids are cut, valid or not."""
    tokenizer = trained(subject)
    rng = random.Random(2)
    rows = [tokenizer.encode(text) for text in samples(subject, seed=3)]
    rows += [[rng.randrange(tokenizer.vocab_size) for _ in range(20)] for _ in range(100)]
    for row in rows:
        for longest in (1, 5):
            stream, pieces, at = tokenizer.stream_decoder(), [], 0
            while at < len(row):
                size = rng.randint(1, longest)
                pieces.append(stream.push(row[at : at + size]))
                at += size
            pieces.append(stream.flush())
            text, whole = "".join(pieces), tokenizer.decode(row)
            require(text == whole, f"ids {row}: the stream gives {text!r}, decode gives {whole!r}")


CHECKS = (
    check_round_trip,
    check_ids_below_vocab_size,
    check_every_id_decodes,
    check_batches,
    check_save_and_load,
    check_training_is_deterministic,
    check_special_tokens_are_not_text,
    check_stream_decoder,
)

"""The built-in text and texts of files: splits that share nothing, cuts that lose nothing, files that are none."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from align_scratch.config.tasks import CorpusConfig
from align_scratch.errors import DataError
from align_scratch.tasks.corpus import Corpus, cut

SPLITS = ("train", "held_out")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def paragraphs(texts: Sequence[str]) -> set[str]:
    return {p.strip() for text in texts for p in re.split(r"\n\s*\n", text) if p.strip()}


def test_the_built_in_text_is_large_and_its_splits_share_nothing() -> None:
    task = Corpus(CorpusConfig())
    train, held_out = list(task.texts("train")), list(task.texts("held_out"))
    assert list(task.texts()) == train
    assert sum(len(text.encode()) for text in train) >= 300_000
    assert 0.03 < sum(map(len, held_out)) / sum(map(len, train + held_out)) < 0.07
    assert not set(train) & set(held_out)
    assert len(paragraphs(held_out)) > 20
    assert not paragraphs(train) & paragraphs(held_out)
    assert not {line for t in train for line in t.split("\n")} & {line for t in held_out for line in t.split("\n")} - {
        ""
    }
    everything = "".join(train + held_out)
    assert "\r" not in everything
    assert "\ufeff" not in everything
    assert "Gutenberg" not in everything
    assert "Alice" in everything
    assert "Paradise" in everything
    assert max(map(len, train + held_out)) <= 2000


@pytest.mark.parametrize(("held_out", "passage_chars"), [(0.0, 2000), (0.05, 300), (0.2, 5000), (0.5, 1000)])
def test_splits_of_any_share_are_disjoint_and_lose_nothing(held_out: float, passage_chars: int) -> None:
    task = Corpus(CorpusConfig(held_out=held_out, passage_chars=passage_chars))
    train, rest = list(task.texts("train")), list(task.texts("held_out"))
    assert train
    assert rest
    assert not set(train) & set(rest)
    assert max(map(len, train + rest)) <= passage_chars
    whole = Corpus(CorpusConfig())
    count = lambda task: Counter("".join("".join(task.texts(s)) for s in SPLITS).replace("\n", "").replace(" ", ""))  # noqa: E731
    repeated = count(whole) - count(task)
    assert sum(repeated.values()) <= 2000  # only passages held out twice, such as headings, may stand once


@given(
    text=st.lists(st.text("ab \n", max_size=30), max_size=8).map("\n\n".join),
    longest=st.integers(1, 40),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_cutting_loses_nothing_but_white_space_and_never_exceeds(text: str, longest: int) -> None:
    passages = list(cut(text, longest))
    assert "".join("".join(passages).split()) == "".join(text.split())
    assert all(0 < len(p) <= longest and p.strip() for p in passages)
    at = 0
    for passage in passages:  # in the order of the text, and as they stand there
        at = text.index(passage, at) + len(passage)


def test_cuts_prefer_paragraphs_to_lines_to_words() -> None:
    assert list(cut("one two\n\nthree four", 12)) == ["one two", "three four"]
    assert list(cut("one two three", 9)) == ["one two", " three"]
    assert list(cut("one two\nthree\nfour", 14)) == ["one two\nthree", "four"]
    assert list(cut("abcdefghij", 4)) == ["abcd", "efgh", "ij"]


@given(text=st.lists(st.sampled_from(["aa", "bb", "cc", "dd", "ee ff"]), min_size=4, max_size=40).map("\n\n".join))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_repeated_passages_stay_on_one_side(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("corpus") / "text.txt"
    path.write_text(text, encoding="utf-8")
    config = CorpusConfig(path=str(path), passage_chars=4, held_out=0.3)
    if len(set(cut(text, max(1, min(4, len(text) // 10))))) < 2:
        with pytest.raises(DataError, match="too little text"):
            Corpus(config)
        return
    task = Corpus(config)
    train, held_out = list(task.texts("train")), list(task.texts("held_out"))
    assert train
    assert held_out
    assert not set(train) & set(held_out)
    assert len(held_out) == len(set(held_out))


def refusal(path: Path | str) -> str:
    with pytest.raises(DataError) as caught:
        Corpus(CorpusConfig(path=str(path)))
    assert caught.value.exit_code == 3
    assert isinstance(caught.value, ValueError)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(str(path), "FILE")


def test_a_missing_file_a_directory_and_an_unreadable_one(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.txt") == "FILE: cannot be read: No such file or directory"
    assert refusal(tmp_path) == "FILE: is a directory, not a text file"
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert refusal(loop).startswith("FILE: cannot be read: ")


def test_an_empty_path_is_not_the_built_in_text() -> None:
    with pytest.raises(DataError, match="directory"):
        Corpus(CorpusConfig(path=""))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "FILE: byte 0: the file is empty or holds white space only"),
        (b" \n\r\n\t", "FILE: byte 5: the file is empty or holds white space only"),
        (b"\xef\xbb\xbf", "FILE: byte 3: the file is empty or holds white space only"),
        (b"abc\0def", "FILE: byte 3: a NUL byte, so this is binary data; a UTF-8 text file is needed"),
        (
            "plain text".encode("utf-16-le"),
            "FILE: byte 1: a NUL byte, so this is binary data; a UTF-8 text file is needed",
        ),
        (b"\x89PNG\r\n\x1a\n\0\0", "FILE: byte 8: a NUL byte, so this is binary data; a UTF-8 text file is needed"),
        ("na\u00efve".encode("latin-1"), "FILE: byte 2: 0xef is not UTF-8; convert the file to UTF-8"),
        (b"\xef\xbb\xbfab\xff", "FILE: byte 5: 0xff is not UTF-8; convert the file to UTF-8"),
        (b"ab\xe2\x82", "FILE: byte 2: 0xe2 is not UTF-8; convert the file to UTF-8"),
        (b"\xed\xa0\x80", "FILE: byte 0: 0xed is not UTF-8; convert the file to UTF-8"),
        (b"x", "FILE: byte 0: too little text to split into training and held-out parts"),
    ],
)
def test_a_file_that_is_no_text_is_refused_with_the_byte(raw: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(raw)
    assert refusal(path) == message


@given(
    text=st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=50),
    bad=st.sampled_from(b"\xff\xfe\xc0\x80"),
)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_the_first_bad_byte_is_the_one_named(text: str, bad: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    raw = text.encode()
    path = tmp_path_factory.mktemp("bad") / "text.txt"
    path.write_bytes(raw + bytes([bad]) + b" and so on")
    assert refusal(path) == f"FILE: byte {len(raw)}: 0x{bad:02x} is not UTF-8; convert the file to UTF-8"


def test_line_ends_of_every_kind_and_a_byte_order_mark_make_no_difference(tmp_path: Path) -> None:
    text = "".join(f"Line {i} of the t\u00e9xt.\n{'' if i % 3 else chr(10)}" for i in range(60))
    told = []
    for end, mark in (("\n", b""), ("\r\n", b""), ("\r", b""), ("\r\n", b"\xef\xbb\xbf")):
        path = tmp_path / "text.txt"
        path.write_bytes(mark + text.replace("\n", end).encode())
        task = Corpus(CorpusConfig(path=str(path), passage_chars=100))
        told.append([list(task.texts(split)) for split in SPLITS])
        assert str(path) in task.lesson
    assert told[0] == told[1] == told[2] == told[3]
    assert all(told[0])
    assert "\u00e9" in told[0][0][0]

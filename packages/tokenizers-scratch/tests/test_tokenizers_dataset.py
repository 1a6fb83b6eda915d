"""Data sets: what is read is what was encoded, the same from any number of processes, and after interruptions."""

from __future__ import annotations

import gzip
import itertools
import json
import pickle
import tracemalloc

import numpy as np
import pytest
from small_datasets import TEXTS, Numbers, content, interrupted

from tokenizers_scratch import storage
from tokenizers_scratch.bpe import BPETokenizer
from tokenizers_scratch.byte import ByteTokenizer
from tokenizers_scratch.char import CharTokenizer
from tokenizers_scratch.config import BPEConfig, CharConfig
from tokenizers_scratch.dataset import prepare as preparing
from tokenizers_scratch.dataset import shard as sharding
from tokenizers_scratch.dataset.manifest import DatasetError, dtype_for
from tokenizers_scratch.dataset.prepare import prepare
from tokenizers_scratch.dataset.reader import TokenDataset
from tokenizers_scratch.sources import SourceError


@pytest.fixture(scope="module")
def bpe():
    return BPETokenizer.train(TEXTS, BPEConfig(vocab_size=300))


@pytest.fixture
def jsonl(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS), encoding="utf-8")
    return path


def test_round_trip(bpe, jsonl, tmp_path):
    manifest = prepare(bpe, [jsonl], tmp_path / "data", shard_bytes=1000)
    data = TokenDataset(tmp_path / "data", tokenizer=bpe, verify=True)
    assert len(manifest.shards) == len(data.shards) > 3
    assert data.n_documents == manifest.documents == len(TEXTS)
    expected = [[*bpe.encode(text), bpe.eos_id] for text in TEXTS]
    assert [list(ids) for ids in data.documents()] == expected
    assert [bpe.decode(data.document(i)) for i in range(len(TEXTS))] == TEXTS
    assert list(data.document(-1)) == expected[-1]
    assert manifest.raw_bytes == sum(len(text.encode()) for text in TEXTS)
    flat = list(itertools.chain(*expected))
    assert len(data) == manifest.tokens == len(flat)
    assert list(data[:]) == flat
    for start, stop in [(0, 0), (0, 5), (100, 900), (len(flat) - 3, len(flat) + 9), (-7, -2), (9, 3)]:
        assert list(data[start:stop]) == flat[start:stop]
    assert [data[i] for i in (0, 500, -1)] == [flat[i] for i in (0, 500, -1)]
    assert data.dtype == np.dtype("<u2")
    assert data.vocab_size == bpe.vocab_size
    assert data.eos_id == bpe.eos_id


def test_what_cannot_be_indexed(bpe, jsonl, tmp_path):
    prepare(bpe, [jsonl], tmp_path / "data")
    data = TokenDataset(tmp_path / "data")
    for read in (lambda: data[len(data)], lambda: data[-len(data) - 1], lambda: data.document(60)):
        with pytest.raises(IndexError, match="out of range"):
            read()
    with pytest.raises(ValueError, match="step: got 2"):
        data[0:9:2]
    with pytest.raises(ValueError, match="read-only"):
        data[0:9][0] = 1
    again = pickle.loads(pickle.dumps(data))  # noqa: S301 - as a data loader passes it to its workers
    assert list(again[:]) == list(data[:])


def test_any_number_of_workers_writes_the_same_bytes(bpe, jsonl, tmp_path):
    (tmp_path / "b.txt").write_bytes("one\r\n||two 👍||three".encode())
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress(b"four||five"))
    sources = [jsonl, tmp_path / "b.txt", tmp_path / "c.txt.gz"]
    for workers in (1, 2, 3):
        prepare(bpe, sources, tmp_path / str(workers), separator="||", shard_bytes=1500, workers=workers)
    assert content(tmp_path / "1") == content(tmp_path / "2") == content(tmp_path / "3")
    data = TokenDataset(tmp_path / "2")
    last = [bpe.decode(ids) for ids in data.documents()][len(TEXTS) :]
    assert last == ["one\r\n", "two 👍", "three", "four", "five"]


def test_documents_do_not_depend_on_the_size_of_shards(bpe, jsonl, tmp_path):
    for size in (1, 700, 10**9):
        prepare(bpe, [jsonl], tmp_path / str(size), shard_bytes=size)
    small, middle, large = (TokenDataset(tmp_path / str(size)) for size in (1, 700, 10**9))
    assert (len(small.shards), len(large.shards)) == (len(TEXTS), 1)
    assert list(small[:]) == list(middle[:]) == list(large[:])
    assert [len(d) for d in small.documents()] == [len(d) for d in large.documents()]


def test_without_end_of_text(bpe, jsonl, tmp_path):
    prepare(bpe, [jsonl], tmp_path / "data", append_eos=False)
    data = TokenDataset(tmp_path / "data")
    assert data.eos_id is None
    assert list(data[:]) == list(itertools.chain(*map(bpe.encode, TEXTS)))


def test_special_tokens_in_documents_are_text(tmp_path):
    (tmp_path / "a.txt").write_text("a<EOS>b", encoding="utf-8")
    prepare(ByteTokenizer(), [tmp_path / "a.txt"], tmp_path / "data")
    data = TokenDataset(tmp_path / "data")
    assert len(data) == 8
    assert list(data[:]).count(data.eos_id) == 1


def test_a_document_longer_than_the_window_is_encoded_in_pieces(bpe, tmp_path, monkeypatch):
    monkeypatch.setattr(sharding, "_WHOLE", 50)
    monkeypatch.setattr(sharding, "_BUFFER", 16)
    text = "the cat  sat\n\n on the mat 👍 " * 40
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    prepare(bpe, [tmp_path / "a.txt"], tmp_path / "data")
    assert list(TokenDataset(tmp_path / "data")[:]) == [*bpe.encode(text), bpe.eos_id]


# --- the type of the ids ---------------------------------------------------------------------------------------------


def test_more_than_65536_ids_take_32_bits(tmp_path):
    assert [dtype_for(n) for n in (65_536, 65_537, 2**32)] == ["uint16", "uint32", "uint32"]
    with pytest.raises(ValueError, match="vocab_size"):
        dtype_for(2**32 + 1)
    (tmp_path / "a.txt").write_text("0 65535 65536 69999")
    prepare(Numbers(), [tmp_path / "a.txt"], tmp_path / "data")
    data = TokenDataset(tmp_path / "data")
    assert data.dtype == np.dtype("<u4")
    assert list(data[:]) == [0, 65535, 65536, 69999]
    assert (tmp_path / "data" / "shard-00000.bin").stat().st_size == 16


@pytest.mark.parametrize("wrong", [70_000, -1])
def test_an_id_beyond_the_vocabulary_is_refused_and_never_wrapped(tmp_path, wrong):
    (tmp_path / "a.txt").write_text(f"0 {wrong}")
    with pytest.raises(SourceError, match=rf"a\.txt, byte 0: the tokenizer gave the id {wrong}"):
        prepare(Numbers(), [tmp_path / "a.txt"], tmp_path / "data")


def test_a_tokenizer_of_more_than_65536_characters(tmp_path):
    tokenizer = CharTokenizer.train([chr(c) for c in range(0x20, 0x11000) if not 0xD800 <= c < 0xE000], CharConfig())
    (tmp_path / "a.txt").write_text("a\U00010fff", encoding="utf-8")
    prepare(tokenizer, [tmp_path / "a.txt"], tmp_path / "data")
    data = TokenDataset(tmp_path / "data", tokenizer=tokenizer)
    assert data.dtype == np.dtype("<u4")
    assert tokenizer.decode(data[:]) == "a\U00010fff"


# --- interruption ----------------------------------------------------------------------------------------------------


def test_a_restart_keeps_the_finished_shards(bpe, jsonl, tmp_path):
    prepare(bpe, [jsonl], tmp_path / "whole", shard_bytes=1000)
    interrupted(bpe, [jsonl], tmp_path / "data", after=2)
    with pytest.raises(DatasetError, match=r"dataset\.json: .*is finished by the same call"):
        TokenDataset(tmp_path / "data")
    written = (tmp_path / "data" / "shard-00000.bin").stat().st_mtime_ns
    (tmp_path / "data" / "shard-00002.bin.part").write_bytes(b"half")
    with (tmp_path / "data" / preparing.JOURNAL).open("ab") as journal:
        journal.write(b'{"number": 2, "tok')  # the line that was being written
    told = []
    prepare(bpe, [jsonl], tmp_path / "data", shard_bytes=1000, progress=told.append)
    assert told[0].shards == told[0].kept == 2
    assert told[-1].shards == told[-1].of
    assert (tmp_path / "data" / "shard-00000.bin").stat().st_mtime_ns == written
    assert content(tmp_path / "data") == content(tmp_path / "whole")
    assert not (tmp_path / "data" / preparing.JOURNAL).exists()


def test_a_restart_writes_damaged_shards_again(bpe, jsonl, tmp_path):
    prepare(bpe, [jsonl], tmp_path / "whole", shard_bytes=1000)
    interrupted(bpe, [jsonl], tmp_path / "data", after=3)
    shard = tmp_path / "data" / "shard-00001.bin"
    shard.write_bytes(shard.read_bytes()[:-2])
    (tmp_path / "data" / "shard-00002.ends").unlink()
    told = []
    prepare(bpe, [jsonl], tmp_path / "data", shard_bytes=1000, progress=told.append)
    assert told[0].kept == 1
    assert content(tmp_path / "data") == content(tmp_path / "whole")


def test_a_finished_data_set_is_checked_and_mended(bpe, jsonl, tmp_path):
    first = prepare(bpe, [jsonl], tmp_path / "data", shard_bytes=1000)
    before = content(tmp_path / "data")
    told = []
    assert prepare(bpe, [jsonl], tmp_path / "data", shard_bytes=1000, progress=told.append) == first
    assert told[0].kept == len(first.shards)
    shard = tmp_path / "data" / "shard-00001.bin"
    shard.write_bytes(b"\0" * shard.stat().st_size)
    prepare(bpe, [jsonl], tmp_path / "data", shard_bytes=1000, progress=told.append)
    assert content(tmp_path / "data") == before


def test_another_data_set_is_not_overwritten_unless_asked(bpe, jsonl, tmp_path):
    prepare(bpe, [jsonl], tmp_path / "data", shard_bytes=1000)
    interrupted(bpe, [jsonl], tmp_path / "begun", after=1)
    for call, reason in [
        (lambda to: prepare(ByteTokenizer(), [jsonl], to, shard_bytes=1000), f"vocab_size: {bpe.vocab_size}, now 260"),
        (lambda to: prepare(bpe, [jsonl], to, shard_bytes=999), "shard_bytes: 1000, now 999"),
        (lambda to: prepare(bpe, [jsonl, jsonl], to, shard_bytes=1000), "the sources differ: 1 files, now 2"),
    ]:
        for directory, what in (("data", "another data set"), ("begun", "the beginning of another")):
            with pytest.raises(DatasetError, match=f"{what}.*{reason}"):
                call(tmp_path / directory)
    TokenDataset(tmp_path / "data", tokenizer=bpe, verify=True)
    (tmp_path / "data" / "mine.txt").write_text("keep")
    prepare(ByteTokenizer(), [jsonl], tmp_path / "data", overwrite=True)
    TokenDataset(tmp_path / "data", tokenizer=ByteTokenizer(), verify=True)
    assert (tmp_path / "data" / "mine.txt").read_text() == "keep"
    assert len(list((tmp_path / "data").glob("shard-*"))) == 2
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x").write_text("")
    with pytest.raises(DatasetError, match="is not empty: there is 'x'"):
        prepare(bpe, [jsonl], tmp_path / "other")


def test_a_changed_source_is_noticed(bpe, jsonl, tmp_path):
    interrupted(bpe, [jsonl], tmp_path / "data", after=1)
    jsonl.write_text(jsonl.read_text(encoding="utf-8").replace("cat", "dog"), encoding="utf-8")
    with pytest.raises(DatasetError, match=r"the sources differ: .*a\.jsonl"):
        prepare(bpe, [jsonl], tmp_path / "data", shard_bytes=1000)


# --- memory ----------------------------------------------------------------------------------------------------------


def test_memory_does_not_grow_with_the_sources(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "MAX_BYTES", 2**20)  # which Python sets aside, untouched, to read a small file
    monkeypatch.setattr(sharding, "_WHOLE", 2**16)  # so that small files reach the most that is used, too
    tokenizer = ByteTokenizer()
    line = json.dumps({"text": "some words " * 200}).encode() + b"\n"

    def peak(n_lines, name):
        with (tmp_path / name).open("wb") as file:
            for _ in range(n_lines):
                file.write(line)
        tracemalloc.start()
        prepare(tokenizer, [tmp_path / name], tmp_path / f"{name}.data")
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    small, large = peak(300, "small.jsonl"), peak(2000, "large.jsonl")  # 0.7 and 4.4 MB
    assert large < 1.5 * small
    assert peak(2000, "one-document.txt") < 12 * 2**20

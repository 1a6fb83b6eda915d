"""Data sets in two parts that share nothing, and one writer at a time."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys

import pytest

from tokenizers_scratch.byte import ByteTokenizer
from tokenizers_scratch.dataset import locking
from tokenizers_scratch.dataset import shard as sharding
from tokenizers_scratch.dataset.locking import LOCK, locked
from tokenizers_scratch.dataset.manifest import FILE_NAME, DatasetError, Manifest
from tokenizers_scratch.dataset.prepare import prepare, prepare_split
from tokenizers_scratch.dataset.reader import TokenDataset
from tokenizers_scratch.dataset.shard import is_held_out
from tokenizers_scratch.errors import EmptyCorpusError

TEXTS = [f"text {i}: the cat 👍 {'again ' * (i % 7)}" for i in range(400)]
TOKENIZER = ByteTokenizer()


@pytest.fixture
def jsonl(tmp_path):
    path = tmp_path / "a.jsonl"
    # Some documents are there twice, far from each other.
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in (*TEXTS, *TEXTS[:50])), encoding="utf-8")
    return path


def texts_of(directory):
    data = TokenDataset(directory, tokenizer=TOKENIZER, verify=True)
    return [TOKENIZER.decode(ids) for ids in data.documents()]


def test_a_split_shares_nothing_and_loses_nothing(jsonl, tmp_path):
    train, held_out = prepare_split(TOKENIZER, [jsonl], tmp_path / "data", validation_share=0.2, shard_bytes=2000)
    sides = texts_of(tmp_path / "data" / "train"), texts_of(tmp_path / "data" / "validation")
    assert not set(sides[0]) & set(sides[1])
    assert sorted((*sides[0], *sides[1])) == sorted((*TEXTS, *TEXTS[:50]))
    assert sides[1] == [text for text in (*TEXTS, *TEXTS[:50]) if is_held_out(text, 0.2)]
    assert 0.12 < len(set(sides[1])) / len(TEXTS) < 0.28  # four standard deviations
    assert (train.job.part, held_out.job.part, held_out.job.validation_share) == ("train", "validation", 0.2)
    assert train.documents + held_out.documents == 450
    assert train.raw_bytes + held_out.raw_bytes == sum(len(t.encode()) for t in (*TEXTS, *TEXTS[:50]))


def test_a_document_stays_on_its_side(jsonl, tmp_path):
    more = tmp_path / "b.txt.gz"
    more.write_bytes(gzip.compress("||".join((*TEXTS[100:200], "new", "newer")).encode()))
    options = {"validation_share": 0.3, "separator": "||"}
    prepare_split(TOKENIZER, [jsonl], tmp_path / "one", **options)
    prepare_split(TOKENIZER, [more, jsonl], tmp_path / "two", workers=2, shard_bytes=3000, **options)
    for side in ("train", "validation"):
        assert set(texts_of(tmp_path / "one" / side)) <= set(texts_of(tmp_path / "two" / side))
    held_out = [text for text in TEXTS if is_held_out(text, 0.1)]
    assert all(is_held_out(text, 0.3) for text in held_out)  # a larger share holds out more, and the same


def test_long_documents(tmp_path, monkeypatch):
    monkeypatch.setattr(sharding, "_WHOLE", 50)
    texts = ["x" * 60 + str(i) for i in range(4)] + [str(i) * 300_000 for i in range(8)]
    (tmp_path / "a.txt").write_text("\n".join(texts))
    prepare_split(TOKENIZER, [tmp_path / "a.txt"], tmp_path / "data", validation_share=0.5, separator="\n")
    sides = [texts_of(tmp_path / "data" / side) for side in ("train", "validation")]
    assert sorted((*sides[0], *sides[1])) == sorted(texts)
    assert any(set(texts[:4]) <= set(side) for side in sides)  # what begins alike is on one side
    assert len(sides[0]) > 1 < len(sides[1])
    bytes_there = [Manifest.read(tmp_path / "data" / side).raw_bytes for side in ("train", "validation")]
    assert bytes_there == [sum(map(len, side)) for side in sides]


def test_the_same_call_again_goes_on(jsonl, tmp_path):
    first = prepare_split(TOKENIZER, [jsonl], tmp_path / "data", validation_share=0.2)
    told = []
    again = prepare_split(TOKENIZER, [jsonl], tmp_path / "data", validation_share=0.2, progress=told.append)
    assert again == first
    assert all(progress.kept == progress.of for progress in told)
    with pytest.raises(DatasetError, match=r"holds another data set \(validation_share: 0.2, now 0.1\)"):
        prepare_split(TOKENIZER, [jsonl], tmp_path / "data", validation_share=0.1)
    prepare_split(TOKENIZER, [jsonl], tmp_path / "data", validation_share=0.1, overwrite=True)


def test_what_cannot_be_split(jsonl, tmp_path):
    for share, part in ((0.5, "all"), (0, "train"), (1.0, "train"), (-0.1, "validation"), (0.1, "test")):
        with pytest.raises(ValueError, match=r"^validation_share: got"):
            prepare(TOKENIZER, [jsonl], tmp_path / "data", part=part, validation_share=share)
    (tmp_path / "one.txt").write_text("one document")
    with pytest.raises(EmptyCorpusError, match=r"one.txt is for validation if 1e-06 are held out"):
        prepare_split(TOKENIZER, [tmp_path / "one.txt"], tmp_path / "data", validation_share=1e-6)
    prepare(TOKENIZER, [jsonl], tmp_path / "whole")
    with pytest.raises(DatasetError, match="holds a data set that is not split"):
        prepare_split(TOKENIZER, [jsonl], tmp_path / "whole", validation_share=0.2)


def test_data_sets_of_before_there_was_a_split(jsonl, tmp_path):
    manifest = prepare(TOKENIZER, [jsonl], tmp_path / "data")
    path = tmp_path / "data" / FILE_NAME
    content = json.loads(path.read_text())
    del content["part"], content["validation_share"]
    path.write_text(json.dumps(content))
    assert Manifest.read(tmp_path / "data") == manifest
    for key, value in (("part", "test"), ("validation_share", 1.5), ("validation_share", "0.1")):
        path.write_text(json.dumps({**content, key: value}))
        with pytest.raises(DatasetError, match=key):
            Manifest.read(tmp_path / "data")


def test_one_writer_at_a_time(jsonl, tmp_path):
    folder = tmp_path / "data"

    def second(progress):
        if progress.shards == 1:
            with pytest.raises(DatasetError, match="is being written by another process"):
                prepare(TOKENIZER, [jsonl], folder, shard_bytes=2000)

    manifest = prepare(TOKENIZER, [jsonl], folder, shard_bytes=2000, progress=second)
    assert not (folder / LOCK).exists()
    assert prepare(TOKENIZER, [jsonl], folder, shard_bytes=2000) == manifest


HOLDER = """
import sys, time
from pathlib import Path
from tokenizers_scratch.dataset.locking import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_dies_with_its_holder(jsonl, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(DatasetError, match="is being written by another process"):
            prepare(TOKENIZER, [jsonl], folder)
    finally:
        holder.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
        holder.wait()
        holder.stdout.close()
    assert (folder / LOCK).exists()  # what a kill leaves behind is no lock
    assert prepare(TOKENIZER, [jsonl], folder).documents == 450
    assert not (folder / LOCK).exists()


def test_a_lock_that_was_removed_meanwhile_is_taken_again(tmp_path, monkeypatch):
    real, removed = locking._try_to_lock, []

    def late(file):
        if not removed:
            removed.append(os.unlink(tmp_path / LOCK))  # its holder has just finished
        return real(file)

    monkeypatch.setattr(locking, "_try_to_lock", late)
    with locked(tmp_path):
        assert (tmp_path / LOCK).exists()
        with pytest.raises(DatasetError), locked(tmp_path):
            pass
    with pytest.raises(DatasetError, match="No such file"), locked(tmp_path / "nope"):
        pass


def test_what_a_killed_process_left_is_cleared(jsonl, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "tokenizer").mkdir()
    prepare(TOKENIZER, [jsonl], folder, shard_bytes=2000)
    (folder / "shard-00000.bin.4711.part").write_bytes(b"half")
    (folder / FILE_NAME).unlink()
    prepare(TOKENIZER, [jsonl], folder, shard_bytes=2000, overwrite=True)
    assert not list(folder.glob("*.part"))

"""Token data sets that are damaged or made of what cannot be read: one error that names the place."""

from __future__ import annotations

import json

import pytest
from small_datasets import TEXTS, Numbers, interrupted

from tokenizers_scratch.bpe import BPETokenizer
from tokenizers_scratch.config import BPEConfig
from tokenizers_scratch.dataset import prepare as preparing
from tokenizers_scratch.dataset import shard as sharding
from tokenizers_scratch.dataset.manifest import DatasetError, Manifest
from tokenizers_scratch.dataset.prepare import prepare
from tokenizers_scratch.dataset.reader import TokenDataset
from tokenizers_scratch.errors import EmptyCorpusError, TokenizerDataError
from tokenizers_scratch.sources import SourceError


@pytest.fixture(scope="module")
def bpe():
    return BPETokenizer.train(TEXTS, BPEConfig(vocab_size=300))


@pytest.fixture
def jsonl(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS), encoding="utf-8")
    return path


# --- the type of the ids ---------------------------------------------------------------------------------------------


# --- interruption ----------------------------------------------------------------------------------------------------


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_names_file_and_line_also_from_a_worker(bpe, jsonl, tmp_path, workers):
    lines = jsonl.read_text(encoding="utf-8").splitlines()
    lines[40] = '{"text": 5}'
    jsonl.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(SourceError, match=r"a\.jsonl, line 41: the field 'text' is no text"):
        prepare(bpe, [jsonl], tmp_path / "data", shard_bytes=1000, workers=workers)
    lines[40] = '{"text": "mended"}'  # another source: starts anew only when told to
    jsonl.write_text("\n".join(lines), encoding="utf-8")
    prepare(bpe, [jsonl], tmp_path / "data", overwrite=True)
    assert TokenDataset(tmp_path / "data").n_documents == len(TEXTS)


class Picky(Numbers):
    def encode(self, text):
        if text == "bad":
            raise TokenizerDataError("does not like it")
        return super().encode(text)


@pytest.mark.parametrize("whole", [1, 2**20])
def test_what_a_tokenizer_refuses_is_named(tmp_path, monkeypatch, whole):
    monkeypatch.setattr(sharding, "_WHOLE", whole)
    (tmp_path / "a.jsonl").write_text('{"text": "1"}\n\n{"text": "bad"}\n{"text": "2"}\n')
    with pytest.raises(SourceError, match=r"a\.jsonl, line 3: does not like it"):
        prepare(Picky(), [tmp_path / "a.jsonl"], tmp_path / "data")


def test_no_documents(bpe, tmp_path):
    (tmp_path / "a.txt").write_text("")
    (tmp_path / "b.jsonl").write_text("\n\n")
    for path in (tmp_path / "a.txt", tmp_path / "b.jsonl"):
        with pytest.raises(EmptyCorpusError, match="there is no document in"):
            prepare(bpe, [path], tmp_path / "data")
        assert not (tmp_path / "data" / "dataset.json").exists()


def test_arguments_that_make_no_sense(bpe, jsonl, tmp_path):
    for options in ({"workers": 0}, {"shard_bytes": 0}, {"workers": True}, {"separator": ""}):
        with pytest.raises(ValueError, match=next(iter(options))):
            prepare(bpe, [jsonl], tmp_path / "data", **options)
    for sources in ([], str(jsonl)):
        with pytest.raises(ValueError, match="sources"):
            prepare(bpe, sources, tmp_path / "data")
    assert not (tmp_path / "data").exists()


# --- damage ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def finished(bpe, jsonl, tmp_path):
    prepare(bpe, [jsonl], tmp_path / "data", shard_bytes=2000)
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("file", "change", "reason"),
    [
        (
            "shard-00001.bin",
            lambda b: b[:-1],
            r"shard-00001\.bin: has \d+ bytes, which is no whole number of 2-byte ids",
        ),
        ("shard-00001.bin", lambda b: b[:-2], r"shard-00001\.bin: has \d+ ids, but the manifest says \d+"),
        ("shard-00001.bin", lambda b: b + b[:2], r"shard-00001\.bin: has \d+ ids, but the manifest says \d+"),
        ("shard-00001.bin", lambda b: b"", r"shard-00001\.bin: has 0 ids, but the manifest says \d+"),
        ("shard-00000.ends", lambda b: b[:-3], r"ends: has \d+ bytes, which is no whole number of 8-byte documents"),
        ("shard-00000.ends", lambda b: b[8:], r"ends: has \d+ documents, but the manifest says \d+"),
        ("shard-00000.ends", lambda b: b[:-8] + b"\0" * 8, "ends: is damaged: the last document"),
        ("shard-00001.bin", None, r"shard-00001\.bin: No such file"),
        ("dataset.json", None, r"dataset\.json: No such file"),
    ],
)
def test_a_damaged_file_is_named(finished, file, change, reason):
    path = finished / file
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DatasetError, match=reason) as caught:
        TokenDataset(finished)
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("file", ["shard-00001.bin", "shard-00001.ends"])
def test_verification_finds_a_single_changed_byte(finished, file):
    data = bytearray((finished / file).read_bytes())
    data[4] ^= 1
    (finished / file).write_bytes(data)
    TokenDataset(finished)
    with pytest.raises(DatasetError, match=f"{file}: is damaged: its SHA-256"):
        TokenDataset(finished, verify=True)


def test_another_tokenizer_is_refused(finished, bpe):
    TokenDataset(finished, tokenizer=BPETokenizer.load(finished / "tokenizer"))
    with pytest.raises(DatasetError, match="was made with another tokenizer"):
        TokenDataset(finished, tokenizer=BPETokenizer.train(TEXTS, BPEConfig(vocab_size=270)))


def changed(**values):
    return lambda content: content.update(values)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (changed(format="x"), "'format' is not"),
        (changed(version=2), "version 2 is unknown"),
        (changed(tokens=5), "'tokens' is 5, but the shards have"),
        (changed(documents=60.0), "'documents' is 60.0"),
        (changed(dtype="float32"), "'dtype' must be DTypeName, got 'float32'"),
        (changed(dtype="uint32"), r"'dtype' is 'uint32', but \d+ ids need 'uint16'"),
        (changed(vocab_size=-1), "'vocab_size' must be int, got -1"),
        (changed(vocab_size=True), "'vocab_size' must be int, got True"),
        (changed(eos_id=300), r"'eos_id' is 300, but there are only \d+ ids"),
        (changed(tokenizer_sha256="abc"), "'tokenizer_sha256' must be str, got 'abc'"),
        (changed(sources=3), "'sources' must be a list"),
        (changed(sources=[3]), r"sources\[0\] must be an object"),
        (changed(shards=3), "'shards' must be a list"),
        (changed(extra=3), "unknown key 'extra'"),
        (lambda c: c.pop("separator"), "'separator' is missing"),
        (lambda c: c["shards"].pop(0), r"shards\[0\] must be an object whose 'file' is 'shard-00000.bin'"),
        (lambda c: c["shards"][0].update(file="../../etc/passwd"), r"shards\[0\] must be an object whose 'file'"),
        (lambda c: c["shards"][0].update(tokens="9"), r"'shards\[0\]\.tokens' must be int, got '9'"),
        (lambda c: c["shards"][0].pop("sha256"), r"'shards\[0\]\.sha256' is missing"),
    ],
)
def test_a_damaged_manifest_is_refused(finished, change, reason):
    path = finished / "dataset.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match=reason):
        TokenDataset(finished)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b'{"a": 1, "a": 2}', b"[" * 100_000])
def test_a_manifest_that_is_no_json_object_is_refused(finished, data):
    (finished / "dataset.json").write_bytes(data)
    with pytest.raises(DatasetError, match=r"dataset\.json: "):
        TokenDataset(finished)


def test_a_damaged_journal_is_refused(bpe, jsonl, tmp_path):
    interrupted(bpe, [jsonl], tmp_path / "data", after=1)
    for data in (b"", b"{}\n", b"broken\n", b"[]\n[]\n"):
        (tmp_path / "data" / preparing.JOURNAL).write_bytes(data)
        with pytest.raises(DatasetError, match=r"unfinished\.jsonl: "):
            prepare(bpe, [jsonl], tmp_path / "data", shard_bytes=1000)


def test_the_manifest_reads_back(finished):
    manifest = Manifest.read(finished)
    before = (finished / "dataset.json").read_bytes()
    manifest.write(finished)
    assert (finished / "dataset.json").read_bytes() == before

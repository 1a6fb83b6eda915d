"""A tokenizer's file is refused, by name and with the reason, unless it is exactly what `save` writes."""

from __future__ import annotations

import json
import random

import pytest

from tokenizers_scratch import storage
from tokenizers_scratch.bpe import BPETokenizer
from tokenizers_scratch.byte import ByteTokenizer
from tokenizers_scratch.char import CharTokenizer
from tokenizers_scratch.config import BPEConfig, ByteConfig, CharConfig
from tokenizers_scratch.errors import TokenizerFileError

TOKENIZERS = {
    "byte": ByteTokenizer.train([], ByteConfig()),
    "char": CharTokenizer.train(["abc"], CharConfig()),
    "bpe": BPETokenizer.train(["abab abab"], BPEConfig()),
}


@pytest.fixture(params=TOKENIZERS)
def saved(request, tmp_path):
    tokenizer = TOKENIZERS[request.param]
    tokenizer.save(tmp_path)
    return type(tokenizer), tmp_path / storage.FILE_NAME


def refused(cls, path, reason):
    with pytest.raises(TokenizerFileError, match=reason) as caught:
        cls.load(path.parent)
    assert caught.value.path == path
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3


def test_one_file_and_nothing_left_over(saved):
    _, path = saved
    assert [file.name for file in path.parent.iterdir()] == [storage.FILE_NAME]
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["format"] == "tokenizers-scratch"
    assert content["version"] == 1


def test_missing(saved):
    cls, path = saved
    path.unlink()
    refused(cls, path, "No such file")
    path.mkdir()
    refused(cls, path, "Is a directory|Permission denied")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe{}", "not UTF-8: byte 0"),
        (b"{}", "no tokenizer file"),
        (b"[1]", "no JSON object"),
        (b'{"a": NaN}', "NaN is no JSON number"),
        (b"[" * 200_000, "nested too deep"),
        (b'{"a":' * 200_000, "nested too deep"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "not JSON"),
    ],
)
def test_no_tokenizer_file(saved, content, reason):
    cls, path = saved
    path.write_bytes(content)
    refused(cls, path, reason)


def test_too_large_is_refused_unread(saved, monkeypatch):
    cls, path = saved
    monkeypatch.setattr(storage, "MAX_BYTES", 100)
    refused(cls, path, "more than the 100 that are read")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": "other"}, "no tokenizer file"),
        ({"version": 2}, "version 2 is unknown; this package reads 1"),
        ({"version": "1"}, "version '1' is unknown"),
        ({"type": "wordpiece"}, "holds a 'wordpiece' tokenizer, not"),
        ({"more": 1}, "unknown key 'more'"),
        ({"special_tokens": ["<PAD>"]}, "'special_tokens' must map texts to ids"),
        ({"special_tokens": {"<PAD>": "0"}}, "'special_tokens' must map texts to ids"),
        ({"special_tokens": {"<PAD>": True}}, "'special_tokens' must map texts to ids"),
        ({"special_tokens": {"<PAD>": 0, "<UNK>": 0}}, "two special tokens have one id"),
        ({"special_tokens": {"": 0}}, "empty string"),
        ({"special_tokens": {"<PAD>": 10**9, "<UNK>": 1, "<BOS>": 2, "<EOS>": 3}}, "must have the ids 0 to"),
        ({"roles": {"pad": "<NO>"}}, "'roles' names an unknown role, or a token"),
        ({"roles": {"king": "<PAD>"}}, "'roles' names an unknown role, or a token"),
        ({"roles": ["pad"]}, "'roles' must map"),
        ({"roles": {"pad": 0}}, "'roles' must map"),
    ],
)
def test_wrong_content(saved, change, reason):
    cls, path = saved
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | change), encoding="utf-8")
    refused(cls, path, reason)


def test_every_key_is_needed_once(saved):
    cls, path = saved
    text = path.read_text(encoding="utf-8")
    for key in json.loads(text):
        content = json.loads(text)
        del content[key]
        path.write_text(json.dumps(content), encoding="utf-8")
        refused(cls, path, f"'{key}' is missing|no tokenizer file|is unknown|holds a None")
        path.write_text(text.replace("{", f'{{"{key}": 0, ', 1), encoding="utf-8")
        refused(cls, path, f"key '{key}' is given twice")


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("char", {"alphabet": "abc"}, "'alphabet' must be a list of texts"),
        ("char", {"alphabet": [1]}, "'alphabet' must be a list of texts"),
        ("char", {"alphabet": ["ab"]}, "single characters"),
        ("char", {"alphabet": ["a", "a"]}, "each once"),
        ("char", {"special_tokens": {"<PAD>": 0}, "roles": {"pad": "<PAD>"}}, "for unknown characters"),
        ("bpe", {"pattern": "(a+"}, r"pattern: got '\(a\+', .* no regular expression"),
        ("bpe", {"pattern": 1}, "'pattern' must be a text"),
        ("bpe", {"vocab": []}, "'vocab' must map texts to ids"),
        ("bpe", {"vocab": {"a": 0.5}}, "'vocab' must map texts to ids"),
        ("bpe", {"vocab": {"a": 4, "b": 4}}, "two tokens have one id"),
        ("bpe", {"vocab": {"世": 4}}, "stands for no byte"),
        ("bpe", {"vocab": {"a": 4}}, "lacks the single byte"),
        ("bpe", {"merges": {}}, "'merges' must be a list"),
        ("bpe", {"merges": ["a b"]}, r"'merges'\[0\] must be a list of two texts"),
        ("bpe", {"merges": [["a", "b", "c"]]}, r"'merges'\[0\] must be a list of two texts"),
        ("bpe", {"merges": [["x", "y"]]}, "needs 'xy', which is no token"),
        ("bpe", {"merges": [["a", "b"], ["a", "b"]]}, "is there twice"),
    ],
)
def test_wrong_vocabulary(tmp_path, name, change, reason):
    TOKENIZERS[name].save(tmp_path)
    path = tmp_path / storage.FILE_NAME
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | change), encoding="utf-8")
    refused(type(TOKENIZERS[name]), path, reason)


def test_any_damage_is_refused_or_harmless(saved):
    """Flip, cut, repeat bytes: either a typed error, or a tokenizer that still works."""
    cls, path = saved
    whole = path.read_bytes()
    rng = random.Random(0)
    for _ in range(300):
        data = bytearray(whole)
        place = rng.randrange(len(data))
        kind = rng.randrange(3)
        if kind == 0:
            data[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[place:]
        else:
            data[place:place] = data[place : place + rng.randrange(1, 40)]
        path.write_bytes(data)
        try:
            tokenizer = cls.load(path.parent)
        except TokenizerFileError:
            continue
        tokenizer.decode(tokenizer.encode("abab <PAD>"))


def test_a_failed_save_leaves_the_old_file(saved, monkeypatch):
    cls, path = saved
    before = path.read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        cls.load(path.parent).save(path.parent)
    assert path.read_bytes() == before

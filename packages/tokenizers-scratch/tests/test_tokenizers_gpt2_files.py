"""GPT-2's two files: `#` is a merge, only `#version` a comment; damage is named with its file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tokenizers_scratch.bpe import BPETokenizer
from tokenizers_scratch.byte_alphabet import BYTE_ORDER, from_stand_ins, to_stand_ins
from tokenizers_scratch.errors import TokenizerFileError

DATA = Path(__file__).parents[4] / "shared" / "data"
BYTES = [to_stand_ins(bytes((byte,))) for byte in BYTE_ORDER]


def write(directory, merges, extra=(), *, header="", newline="\n"):
    tokens = [*BYTES, *(left + right for left, right in merges), *extra]
    (directory / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}), encoding="utf-8")
    text = header + "".join(f"{left} {right}{newline}" for left, right in merges)
    (directory / "merges.txt").write_bytes(text.encode("utf-8"))
    return directory / "vocab.json", directory / "merges.txt"


def test_stand_ins_are_gpt2s():
    assert to_stand_ins(b"! \n\x00") == "!ĠĊĀ"
    assert sorted(BYTES) == BYTES
    assert from_stand_ins(to_stand_ins(bytes(range(256)))) == bytes(range(256))
    with pytest.raises(ValueError, match="'世' in 'a世' stands for no byte"):
        from_stand_ins("a世")


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("header", ["", "#version: 0.2\n"])
def test_hash_signs_are_merges(tmp_path, header, newline):
    tokenizer = BPETokenizer.from_files(*write(tmp_path, [("#", "#"), ("##", "##")], header=header, newline=newline))
    assert tokenizer.merges == ((b"#", b"#"), (b"##", b"##"))
    assert tokenizer.encode("#####") == [257, 2]


def test_gpt2s_own_files():
    if not (DATA / "gpt2_vocab.json").exists():
        pytest.skip("GPT-2's files are not here")
    tokenizer = BPETokenizer.from_files(DATA / "gpt2_vocab.json", DATA / "gpt2_merges.txt")
    assert len(tokenizer.merges) == 50_000
    assert tokenizer.special_tokens == {"<|endoftext|>": 50256}
    assert tokenizer.eos_id is None
    assert sum(left.startswith(b"#") for left, _ in tokenizer.merges) == 8


def test_special_tokens(tmp_path):
    files = write(tmp_path, [("a", "b")], ["<|endoftext|>"])
    found = BPETokenizer.from_files(*files, eos_token="<|endoftext|>")
    assert found.special_tokens == {"<|endoftext|>": 257}
    assert found.eos_id == 257
    assert found.encode("<|endoftext|>", allowed_special="all") == [257]
    more = BPETokenizer.from_files(*files, ["<PAD>", "<|endoftext|>", "<EOS>"])
    assert more.special_tokens == {"<PAD>": 258, "<|endoftext|>": 257, "<EOS>": 259}
    assert (more.pad_id, more.eos_id, more.bos_id) == (258, 259, None)
    more.save(tmp_path)
    assert BPETokenizer.load(tmp_path).special_tokens == more.special_tokens
    found.save(tmp_path)
    assert BPETokenizer.load(tmp_path).eos_id == 257
    with pytest.raises(ValueError, match=r"^eos_token: got '<S>', must be one of"):
        BPETokenizer.from_files(*files, eos_token="<S>")
    plain = BPETokenizer.from_files(*files, [])  # then it is a token that text never gives
    assert plain.special_tokens == {}
    assert plain.decode([257]) == "<|endoftext|>"
    assert 257 not in plain.encode("<|endoftext|>", allowed_special="all")


def test_from_a_vocabulary_in_memory():
    vocab = {i: from_stand_ins(token) for i, token in enumerate(BYTES)} | {256: b"ab", 257: b"<|endoftext|>"}
    tokenizer = BPETokenizer(vocab, [(b"a", b"b")], ["<|endoftext|>", "<EOS>"])
    assert tokenizer.special_tokens == {"<|endoftext|>": 257, "<EOS>": 258}
    assert tokenizer.encode("ab<EOS>", allowed_special="all") == [256, 258]
    again = BPETokenizer(tokenizer.vocab, tokenizer.merges, list(tokenizer.special_tokens))
    assert again.vocab == tokenizer.vocab


@pytest.mark.parametrize(
    ("vocab", "merges", "special", "reason"),
    [
        ({0: b"a"}, [], (), "lacks the single byte"),
        ({i: bytes((i,)) for i in range(255)} | {256: b"\xff"}, [], (), "ids 0 to 255"),
        ({i: bytes((i,)) for i in range(256)} | {256: b"a"}, [], (), "the token 'a' twice"),
        ({i: bytes((i,)) for i in range(256)}, [(b"a", b"b")], (), "needs 'ab', which is no token"),
        ({i: bytes((i,)) for i in range(256)} | {256: b"xab"}, [(b"xa", b"b")], (), "needs 'xa'"),
        ({i: bytes((i,)) for i in range(256)} | {256: b"ab"}, [(b"a", b"b")] * 2, (), "there twice"),
        ({i: bytes((i,)) for i in range(256)}, [], ("<A>", "<A>"), "'<A>' appears twice"),
    ],
)
def test_a_vocabulary_that_cannot_work(vocab, merges, special, reason):
    with pytest.raises(ValueError, match=reason):
        BPETokenizer(vocab, merges, special)


def test_an_unknown_pattern():
    with pytest.raises(ValueError, match=r"^pattern: got 'x', must be one of gpt2, gpt4, none or a regular"):
        BPETokenizer({}, [], pattern="x")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a b c", r"line 2 is no pair of tokens: 'a b c'"),
        ("ab", r"line 2 is no pair of tokens"),
        (" ab", r"line 2 is no pair of tokens"),
        ("a 世", "stands for no byte"),
    ],
)
def test_damaged_merges(tmp_path, line, reason):
    vocab, merges = write(tmp_path, [("a", "b")])
    merges.write_text(f"a b\n{line}\n", encoding="utf-8")
    with pytest.raises(TokenizerFileError, match=reason) as caught:
        BPETokenizer.from_files(vocab, merges)
    assert caught.value.path == merges


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[]", "no JSON object"),
        ('{"a": 0, "a": 1}', "key 'a' is given twice"),
        ('{"a": "0"}', "must map texts to ids"),
        ('{"a": -1}', "must map texts to ids"),
        ('{"a": 0, "b": 0}', "two tokens have the id 0"),
        ('{"世": 0}', "stands for no byte"),
        ('{"a": 0}', "lacks the single byte"),
        ("{", "not JSON"),
    ],
)
def test_damaged_vocabulary(tmp_path, content, reason):
    vocab, merges = write(tmp_path, [])
    vocab.write_text(content, encoding="utf-8")
    with pytest.raises(TokenizerFileError, match=reason) as caught:
        BPETokenizer.from_files(vocab, merges)
    assert caught.value.path == vocab
    assert caught.value.exit_code == 3


def test_missing_files(tmp_path):
    vocab, merges = write(tmp_path, [])
    with pytest.raises(TokenizerFileError, match=r"nope\.json: No such file"):
        BPETokenizer.from_files(tmp_path / "nope.json", merges)
    with pytest.raises(TokenizerFileError, match=r"nope\.txt: No such file"):
        BPETokenizer.from_files(vocab, tmp_path / "nope.txt")

"""What is written loads in tiktoken and HF tokenizers and gives the same ids; what is read is refused unless sound."""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path

import pytest

from tokenizers_scratch.bpe import BPETokenizer
from tokenizers_scratch.byte_alphabet import BYTE_ORDER
from tokenizers_scratch.config import BPEConfig
from tokenizers_scratch.errors import TokenizerFileError
from tokenizers_scratch.formats.oniguruma import to_regex
from tokenizers_scratch.formats.tiktoken_ranks import (
    merges_from_ranks,
    read_ranks,
    read_tiktoken,
    tiktoken_arguments,
    write_tiktoken,
)
from tokenizers_scratch.formats.tokenizer_json import read_tokenizer_json, write_tokenizer_json
from tokenizers_scratch.patterns import PATTERNS
from tokenizers_scratch.special_tokens import SpecialTokens

DATA = Path(__file__).parents[4] / "shared" / "data"
CORPUS = ["Fair is foul, and foul is fair: WE'LL hover 1234 times\r\n\n through  the fog.\n" * 3, "世界 é 👍" * 3]
OWN = r"[a-z]+|[0-9]{1,2}"
TOKENIZERS = {
    pattern: BPETokenizer.train(CORPUS, BPEConfig(vocab_size=340, pattern=pattern, special_tokens=("<|a b|>",)))
    for pattern in ("gpt2", "gpt4", "none", OWN)
}
each = pytest.mark.parametrize("tokenizer", TOKENIZERS.values(), ids=["gpt2", "gpt4", "none", "own"])


def strings(n=600, seed=0):
    rng = random.Random(seed)
    parts = [*"fairouleh 1234 \n\r\t,'é世👍", "WE'LL", "foul", "'s", "  ", "<EOS>", "<|a b|>", "\x00", "\u0301"]
    return ["".join(rng.choices(parts, k=rng.randint(0, 20))) for _ in range(n)]


@each
def test_tokenizer_json_gives_the_same_ids_in_hf(tokenizer, tmp_path):
    tokenizers = pytest.importorskip("tokenizers", reason="compares with HF tokenizers")
    write_tokenizer_json(tokenizer, tmp_path)
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in strings():
        found = theirs.encode(text)
        ids = tokenizer.encode(text, allowed_special="all")
        assert found.ids == ids
        assert theirs.decode(ids, skip_special_tokens=False) == tokenizer.decode(ids, skip_special=False) == text
    theirs.encode_special_tokens = True
    assert theirs.encode("<EOS>").ids == tokenizer.encode("<EOS>")


@each
def test_tokenizer_json_comes_back(tokenizer, tmp_path):
    write_tokenizer_json(tokenizer, tmp_path)
    again = read_tokenizer_json(tmp_path / "tokenizer.json")
    assert (again.vocab, again.merges, again.pattern) == (tokenizer.vocab, tokenizer.merges, tokenizer.pattern)
    assert again.special_tokens == tokenizer.special_tokens
    assert (again.pad_id, again.eos_id) == (0, 3)


def test_transformers_reads_both_files(tmp_path):
    transformers = pytest.importorskip("transformers", reason="compares with transformers")
    tokenizer = TOKENIZERS["gpt4"]
    write_tokenizer_json(tokenizer, tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert (theirs.eos_token_id, theirs.pad_token_id, theirs.eos_token) == (3, 0, "<EOS>")
    for text in strings(50):
        assert theirs(text)["input_ids"] == tokenizer.encode(text, allowed_special="all")


def test_hf_files_come_in(tmp_path):
    tokenizers = pytest.importorskip("tokenizers", reason="compares with HF tokenizers")
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE())
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    theirs.decoder = tokenizers.decoders.ByteLevel()
    theirs.train_from_iterator(
        CORPUS,
        tokenizers.trainers.BpeTrainer(
            vocab_size=320,
            special_tokens=["<s>", "<|endoftext|>"],
            initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    path = tmp_path / "tokenizer.json"
    theirs.save(str(path))
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": {"content": "<|endoftext|>"}, "bos_token": "<s>"}')
    ours = read_tokenizer_json(path)
    assert (ours.bos_id, ours.eos_id, ours.pad_id) == (0, 1, None)
    for text in strings():
        assert ours.encode(text, allowed_special="all") == theirs.encode(text).ids
    content = json.loads(path.read_text(encoding="utf-8"))  # as older versions wrote merges
    content["model"]["merges"] = [" ".join(merge) for merge in content["model"]["merges"]]
    path.write_text(json.dumps(content), encoding="utf-8")
    assert read_tokenizer_json(path).merges == ours.merges


@each
def test_vocab_and_merges(tokenizer, tmp_path):
    tokenizers = pytest.importorskip("tokenizers", reason="compares with HF tokenizers")
    files = tmp_path / "vocab.json", tmp_path / "merges.txt"
    tokenizer.save_files(*files)
    again = BPETokenizer.from_files(*files, list(tokenizer.special_tokens), pattern=tokenizer.pattern)
    assert (again.vocab, again.merges) == (tokenizer.vocab, tokenizer.merges)
    assert again.special_tokens == tokenizer.special_tokens
    if tokenizer.pattern == "gpt2":
        theirs = tokenizers.Tokenizer(tokenizers.models.BPE.from_file(*map(str, files)))
        theirs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        for text in strings():
            assert theirs.encode(text).ids == tokenizer.encode(text)


def test_gpt2s_own_files_are_written_as_they_were(tmp_path):
    if not (DATA / "gpt2_vocab.json").exists():
        pytest.skip("GPT-2's files are not here")
    tokenizer = BPETokenizer.from_files(DATA / "gpt2_vocab.json", DATA / "gpt2_merges.txt")
    tokenizer.save_files(tmp_path / "vocab.json", tmp_path / "merges.txt")
    written = (tmp_path / "merges.txt").read_bytes().removeprefix(b"#version: 0.2\n")
    assert written == (DATA / "gpt2_merges.txt").read_bytes().removeprefix(b"#version: 0.2\n")
    ours, theirs = (json.loads(p.read_bytes()) for p in (tmp_path / "vocab.json", DATA / "gpt2_vocab.json"))
    assert ours == theirs
    write_tiktoken(tokenizer, tmp_path / "gpt2.tiktoken")  # the merges follow from the ranks
    again = read_tiktoken(tmp_path / "gpt2.tiktoken", {"<|endoftext|>": 50256}, pattern="gpt2")
    assert (again.vocab, again.merges, again.eos_id) == (tokenizer.vocab, tokenizer.merges, 50256)


@each
def test_ranks_give_the_same_ids_in_tiktoken(tokenizer, tmp_path):
    tiktoken = pytest.importorskip("tiktoken", reason="compares with tiktoken")
    write_tiktoken(tokenizer, tmp_path / "ranks.tiktoken")
    arguments = tiktoken_arguments(tokenizer)
    loaded = pytest.importorskip("tiktoken.load").load_tiktoken_bpe(str(tmp_path / "ranks.tiktoken"))
    assert loaded == arguments["mergeable_ranks"]
    theirs = tiktoken.Encoding("written", **{**arguments, "mergeable_ranks": loaded})
    for text in strings():
        assert theirs.encode(text, allowed_special="all") == tokenizer.encode(text, allowed_special="all")
        assert theirs.encode(text, disallowed_special=()) == tokenizer.encode(text)
    again = read_tiktoken(tmp_path / "ranks.tiktoken", tokenizer.special_tokens, pattern=tokenizer.pattern)
    assert (again.vocab, again.merges) == (tokenizer.vocab, tokenizer.merges)


def byte_lines(n=256):
    return [f"{base64.b64encode(bytes((byte,))).decode()} {i}" for i, byte in enumerate(BYTE_ORDER[:n])]


def test_ids_between_ranks_and_special_tokens(tmp_path):
    path = tmp_path / "x.tiktoken"
    path.write_text("\n".join(byte_lines()))
    tokenizer = read_tiktoken(path, {"<|endoftext|>": 258}, pattern="gpt4")
    assert tokenizer.special_tokens == {"<|endoftext|>": 258, "<|unused_256|>": 256, "<|unused_257|>": 257}
    assert (tokenizer.eos_id, tokenizer.vocab_size) == (258, 259)
    with pytest.raises(ValueError, match=r"must not leave 999999743 ids without token"):
        read_tiktoken(path, {"<|endoftext|>": 999_999_999}, pattern="gpt4")
    with pytest.raises(TokenizerFileError, match="the id 5 is that of a special token"):
        read_tiktoken(path, {"<|endoftext|>": 5}, pattern="gpt4")


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([], "there are no ranks"),
        (byte_lines(255), "lacks the single byte"),
        ([*byte_lines(), "YWI= 257"], "rank 256 is missing"),
        ([*byte_lines(), "YWI= 255"], "rank 255 is there twice"),
        ([*byte_lines(), "YQ== 256"], r"line 257 has the token b'a' again"),
        ([*byte_lines(), "YWJj 256"], r"b'abc' \(rank 256\) is made of 3 tokens before it, not 2"),
        ([*byte_lines(), "YWJ 256"], "line 257 is not base64"),
        ([*byte_lines(), "Y*I= 256"], "line 257 is not base64"),
        ([*byte_lines(), " 256"], "line 257 has an empty token"),
        ([*byte_lines(), "YWI="], "line 257 is no token with a rank"),
        ([*byte_lines(), "YWI= -1"], "line 257 is no token with a rank"),
        ([*byte_lines(), "YWI= " + "9" * 5000], "line 257 is no token with a rank"),
        ([*byte_lines(), base64.b64encode(b"ab" * 500_000).decode() + " 256"], "is made of 1000000 tokens"),
    ],
    ids=range(13),
)
def test_damaged_ranks(tmp_path, lines, reason):
    path = tmp_path / "x.tiktoken"
    path.write_text("\n".join(lines))
    with pytest.raises(TokenizerFileError, match=reason) as caught:
        read_tiktoken(path, pattern="gpt2")
    assert (caught.value.path, caught.value.exit_code) == (path, 3)


def test_ranks_are_refused_where_they_are_not_text(tmp_path):
    path = tmp_path / "x.tiktoken"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(TokenizerFileError, match="not UTF-8: byte 0"):
        read_ranks(path)
    with pytest.raises(TokenizerFileError, match="No such file"):
        read_ranks(tmp_path / "nope")


def test_merges_that_ranks_cannot_express():
    letters = {i: bytes((i,)) for i in range(256)}
    tokenizer = BPETokenizer(letters | {256: b"bc", 257: b"ab"}, [(b"a", b"b"), (b"b", b"c")])
    with pytest.raises(ValueError, match="do not follow from the order of ids"):
        tiktoken_arguments(tokenizer)
    assert merges_from_ranks({bytes((i,)): i for i in range(256)}) == []


def test_a_special_token_written_like_another(tmp_path):
    letters = {i: bytes((i,)) for i in range(256)}
    tokenizer = BPETokenizer(letters | {256: b"ab"}, [(b"a", b"b")], SpecialTokens({"ab": 257}))
    for write in (lambda: write_tokenizer_json(tokenizer, tmp_path), lambda: tokenizer.save_files(tmp_path / "v", "m")):
        with pytest.raises(ValueError, match="ids 256 and 257 are both written 'ab'"):
            write()


def change(content, path, value):
    *parents, last = path
    for key in parents:
        content = content[key]
    content[last] = value


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (["version"], "2.0", r"version '2\.0' is unknown"),
        (["version"], None, "version None is unknown"),
        (["model"], None, "'model' must be an object"),
        (["model", "type"], "WordPiece", "the model is 'WordPiece', not BPE"),
        (["model", "unk_token"], "<UNK>", "'model' has 'unk_token'"),
        (["model", "dropout"], 0.1, "'model' has 'dropout'"),
        (["model", "vocab"], ["a"], "must map texts to ids"),
        (["model", "vocab", "世"], 5, "stands for no byte"),
        (["model", "vocab", "zz"], 9999, "ids 0 to"),
        (["model", "vocab", "zz"], 7, "two tokens have one id"),
        (["model", "merges"], {}, "'merges' must be a list"),
        (["model", "merges"], ["abc"], r"'merges'\[0\] must be a pair"),
        (["model", "merges"], [["a", "b", "c"]], r"'merges'\[0\] must be a pair"),
        (["model", "merges"], [["q", "zz"]], "needs 'zz', which is no token"),
        (["normalizer"], {"type": "NFC"}, "there is a normalizer"),
        (["pre_tokenizer"], None, "'pre_tokenizer' is not that of byte-level BPE"),
        (["pre_tokenizer"], {"type": "Whitespace"}, "'pre_tokenizer' is not that of byte-level BPE"),
        (["pre_tokenizer", "pretokenizers"], 5, "'pre_tokenizer' is not that of byte-level BPE"),
        (["pre_tokenizer", "pretokenizers", 0, "pattern", "Regex"], "(a", r"pattern: got '\(a'"),
        (["pre_tokenizer", "pretokenizers", 0, "pattern", "Regex"], "[a&&]", "nothing on one side of '&&'"),
        (["added_tokens"], 5, "'added_tokens' must be a list"),
        (["added_tokens", 0, "special"], False, "is not a plain special token"),
        (["added_tokens", 0, "lstrip"], True, "is not a plain special token"),
        (["added_tokens", 0, "content"], None, "lacks 'content' or 'id'"),
    ],
)
def test_damaged_tokenizer_json(tmp_path, path, value, reason):
    write_tokenizer_json(TOKENIZERS["gpt2"], tmp_path)
    file = tmp_path / "tokenizer.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    change(content, path, value)
    file.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(TokenizerFileError, match=reason) as caught:
        read_tokenizer_json(file)
    assert caught.value.path == file


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "nested too deep"),
        ('{"version": "1.0", "version": "1.0"}', "given twice"),
        ('{"version": "1.0"', "not JSON"),
        ("[]", "no JSON object"),
        ("{" + '"a": ' + "9" * 10_000 + "}", "not JSON"),
    ],
)
def test_hostile_json(tmp_path, text, reason):
    file = tmp_path / "tokenizer.json"
    file.write_text(text)
    with pytest.raises(TokenizerFileError, match=reason):
        read_tokenizer_json(file)


def test_a_huge_file_is_refused_unread(tmp_path):
    file = tmp_path / "tokenizer.json"
    with file.open("wb") as out:
        out.truncate(2**33)
    with pytest.raises(TokenizerFileError, match=r"8589934592 bytes, more than"):
        read_tokenizer_json(file)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (r"\p{N}{1,3}+", r"(?:\p{N}{1,3})+"),
        (r"(?:ab|c){2}+|x", r"(?:(?:ab|c){2})+|x"),
        (r"[^\s]{1,2}+", r"(?:[^\s]{1,2})+"),
        (r"(a{2}+b)+", r"((?:a{2})+b)+"),
        (r"((a){2}+)", r"((?:(a){2})+)"),
        (r"a{1,3}b++", r"a{1,3}b++"),
        (r"\h+\z", r"[0-9A-Fa-f]+\Z"),
        (r"[\x{4e00}-\x{9fff}]", r"[\U00004e00-\U00009fff]"),
        (r"\w[\w.]", r"[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}²³¹¼½¾][\p{Alphabetic}\p{M}\p{Nd}\p{Pc}.]"),
        (r"[[:punct:]a[:digit:]]", r"[\p{P}\p{S}a[:digit:]]"),
        (r"[]a]", r"[]a]"),
        (r"[^]a]\]{2}", r"[^]a]\]{2}"),
    ],
)
def test_the_syntax_of_hfs_engine(theirs, ours):
    assert to_regex(theirs) == ours


@pytest.mark.parametrize("pattern", ["[a&&]", "[&&a]", r"\G", r"a\K", "[ab", "[a[b]", "[" * 10 + "a" + "]" * 10])
def test_syntax_without_counterpart(pattern):
    with pytest.raises(ValueError, match=r"not supported|no end|nothing on one side|more than 8 deep"):
        to_regex(pattern)


def test_published_patterns_need_no_translation():
    from tokenizers_scratch.patterns import published_form

    for name in PATTERNS:
        assert to_regex(published_form(name)) == published_form(name)

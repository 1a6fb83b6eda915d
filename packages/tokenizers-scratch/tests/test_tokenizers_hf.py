"""The `hf` tokenizer: built with and without a file, saved, refused; what is in the file is not trusted."""

from __future__ import annotations

import base64
import copy
import json
import struct
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizers_scratch.charsmap import Charsmap
from tokenizers_scratch.errors import (
    EmptyCorpusError,
    PatternTimeoutError,
    SpecialTokenError,
    TokenizerDataError,
    TokenizerFileError,
    UnknownIdError,
    UnsupportedComponentError,
)
from tokenizers_scratch.hf.aligned import Aligned
from tokenizers_scratch.hf.config import HFConfig
from tokenizers_scratch.hf.tokenizer import HFTokenizer

CORPUS = ["Fair is foul, and foul is fair: hover through the fog and filthy air. 世界"] * 3
WORDS = {"type": "WordLevel", "vocab": {"[UNK]": 0, "a": 1, "b": 2, "[SEP]": 3}, "unk_token": "[UNK]"}


def file(**parts):
    empty = dict.fromkeys(("truncation", "padding", "normalizer", "pre_tokenizer", "post_processor", "decoder"))
    return {"version": "1.0", "added_tokens": [], **empty, "model": WORDS, **parts}


def added(text, **options):
    return {"content": text, "special": True, "normalized": False, **options}


def test_without_a_file_it_learns():
    tokenizer = HFTokenizer.train(CORPUS, HFConfig(vocab_size=300))
    assert 280 < tokenizer.vocab_size <= 300
    assert (tokenizer.pad_id, tokenizer.unk_id, tokenizer.bos_id, tokenizer.eos_id) == (0, 1, 2, 3)
    assert tokenizer.decode(tokenizer.encode("new: ž 👍")) == "new: ž 👍"
    with pytest.raises(EmptyCorpusError):
        HFTokenizer.train([], HFConfig())


@given(text=st.text(st.characters()))
@settings(deadline=None, derandomize=True, max_examples=300)
def test_a_byte_level_file_keeps_every_text(text):
    tokenizer = _learned()
    ids, spans = tokenizer.encode_with_offsets(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.offsets(text) == spans
    covered = 0
    for start, end in spans:
        assert start <= covered <= end <= len(text)
        covered = end
    assert covered == len(text)


def _learned(cache={}):  # noqa: B006
    if not cache:
        cache[0] = HFTokenizer.train(CORPUS, HFConfig(vocab_size=300))
    return cache[0]


def test_saved_and_loaded(tmp_path):
    tokenizer = _learned()
    tokenizer.save(tmp_path / "new")
    names = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert names == ["scratch-tokenizer.json", "tokenizer.json", "tokenizer_config.json"]
    loaded = HFTokenizer.load(tmp_path / "new")
    assert loaded.vocab == tokenizer.vocab
    assert loaded.encode(CORPUS[0]) == tokenizer.encode(CORPUS[0])
    assert loaded.eos_id == 3
    assert HFTokenizer.from_file(tmp_path / "new" / "tokenizer.json").special_tokens == tokenizer.special_tokens
    assert copy.deepcopy(loaded).encode(CORPUS[0]) == tokenizer.encode(CORPUS[0])
    path = tmp_path / "new" / "tokenizer.json"
    path.write_text(json.dumps(file(added_tokens=[added("[SEP]")])))
    with pytest.raises(TokenizerFileError, match=r"has other special tokens than tokenizer\.json beside it"):
        HFTokenizer.load(tmp_path / "new")
    path.unlink()
    with pytest.raises(TokenizerFileError, match=r"tokenizer\.json: No such file"):
        HFTokenizer.load(tmp_path / "new")


def test_hf_reads_what_is_saved(tmp_path):
    tokenizers = pytest.importorskip("tokenizers", reason="compares with HF tokenizers")
    tokenizer = _learned()
    tokenizer.save(tmp_path)
    theirs = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert theirs.encode(CORPUS[0]).ids == tokenizer.encode(CORPUS[0])


def test_roles(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(file(added_tokens=[added("[SEP]"), added("<eot>"), added("<pad>")])))
    usual = HFTokenizer.from_file(path)
    assert (usual.eos_id, usual.pad_id, usual.bos_id, usual.unk_id) == (3, 5, None, None)
    chosen = HFTokenizer.train([], HFConfig(path=str(path), eos_token="<eot>"))
    assert chosen.eos_id == 4
    assert chosen.vocab_size == 6
    with pytest.raises(ValueError, match=r"^eos_token: got 'a', must be one of '\[SEP\]', '<eot>', '<pad>'"):
        HFTokenizer.train([], HFConfig(path=str(path), eos_token="a"))
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "<eot>"}')
    assert HFTokenizer.from_file(path).eos_id == 4
    assert HFTokenizer.from_file(path, {"eos": "[SEP]"}).eos_id == 3
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "</s>"}')
    with pytest.raises(TokenizerFileError, match=r"tokenizer_config\.json: 'eos_token' is '</s>', which is no special"):
        HFTokenizer.from_file(path)
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": 5}')
    with pytest.raises(TokenizerFileError, match="'eos_token' must be a text"):
        HFTokenizer.from_file(path)


def test_a_file_without_end_of_text_gets_one(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(file()))
    assert HFTokenizer.from_file(path).eos_id is None
    tokenizer = HFTokenizer.train([], HFConfig(path=str(path)))
    assert (tokenizer.eos_id, tokenizer.vocab_size) == (4, 5)
    tokenizer.save(tmp_path / "saved")
    assert HFTokenizer.load(tmp_path / "saved").eos_id == 4


def test_special_tokens_are_text_unless_allowed():
    tokenizer = HFTokenizer(file(added_tokens=[added("[SEP]")], pre_tokenizer={"type": "WhitespaceSplit"}))
    assert tokenizer.encode("a [SEP]") == [1, 3]  # here the model itself has that word
    tokenizer = HFTokenizer(file(added_tokens=[added("<x>")], pre_tokenizer={"type": "WhitespaceSplit"}))
    assert tokenizer.encode("a <x>") == [1, 0]
    assert tokenizer.encode("a<x>b", allowed_special="all") == [1, 4, 2]
    assert tokenizer.encode("a<x>b", allowed_special={"<x>"}) == [1, 4, 2]
    assert list(tokenizer.encode_iterable(["a <", "x>"], allowed_special="all")) == [1, 4]
    with pytest.raises(SpecialTokenError):
        tokenizer.encode("a<x>", allowed_special="none_raise")
    with pytest.raises(ValueError, match="'<y>' is no special token"):
        tokenizer.encode("a", allowed_special={"<y>"})
    with pytest.raises(ValueError, match="allowed_special: got 'some'"):
        tokenizer.encode("a", allowed_special="some")


def test_ids_without_token():
    vocab = {"a": 0, "b": 5}
    tokenizer = HFTokenizer(file(model={"type": "WordLevel", "vocab": vocab, "unk_token": "a"}))
    assert tokenizer.vocab_size == 6
    assert tokenizer.decode([0, 1, 5]) == "a b"
    for decode in (tokenizer.decode, tokenizer.stream_decoder().push):
        with pytest.raises(UnknownIdError):
            decode([6])


def test_a_text_that_nothing_stands_for():
    tokenizer = HFTokenizer(file(model={"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "?"}))
    with pytest.raises(TokenizerDataError, match=r"'\?' is not in the vocabulary"):
        tokenizer.encode("b")
    tokenizer = HFTokenizer(file(model={"type": "Unigram", "unk_id": None, "vocab": [["a", 0.0]]}))
    assert tokenizer.encode("aa") == [0, 0]
    with pytest.raises(TokenizerDataError, match="no unknown piece"):
        tokenizer.encode("b")
    tokenizer = HFTokenizer(file(model={"type": "WordPiece", "vocab": {"a": 0}}))
    with pytest.raises(TokenizerDataError, match=r"'\[UNK\]' is not in the vocabulary"):
        tokenizer.encode("ba")


def test_lone_surrogates():
    tokenizer = HFTokenizer(file(normalizer={"type": "NFKC"}, pre_tokenizer={"type": "BertPreTokenizer"}))
    assert tokenizer.encode("a \ud800 b") == [1, 0, 2]


@pytest.mark.parametrize(
    ("part", "place", "name"),
    [
        ({"normalizer": {"type": "Magic"}}, "normalizer", "the normalizer 'Magic'"),
        (
            {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Magic"}]}},
            r"normalizer\.normalizers\[1\]",
            "the normalizer 'Magic'",
        ),
        ({"pre_tokenizer": {"type": "Magic"}}, "pre_tokenizer", "the pre-tokenizer 'Magic'"),
        ({"pre_tokenizer": {"type": "Punctuation", "behavior": "Odd"}}, "pre_tokenizer", "the behavior 'Odd'"),
        (
            {"pre_tokenizer": {"type": "Metaspace", "prepend_scheme": "odd"}},
            "pre_tokenizer",
            "the prepend scheme 'odd'",
        ),
        ({"decoder": {"type": "Magic"}}, "decoder", "the decoder 'Magic'"),
        ({"post_processor": {"type": "Magic"}}, "post_processor", "the post-processor 'Magic'"),
        ({"model": {"type": "Magic"}}, "model", "the model 'Magic'"),
    ],
)
def test_what_is_not_supported_is_named(part, place, name):
    with pytest.raises(UnsupportedComponentError, match=rf"^x\.json: {place}: {name}.* is not supported$") as caught:
        HFTokenizer(file(**part), path="x.json")
    assert caught.value.exit_code == 3


BPE = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]}
DEEP: dict = {"type": "NFC"}
for _ in range(40):
    DEEP = {"type": "Sequence", "normalizers": [DEEP]}


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        ({"version": "3"}, "version '3' is unknown"),
        ({"model": None}, "'model' is missing"),
        ({"model": []}, "model must be an object"),
        ({"model": {"type": 5}}, "model must have a text 'type'"),
        ({"model": {**WORDS, "vocab": ["a"]}}, "model must have 'vocab' that maps texts to ids"),
        ({"model": {**WORDS, "vocab": {"a": -1}}}, "maps texts to ids"),
        ({"model": {**WORDS, "vocab": {"a": 0, "b": 0}}}, "two tokens have one id"),
        ({"model": {**WORDS, "vocab": {"a": 10**9}}}, "1000000000 of 1000000001 ids have no token"),
        ({"model": {**WORDS, "vocab": {"\ud800": 0}}}, "lone surrogate in 'vocab'"),
        ({"model": {**BPE, "merges": 5}}, "'merges' must be a list"),
        ({"model": {**BPE, "merges": ["ab"]}}, r"'merges'\[0\] must be a pair"),
        ({"model": {**BPE, "merges": [["b", "a"]]}}, "merge 'b' \\+ 'a', which needs 'ba'"),
        ({"model": {**BPE, "unk_token": "?"}}, "the unknown token '\\?', which is not in the vocabulary"),
        ({"model": {**BPE, "fuse_unk": 1}}, "must have true or false as 'fuse_unk'"),
        (
            {"model": {"type": "Unigram", "vocab": [["a"]]}},
            "pairs of a piece and its score in 'vocab', unlike that at 0",
        ),
        ({"model": {"type": "Unigram", "vocab": [["a", "b"]]}}, "pairs of a piece and its score"),
        ({"model": {"type": "Unigram", "vocab": [["a", 0], ["a", 1]]}}, "has the piece 'a' twice"),
        (
            {"model": {"type": "Unigram", "vocab": [["a", 0]], "unk_id": 1}},
            "has the 'unk_id' 1, but there are 1 pieces",
        ),
        ({"model": {"type": "WordPiece", "vocab": {}, "max_input_chars_per_word": -1}}, "must have a count"),
        ({"normalizer": 5}, "normalizer must be an object"),
        ({"normalizer": DEEP}, "is nested too deep"),
        (
            {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}] * 65}},
            "has 65 normalizers, more than 64",
        ),
        ({"normalizer": {"type": "Sequence"}}, "must have a list 'normalizers'"),
        ({"normalizer": {"type": "Replace", "pattern": "a", "content": "b"}}, "must have 'pattern' with one text"),
        (
            {"normalizer": {"type": "Replace", "pattern": {"Regex": "(a"}, "content": "b"}},
            r"normalizer has the pattern '\(a': it is no regular expression",
        ),
        (
            {"normalizer": {"type": "Replace", "pattern": {"Regex": "a{9999999}"}, "content": "b"}},
            "counted repeats multiply",
        ),
        ({"normalizer": {"type": "Prepend", "prepend": "\ud800"}}, "lone surrogate in 'prepend'"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "*"}}, "is not base64"),
        ({"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}}, "is damaged"),
        ({"pre_tokenizer": {"type": "Metaspace", "replacement": "ab"}}, "must have one character as 'replacement'"),
        ({"decoder": {"type": "Strip", "content": "", "start": 1, "stop": 0}}, "one character as 'content'"),
        ({"decoder": {"type": "Strip", "content": " ", "start": -1, "stop": 0}}, "must have a count as 'start'"),
        (
            {"post_processor": {"type": "BertProcessing", "sep": ["a"], "cls": ["a", 0]}},
            "a token and its id as 'cls'|'sep'",
        ),
        (
            {"post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "x"}}]}},
            "has the token 'x', which 'special_tokens' lacks",
        ),
        ({"added_tokens": {}}, "must have a list 'added_tokens'"),
        ({"added_tokens": [5]}, r"added_tokens\[0\] must be an object"),
        ({"added_tokens": [{"id": 4}]}, r"added_tokens\[0\] must have a text 'content'"),
        ({"added_tokens": [added("x", id=9)]}, r"added_tokens\[0\] 'x' has the id 9, but has to have 4"),
        ({"added_tokens": [added("x", lstrip="yes")]}, "must have true or false as 'lstrip'"),
    ],
)
def test_damaged_files(tmp_path, part, reason):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(file(**part)))
    with pytest.raises(TokenizerFileError, match=reason) as caught:
        HFTokenizer.from_file(path)
    assert caught.value.path == path


@pytest.mark.parametrize("kind", ["normalizer", "pre_tokenizer", "decoder"])
def test_a_catastrophic_pattern_runs_out_of_time(kind):
    pattern = {"pattern": {"Regex": "(a|aa)+$"}}
    split = {"type": "Split", **pattern, "behavior": "Isolated", "invert": False}
    part = split if kind == "pre_tokenizer" else {"type": "Replace", **pattern, "content": "b"}
    text = "a" * 50 + "b"
    model = {"type": "WordLevel", "vocab": {text: 0, "?": 1}, "unk_token": "?"}
    tokenizer = HFTokenizer(file(model=model, **{kind: part}))
    started = time.process_time()
    with pytest.raises(PatternTimeoutError) as caught:
        tokenizer.decode([0]) if kind == "decoder" else tokenizer.encode(text)
    assert time.process_time() - started < 10
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("options", [{"path": ""}, {"eos_token": ""}, {"path": 5}, {"vocab_size": 5}])
def test_options_that_make_no_sense(options):
    (name,) = options
    with pytest.raises(ValueError, match=rf"^{name}: got"):
        HFConfig(**options)


def test_a_long_word_takes_linear_time():
    model = {"type": "Unigram", "unk_id": 0, "vocab": [["?", -9.0], ["a", -1.0], ["aa", -1.5], ["aaa", -2.0]]}
    for tokenizer in (HFTokenizer(file(model=model)), HFTokenizer(file(model={**BPE, "unk_token": "a"}))):
        started = time.process_time()
        assert len(tokenizer.encode("ab" * 100_000)) >= 100_000
        assert time.process_time() - started < 10


def test_a_long_stream_takes_linear_time():
    decoder = {"type": "WordPiece", "prefix": "##", "cleanup": True}
    tokenizer = HFTokenizer(file(decoder=decoder))
    started = time.process_time()
    stream = tokenizer.stream_decoder()
    pieces = [stream.push([1 + i % 2]) for i in range(20_000)]
    assert "".join(pieces) + stream.flush() == tokenizer.decode([1 + i % 2 for i in range(20_000)])
    assert time.process_time() - started < 20


def test_edits_keep_their_place():
    text = Aligned.of("abcd").edited([("x", 1), ("", 1), ("yz", 2)])
    assert (text.text, [text.span(i, i + 1) for i in range(3)]) == ("xyz", [(0, 1), (3, 4), (3, 4)])
    assert text.slice(1, 3).prepended("_").span(0, 1) == (3, 4)
    assert text.slice(0, 0).prepended("_").text == ""
    assert Aligned.of("ab").span(2, 2) == (2, 2)


def charsmap(rules):
    """A double-array trie for single-byte keys, laid out by hand."""
    units = [0] * 1024
    units[0] = 256 << 10  # the children of the root begin at 256
    replacements = b""
    for n, (key, new) in enumerate(rules.items()):
        node = 256 ^ ord(key)
        leaf = 512 + n
        units[node] = ord(key) | 1 << 8 | (node ^ leaf) << 10
        units[leaf] = 1 << 31 | len(replacements)
        replacements += new.encode() + b"\0"
    trie = struct.pack("<1024I", *units)
    return struct.pack("<I", len(trie)) + trie + replacements


def test_compiled_rules():
    rules = charsmap({"A": "a", "B": "", "C": "xyz"})
    assert Charsmap(rules).matches("AB") == ((1, "a"),)
    assert Charsmap(rules).matches("D") == ()
    normalizer = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(rules).decode()}
    vocab = [["?", 0.0], *([c, -1.0] for c in "axyzB")]
    tokenizer = HFTokenizer(file(normalizer=normalizer, model={"type": "Unigram", "unk_id": 0, "vocab": vocab}))
    assert tokenizer.encode_with_offsets("ABC") == ([1, 2, 3, 4], [(0, 1), (2, 3), (2, 3), (2, 3)])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: b"", "not even their size"),
        (lambda data: data[:9], "their trie has 4096 bytes, but 5 bytes follow"),
        (lambda data: struct.pack("<I", 2**31) + data[4:], "their trie has 2147483648 bytes"),
        (lambda data: data[:-1], "leads out of the data"),
        (lambda data: data[:-2] + b"\xff\0", "is not UTF-8"),
        (lambda data: data[: 4 + 512 * 4] + struct.pack("<I", 0x7FFFFFFF) + data[4 + 513 * 4 :], "out of the data"),
        (
            lambda data: data[: 4 + 321 * 4] + struct.pack("<I", 0x7FFFFC00 | 1 << 8 | 65) + data[4 + 322 * 4 :],
            "of the trie",
        ),
    ],
)
def test_damaged_rules(damage, reason):
    data = damage(charsmap({"A": "a"}))
    with pytest.raises(ValueError, match=reason):
        Charsmap(data).matches("A")


def test_rules_of_sentencepiece():
    tokenizers = pytest.importorskip("tokenizers", reason="compares with HF tokenizers")
    spm = pytest.importorskip("sentencepiece", reason="compares with sentencepiece")
    import io
    import random
    import unicodedata

    from tokenizers_scratch.formats.sentencepiece_model import parse_sentencepiece

    for rule in ("nmt_nfkc", "nmt_nfkc_cf", "nfkc"):
        out = io.BytesIO()
        spm.SentencePieceTrainer.train(
            sentence_iterator=iter(["abc def ghi"] * 9), model_writer=out, vocab_size=14, hard_vocab_limit=False,
            normalization_rule_name=rule, minloglevel=2,
        )  # fmt: skip
        data = parse_sentencepiece(out.getvalue()).charsmap
        theirs = tokenizers.normalizers.Precompiled(data)
        normalizer = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(data).decode()}
        normalize = HFTokenizer(file(normalizer=normalizer))._normalized
        rng = random.Random(4)
        old = unicodedata.ucd_3_2_0
        assigned = [c for c in map(chr, range(1, 0x110000)) if old.category(c) not in ("Cn", "Cs", "Co")]
        for _ in range(400):
            text = "".join(rng.choices([*rng.choices(assigned, k=20), *"aｆé\u0301 \u200b①ﬁ"], k=rng.randint(1, 12)))
            assert normalize(text) == theirs.normalize_str(text)

"""The rarer components of `tokenizer.json`, held to HF tokenizers: scripts, fixed lengths, CTC, dropout, pairs."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest

from tokenizers_scratch.errors import TokenizerFileError
from tokenizers_scratch.hf.tokenizer import HFTokenizer

tokenizers = pytest.importorskip("tokenizers", reason="compares with HF tokenizers")
N, P, D, R = tokenizers.normalizers, tokenizers.pre_tokenizers, tokenizers.decoders, tokenizers.processors
models, Tokenizer = tokenizers.models, tokenizers.Tokenizer

WORDS = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "a": 3, "b": 4, "c": 5, "<pad>": 6, "|": 7, ".": 8, " .": 9, "": 10}


def words(**parts):
    made = Tokenizer(models.WordLevel(WORDS, unk_token="[UNK]"))
    made.add_special_tokens(["[CLS]", "[SEP]"])
    for name, part in parts.items():
        setattr(made, name, part)
    return made


def ours_of(theirs):
    return HFTokenizer(json.loads(theirs.to_str()))


def test_every_component_of_the_library_is_known():
    examples = {
        "Precompiled": None,  # only from a table, test_tokenizers_tokenizer_json.py
        "Prepend": lambda kind: kind("x"),
        "Replace": lambda kind: kind("x", "y"),
        "CharDelimiterSplit": lambda kind: kind("x"),
        "Split": lambda kind: kind("x", "removed"),
        "BertProcessing": lambda kind: kind(("[SEP]", 2), ("[CLS]", 1)),
        "RobertaProcessing": lambda kind: kind(("[SEP]", 2), ("[CLS]", 1)),
        "Strip": lambda kind: kind("x", 1, 1) if kind is D.Strip else kind(),
    }
    seen = 0
    for module, part in ((N, "normalizer"), (P, "pre_tokenizer"), (D, "decoder"), (R, "post_processor")):
        for name in dir(module):
            kind = getattr(module, name)
            abstract = {"Normalizer", "PreTokenizer", "Decoder", "PostProcessor", "DecodeStream"}
            if not isinstance(kind, type) or name in abstract or examples.get(name, kind) is None:
                continue
            if name == "Sequence":
                made = kind([])
            else:
                made = examples.get(name, lambda kind: kind())(kind)
            assert ours_of(words(**{part: made})), name
            seen += 1
    assert seen >= 40
    for kind in (models.BPE, models.Unigram, models.WordLevel, models.WordPiece):
        vocab = [("a", -1.0)] if kind is models.Unigram else {"a": 0, "[UNK]": 1}
        more = ([],) if kind is models.BPE else ()
        assert ours_of(Tokenizer(kind(vocab, *more))).vocab_size <= 2


def pieces(theirs, text):
    return [(text[start:end], (start, end)) for _, (start, end) in theirs.pre_tokenize_str(text)]


def our_pieces(theirs, text):
    run = ours_of(words(pre_tokenizer=theirs))
    return [(text[start:end], (start, end)) for start, end in run.offsets(text)]


@pytest.mark.parametrize("length", [1, 3, 5])
def test_fixed_length(length):
    for text in ("", "a", "abcdefgh", "日本語のテキスト 👍🏽 e\u0301", " " * 11):
        assert our_pieces(P.FixedLength(length), text) == pieces(P.FixedLength(length), text)
    two = P.Sequence([P.WhitespaceSplit(), P.FixedLength(length)])
    assert our_pieces(two, "abcd efghijk l") == pieces(two, "abcd efghijk l")
    content = json.loads(words(pre_tokenizer=P.FixedLength(2)).to_str())
    content["pre_tokenizer"]["length"] = 0
    with pytest.raises(TokenizerFileError, match="must have a 'length' above 0"):
        HFTokenizer(content)


def test_scripts():
    rng = random.Random(5)
    letters = [*"aZé1_.,!- 　ーあアー漢字ｱαΩбЖאبकกกခကᄀ가ㄅ𝐀①▁\u0301\u200d\u3000\t\n😀☃", "  ", " "]
    texts = [
        "",
        " ",
        "   ",
        " あ",
        "a b",
        "どこで生れたか。Yes",
        *("".join(rng.choices(letters, k=9)) for _ in range(600)),
    ]
    for text in texts:
        assert our_pieces(P.UnicodeScripts(), text) == pieces(P.UnicodeScripts(), text), text


def test_ctc():
    rng = random.Random(1)
    for decoder in (D.CTC(), D.CTC(cleanup=False), D.CTC(pad_token="a", word_delimiter_token=".")):
        theirs = words(decoder=decoder)
        ours = ours_of(theirs)
        for _ in range(200):
            ids = [rng.choice([3, 4, 5, 6, 6, 7, 8, 9]) for _ in range(rng.randint(0, 150))]
            assert ours.decode(ids) == theirs.decode(ids)
            stream = ours.stream_decoder()
            assert "".join(stream.push([i]) for i in ids) + stream.flush() == theirs.decode(ids)


MERGES = [("a", "b"), ("b", "c"), ("ab", "c"), ("c", "ab"), ("abc", "abc"), ("b", "a")]


def bpe(dropout=None, **options):
    vocab = {
        piece: i for i, piece in enumerate(["<unk>", "a", "b", "c", *("".join(m) for m in MERGES if m != MERGES[3])])
    }
    vocab["cab"] = len(vocab)
    return Tokenizer(models.BPE(vocab, MERGES, dropout=dropout, unk_token="<unk>", **options))


def test_dropout_at_its_ends():
    rng = random.Random(0)
    texts = ["".join(rng.choices("abcx", k=rng.randint(0, 30))) for _ in range(200)]
    plain, never, always = ours_of(bpe()), ours_of(bpe(0.0)), ours_of(bpe(1.0))
    for text in texts:
        ids = bpe().encode(text).ids
        assert plain.sample(text, rng=rng, dropout=0.0) == never.sample(text, rng=rng) == ids
        assert plain.sample(text, rng=rng, dropout=1) == always.sample(text, rng=rng) == bpe(1.0).encode(text).ids
        assert always.encode(text) == ids  # not a matter of chance


def test_dropout_draws_as_the_library_does():
    text, n = "abcabcab", 4000
    for dropout in (0.1, 0.5, 0.8):
        theirs, ours, rng = bpe(dropout), ours_of(bpe(dropout)), random.Random(2)
        expected = Counter(tuple(theirs.encode(text).ids) for _ in range(n))
        found = Counter(tuple(ours.sample(text, rng=rng)) for _ in range(n))
        distance = sum(abs(expected[way] - found[way]) for way in expected | found) / (2 * n)
        # Two samples of one distribution over k ways differ by about sqrt(k / (pi n)).
        assert distance < 2.5 * (len(expected | found) / (3.14 * n)) ** 0.5, dropout
    assert ours.sample(text, rng=random.Random(3)) == ours.sample(text, rng=random.Random(3))


def test_what_dropout_cannot_be():
    with pytest.raises(ValueError, match="this model is no BPE"):
        ours_of(words()).sample("a", rng=random.Random(0))
    with pytest.raises(ValueError, match="dropout: got None"):
        ours_of(bpe()).sample("a", rng=random.Random(0))
    with pytest.raises(ValueError, match="dropout: got 2"):
        ours_of(bpe()).sample("a", rng=random.Random(0), dropout=2)
    content = json.loads(bpe().to_str())
    for wrong in ("x", -1, 1.5, True):
        content["model"]["dropout"] = wrong
        with pytest.raises(TokenizerFileError, match="a number from 0 to 1 as 'dropout'"):
            HFTokenizer(content)


CLS_SEP = {"special_tokens": [("[CLS]", 1), ("[SEP]", 2)]}
PROCESSORS = {
    "none": None,
    "bert": R.BertProcessing(("[SEP]", 2), ("[CLS]", 1)),
    "roberta": R.RobertaProcessing(("[SEP]", 2), ("[CLS]", 1)),
    "byte level": R.ByteLevel(),
    "template": R.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", **CLS_SEP),
    "types": R.TemplateProcessing(single="$A:3 [SEP]:4", pair="$B:2 [SEP]:7 [SEP] $A:1", **CLS_SEP),
    "one text alone": R.TemplateProcessing(single="[CLS] $A", **CLS_SEP),
    "sequence": R.Sequence([R.ByteLevel(), R.BertProcessing(("[SEP]", 2), ("[CLS]", 1))]),
    "two": R.Sequence([R.BertProcessing(("[SEP]", 2), ("[CLS]", 1)), R.RobertaProcessing(("b", 4), ("c", 5))]),
}


@pytest.mark.parametrize("name", PROCESSORS)
def test_pairs(name):
    theirs = words(pre_tokenizer=P.WhitespaceSplit())
    if PROCESSORS[name] is not None:
        theirs.post_processor = PROCESSORS[name]
    ours = ours_of(theirs)
    for text in ("", "a", "a b c x"):
        assert ours.add_special_tokens(ours.encode(text)) == theirs.encode(text).ids
        for pair in ("", "b", "c b [SEP]"):
            encoding = theirs.encode(text, pair)
            found = ours.encode_pair(text, pair, allowed_special="all")
            assert (found.ids, found.type_ids) == (encoding.ids, encoding.type_ids)
            both = (ours.encode(t, allowed_special="all") for t in (text, pair))
            assert ours.add_special_tokens(*both) == encoding.ids


def test_templates_that_cannot_be():
    content = json.loads(words(post_processor=PROCESSORS["template"]).to_str())
    processor = content["post_processor"]
    for key, piece, reason in (
        ("single", {"Sequence": {"id": "B", "type_id": 0}}, "is neither a special token nor a text that there is"),
        ("pair", {"Sequence": {"id": "C", "type_id": 0}}, "is neither a special token nor a text that there is"),
        ("pair", {}, "is neither"),
        ("pair", {"SpecialToken": {"id": "[X]", "type_id": 0}}, r"has the token '\[X\]', which 'special_tokens' lacks"),
        ("pair", {"Sequence": {"id": "A", "type_id": -1}}, "must have a count as 'type_id'"),
    ):
        with pytest.raises(TokenizerFileError, match=reason):
            HFTokenizer({**content, "post_processor": {**processor, key: [piece]}})
    twice = {"type": "Sequence", "processors": [processor, processor]}
    with pytest.raises(TokenizerFileError, match="which no template is for"):
        HFTokenizer({**content, "post_processor": twice}).encode_pair("a", "b")

"""Every component of `tokenizer.json`, held to HF tokenizers on files made here: ids, offsets and decoded text."""

from __future__ import annotations

import json
import random
import unicodedata
from functools import cache

import pytest

from tokenizers_scratch.hf.tokenizer import HFTokenizer

tokenizers = pytest.importorskip("tokenizers", reason="compares with HF tokenizers")
N, P, D = tokenizers.normalizers, tokenizers.pre_tokenizers, tokenizers.decoders
models, trainers, processors = tokenizers.models, tokenizers.trainers, tokenizers.processors
AddedToken, Regex, Tokenizer = tokenizers.AddedToken, tokenizers.Regex, tokenizers.Tokenizer

CORPUS = [
    "The quick brown fox's 1234 jumps, over the lazy dog!  Naïve café, ďábelské ódy.\n",
    "It's 12:45 -- we'll see; THE END? (yes) [no] {x_y} a/b  foo_bar\tbaz\r\n",
    "日本語のテキスト、世界。 한국어 👍🏽 👩‍👩‍👧‍👦 ﬁne ½ ① Ⅷ ｆｕｌｌ e\u0301 A\u030a\u0323 \u1e9b\u0323",
    "İstanbul ΟΔΥΣΣΕΥΣ straße Ǆ \u00a0\u3000 x\u200by \ufeff z\u2028w",
] * 3


@cache
def strings() -> list[str]:
    """What the texts above are made of, and any long-assigned characters: the oracle's Unicode is older."""
    rng = random.Random(7)
    old = unicodedata.ucd_3_2_0
    assigned = [c for c in map(chr, range(1, 0x110000)) if old.category(c) not in ("Cn", "Cs", "Co")]
    words = " ".join(CORPUS[:4]).split(" ")
    marks = [
        *"  ,.!?'-_/\n\t▁",
        "\u0301",
        "\u0323",
        "<s>",
        "</s>",
        "[MASK]",
        "<unk>",
        "mask",
        "##",
        "\x1c",
        "\x85",
        "\x00",
    ]
    found = ["", " ", "  ", "a", "▁", "<s>", *CORPUS[:4]]
    for _ in range(240):
        parts = []
        for _ in range(rng.randint(1, 9)):
            kind = rng.randrange(5)
            if kind == 0:
                parts.append(rng.choice(assigned))
            elif kind <= 2:
                parts.append(rng.choice(words))
            else:
                parts.append(rng.choice(marks))
            if rng.random() < 0.5:
                parts.append(" ")
        found.append("".join(parts))
    return found


def train(model, trainer, normalizer=None, pre_tokenizer=None, decoder=None, corpus=CORPUS):
    made = Tokenizer(model)
    for name, part in (("normalizer", normalizer), ("pre_tokenizer", pre_tokenizer), ("decoder", decoder)):
        if part is not None:
            setattr(made, name, part)
    made.train_from_iterator(corpus, trainer)
    return made


def bpe(**options):
    settings = {"vocab_size": 330, "special_tokens": ["<unk>", "<s>", "</s>"], "show_progress": False, **options}
    return trainers.BpeTrainer(**settings)


def characters(normalizer=None, pre_tokenizer=None, decoder=None):
    """A model that shows what reached it: BPE over all characters, unknown ones not fused."""
    return train(models.BPE(unk_token="<unk>"), bpe(), normalizer, pre_tokenizer, decoder)


def compare(theirs, texts=None, *, offsets=True, special="all", decoded=True):
    ours = HFTokenizer(json.loads(theirs.to_str()))
    assert ours.vocab_size == theirs.get_vocab_size(with_added_tokens=True)
    for text in strings() if texts is None else texts:
        expected = theirs.encode(text, add_special_tokens=False)
        ids, spans = ours.encode_with_offsets(text, allowed_special=special)
        assert ids == expected.ids, (text, expected.tokens, [theirs.id_to_token(i) for i in ids])
        assert ours.encode(text, allowed_special=special) == ids
        if offsets:
            assert spans == expected.offsets, (text, expected.tokens)
        plain = [i for i in ids if i not in ours.special_tokens.values()]
        if plain and decoded:  # some of HF's decoders panic where there is nothing to decode
            assert ours.decode(ids) == theirs.decode(ids), (text, expected.tokens)
            assert ours.decode(ids, skip_special=False) == theirs.decode(ids, skip_special_tokens=False)
        assert ours.add_special_tokens(ids) == theirs.encode(text).ids
    if decoded:
        compare_decoding(ours, theirs)
    return ours


def compare_decoding(ours, theirs, n=100):
    rng = random.Random(3)
    size = ours.vocab_size
    for _ in range(n):
        ids = [rng.randrange(size) for _ in range(rng.choice([1, 2, 3, 10, 150]))]
        text = theirs.decode(ids, skip_special_tokens=False)
        assert ours.decode(ids, skip_special=False) == text
        stream = ours.stream_decoder(skip_special=False)
        at, pieces = 0, []
        while at < len(ids):
            step = rng.randint(1, 3)
            pieces.append(stream.push(ids[at : at + step]))
            at += step
        pieces.append(stream.flush())
        assert "".join(pieces) == text


NORMALIZERS = {
    "Lowercase": N.Lowercase(),
    "NFC": N.NFC(),
    "NFD": N.NFD(),
    "NFKC": N.NFKC(),
    "NFKD": N.NFKD(),
    "Nmt": N.Nmt(),
    "StripAccents": N.Sequence([N.NFD(), N.StripAccents()]),
    "Strip": N.Strip(),
    "Strip left": N.Strip(left=True, right=False),
    "Strip right": N.Strip(left=False, right=True),
    "Prepend": N.Prepend("▁"),
    "Replace text": N.Replace(" ", "▁"),
    "Replace texts": N.Replace("a", "xyz"),
    "Replace regex": N.Replace(Regex(r"\s+"), " "),
    "Replace away": N.Replace(Regex("[aeiou]"), ""),
    "ByteLevel": N.ByteLevel(),
    "Bert": N.BertNormalizer(),
    "Bert cased": N.BertNormalizer(lowercase=False),
    "Bert accents": N.BertNormalizer(lowercase=False, strip_accents=True),
    "Bert as it is": N.BertNormalizer(clean_text=False, handle_chinese_chars=False, strip_accents=False),
    "Sequence": N.Sequence([N.NFKC(), N.Strip(), N.Lowercase(), N.Prepend("▁"), N.Replace(" ", "▁")]),
    "Llama": N.Sequence([N.Prepend("▁"), N.Replace(" ", "▁")]),
    "nothing": N.Sequence([]),
}


# Where one character is composed of several, HF gives it the span of the first of them; here it has that of them all.
@pytest.mark.parametrize("name", NORMALIZERS)
def test_normalizers(name):
    compare(
        characters(NORMALIZERS[name]),
        offsets=name not in ("NFC", "NFD", "NFKC", "NFKD", "Sequence", "StripAccents") and "Bert" not in name,
    )


GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
PRE_TOKENIZERS = {
    "Whitespace": P.Whitespace(),
    "WhitespaceSplit": P.WhitespaceSplit(),
    "BertPreTokenizer": P.BertPreTokenizer(),
    "Digits": P.Digits(),
    "Digits one by one": P.Digits(individual_digits=True),
    **{
        f"Punctuation {b}": P.Punctuation(b)
        for b in ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous")
    },
    **{
        f"Split {b}": P.Split("o", b)
        for b in ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous")
    },
    **{
        f"Split regex {b}": P.Split(Regex(r"[ e]+|\d"), b)
        for b in ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous")
    },
    "Split inverted": P.Split(Regex(r"\w+"), "removed", invert=True),
    "Split at ends of lines": P.Split(Regex(r"^\w|\w$"), "isolated"),
    # The first is the pattern of a published model, which has brackets within brackets.
    **{
        f"Split by {pattern}": P.Split(Regex(pattern), "isolated")
        for pattern in (
            *(r" ?[^(\s|[.,!?…。，、।۔،])]+", r"[a-z&&[^aeiou]]+", r"[^a-z&&[^aeiou]]+", r"[a[bc]1-3]+", r"[^a[^b]]+"),
            *(r"[\W_]+", r"[^\W_]+", r"[\p{L}&&[^\p{Han}]]+", r"[[:alnum:]&&[^0-9]]+", r"[a-z&&b-f&&[^d]]+", r"[a&]"),
        )
    },
    "Split repeated repeat": P.Split(Regex(r"\p{N}{1,2}+"), "isolated"),
    "CharDelimiterSplit": P.CharDelimiterSplit("e"),
    "Metaspace": P.Metaspace(),
    "Metaspace first": P.Metaspace(prepend_scheme="first"),
    "Metaspace never": P.Metaspace(prepend_scheme="never"),
    "Metaspace uncut": P.Metaspace(split=False),
    "Metaspace other": P.Metaspace(replacement="_"),
    "ByteLevel": P.ByteLevel(),
    "ByteLevel plain": P.ByteLevel(add_prefix_space=False),
    "ByteLevel uncut": P.ByteLevel(add_prefix_space=False, use_regex=False),
    "Sequence": P.Sequence([P.WhitespaceSplit(), P.Digits(individual_digits=True), P.Punctuation()]),
    "Sequence of sequences": P.Sequence(
        [P.Sequence([P.Split(Regex(GPT2), "isolated")]), P.ByteLevel(False, use_regex=False)]
    ),
}


@pytest.mark.parametrize("name", PRE_TOKENIZERS)
def test_pre_tokenizers(name):
    compare(characters(pre_tokenizer=PRE_TOKENIZERS[name]))


DECODERS = {
    "none": None,
    "ByteLevel": D.ByteLevel(),
    "WordPiece": D.WordPiece(),
    "WordPiece plain": D.WordPiece(prefix="e", cleanup=False),
    "Metaspace": D.Metaspace(),
    "Metaspace never": D.Metaspace(prepend_scheme="never"),
    "BPEDecoder": D.BPEDecoder(suffix="e"),
    "ByteFallback": D.ByteFallback(),
    "Fuse": D.Fuse(),
    "Strip": D.Sequence([D.Replace("e", "ee"), D.Strip("e", 1, 1)]),
    "Replace": D.Replace("e", "xy"),
    "Replace regex": D.Replace(Regex("[aeiou]+"), " "),
    "Llama": D.Sequence([D.Replace("▁", " "), D.ByteFallback(), D.Fuse(), D.Strip(" ", 1, 0)]),
    "stripped at the end": D.Sequence([D.Fuse(), D.Strip(" ", 0, 1)]),
}


@pytest.mark.parametrize("name", DECODERS)
def test_decoders(name):
    compare(characters(pre_tokenizer=P.Metaspace(), decoder=DECODERS[name]), strings()[:60])


def byte_tokens():
    return [f"<0x{b:02X}>" for b in range(256)]


def edited(theirs, **changes):
    content = json.loads(theirs.to_str())
    content["model"] |= changes
    return Tokenizer.from_str(json.dumps(content))


def with_bytes(theirs, missing=()):
    content = json.loads(theirs.to_str())
    vocab = content["model"]["vocab"]
    for token in byte_tokens():
        if token in missing:
            continue
        if isinstance(vocab, dict):
            vocab[token] = len(vocab)
        else:
            vocab.append([token, 0.0])
    content["model"]["byte_fallback"] = True
    return Tokenizer.from_str(json.dumps(content))


MODELS = {
    "BPE": lambda: characters(pre_tokenizer=P.Whitespace()),
    "BPE fused unknown": lambda: edited(characters(pre_tokenizer=P.Whitespace()), fuse_unk=True),
    "BPE without unknown": lambda: train(models.BPE(), bpe(), pre_tokenizer=P.Whitespace()),
    "BPE ignoring merges": lambda: edited(characters(pre_tokenizer=P.Whitespace()), ignore_merges=True),
    "BPE with bytes": lambda: with_bytes(characters(pre_tokenizer=P.Metaspace(), decoder=DECODERS["Llama"])),
    "BPE with some bytes": lambda: with_bytes(characters(pre_tokenizer=P.Metaspace()), missing=["<0xE3>", "<0x20>"]),
    "BPE with prefix": lambda: train(
        models.BPE(unk_token="<unk>", continuing_subword_prefix="##"),
        bpe(continuing_subword_prefix="##"),
        pre_tokenizer=P.BertPreTokenizer(),
        decoder=D.WordPiece(),
    ),
    "BPE with suffix": lambda: train(
        models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"),
        bpe(end_of_word_suffix="</w>"),
        pre_tokenizer=P.Whitespace(),
        decoder=D.BPEDecoder(),
    ),
    "byte-level BPE": lambda: train(
        models.BPE(),
        bpe(vocab_size=400, initial_alphabet=P.ByteLevel.alphabet()),
        pre_tokenizer=P.ByteLevel(add_prefix_space=False),
        decoder=D.ByteLevel(),
    ),
    "WordPiece": lambda: train(
        models.WordPiece(unk_token="<unk>"),
        trainers.WordPieceTrainer(vocab_size=300, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False),
        N.BertNormalizer(),
        P.BertPreTokenizer(),
        D.WordPiece(),
    ),
    "WordPiece of short words": lambda: edited(MODELS["WordPiece"](), max_input_chars_per_word=3),
    "Unigram": lambda: unigram(),
    "Unigram with bytes": lambda: with_bytes(unigram()),
    "Unigram with some bytes": lambda: with_bytes(unigram(), missing=["<0xE3>"]),
    "WordLevel": lambda: train(
        models.WordLevel(unk_token="<unk>"),
        trainers.WordLevelTrainer(vocab_size=100, special_tokens=["<unk>", "<s>"], show_progress=False),
        pre_tokenizer=P.Whitespace(),
    ),
}


def unigram():
    trainer = trainers.UnigramTrainer(
        vocab_size=200, unk_token="<unk>", special_tokens=["<unk>", "<s>", "</s>"], show_progress=False
    )
    return train(models.Unigram(), trainer, N.NFKC(), P.Metaspace(), D.Metaspace())


@pytest.mark.parametrize("name", MODELS)
def test_models(name):
    compare(
        MODELS[name](),
        offsets="Piece" not in name
        and "gram" not in name
        and name not in ("BPE without unknown", "BPE with some bytes"),
    )


def test_special_tokens_around_a_text():
    made = MODELS["byte-level BPE"]()
    unk, s, end = (made.token_to_id(token) for token in ("<unk>", "<s>", "</s>"))
    for processor in (
        processors.TemplateProcessing(single="<s> $A </s> </s>", special_tokens=[("<s>", s), ("</s>", end)]),
        processors.BertProcessing(("</s>", end), ("<s>", s)),
        processors.RobertaProcessing(("</s>", end), ("<s>", s), trim_offsets=False),
        processors.RobertaProcessing(("</s>", end), ("<s>", s)),
        processors.ByteLevel(trim_offsets=True, add_prefix_space=False),
        processors.ByteLevel(trim_offsets=True),
        processors.Sequence(
            [processors.ByteLevel(), processors.TemplateProcessing(single="$A <unk>", special_tokens=[("<unk>", unk)])]
        ),
    ):
        made.post_processor = processor
        compare(made, strings()[:120])


ADDED = {
    "plain": AddedToken("mask", normalized=False),
    "single word": AddedToken("mask", single_word=True),
    "left": AddedToken("mask", lstrip=True),
    "right": AddedToken("mask", rstrip=True),
    "both": AddedToken("mask", lstrip=True, rstrip=True, single_word=True),
    "normalized": AddedToken("MASK", normalized=True),
    "special": AddedToken("[MASK]", special=True),
    "special left": AddedToken("[MASK]", special=True, lstrip=True, rstrip=True),
    "special normalized": AddedToken("[MASK]", special=True, normalized=True),
    "within": AddedToken("as", normalized=False),
}


@pytest.mark.parametrize("name", ADDED)
@pytest.mark.parametrize("special", ["all", "none"])
@pytest.mark.parametrize(
    "normalizer", [None, N.Lowercase(), N.Sequence([N.Prepend("▁"), N.Replace(" ", "▁")])], ids=["", "lower", "llama"]
)
def test_added_tokens(name, special, normalizer):
    made = characters(normalizer)
    made.add_tokens([ADDED[name], AddedToken("mask it", normalized=False)])
    rng = random.Random(11)
    parts = ["mask", "[MASK]", "MASK", "unmask", " ", "  ", "\n", "it", "_", "<s>", "é", "x", "."]
    texts = ["".join(rng.choices(parts, k=rng.randint(1, 7))) for _ in range(60)]
    made.encode_special_tokens = special == "none"
    # HF decodes a token that is looked for in the normalised text to what it is normalised to, and then no longer
    # knows it as special; here it comes back as it was added.
    compare(made, texts, special=special, decoded=normalizer is None or not ADDED[name].normalized)


def test_prefixes_around_added_tokens():
    texts = ["a <s> b", "<s>a", "a<s>", "<s> <s>", " a <s>  b"]
    for scheme in ("always", "first", "never"):
        compare(characters(pre_tokenizer=P.Metaspace(prepend_scheme=scheme)), texts)
    compare(characters(pre_tokenizer=P.ByteLevel()), texts)


def test_older_files():
    content = json.loads(MODELS["BPE"]().to_str())
    new = HFTokenizer(content)
    content["model"]["merges"] = [" ".join(merge) for merge in content["model"]["merges"]]
    del content["model"]["type"]
    old = HFTokenizer(content)
    metaspace = {"type": "Metaspace", "replacement": "▁", "add_prefix_space": True}
    content["pre_tokenizer"] = metaspace
    theirs = Tokenizer.from_str(json.dumps(content | {"model": content["model"] | {"type": "BPE"}}))
    for text in strings()[:50]:
        assert old.encode(text) == new.encode(text)
    compare(theirs, strings()[:50])
    for name, kind in (("WordPiece", "WordPiece"), ("Unigram", "Unigram"), ("WordLevel", "WordLevel")):
        content = json.loads(MODELS[name]().to_str())
        assert content["model"].pop("type") == kind
        HFTokenizer(content)

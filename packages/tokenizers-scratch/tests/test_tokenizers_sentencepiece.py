"""SentencePiece: normalised text, ids, text back and BPE vocabularies are those of the sentencepiece library."""

from __future__ import annotations

import random
import time
import unicodedata
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizers_scratch import sentencepiece_bpe as reference
from tokenizers_scratch.config_subword import SentencePieceConfig
from tokenizers_scratch.errors import VocabularyTooSmallError
from tokenizers_scratch.scripts import script_of
from tokenizers_scratch.sentencepiece import SentencePieceTokenizer
from tokenizers_scratch.sentencepiece_bpe_train import learn_pieces
from tokenizers_scratch.sentencepiece_counting import get_sentencepiece_word_freqs
from tokenizers_scratch.sentencepiece_text import (
    SentencePieceText,
    denormalize_from_sentencepiece,
    normalize_for_sentencepiece,
    split_at_markers,
)
from tokenizers_scratch.special_tokens import SpecialTokens

THOROUGH = settings.get_profile("tokenizers")
DATA = Path(__file__).parents[4] / "shared" / "data"
NORMALIZATIONS = ("identity", "nfkc", "nmt_nfkc")
WORDS = st.dictionaries(st.text("abcd", min_size=1, max_size=14), st.integers(1, 9), min_size=1, max_size=15)


def library():
    return pytest.importorskip("sentencepiece", reason="the sentencepiece library is the oracle")


def some_lines():
    path = DATA / "tinyshakespeare.txt"
    if path.exists():
        return [line for line in path.read_text(encoding="utf-8")[:250_000].split("\n") if line]
    rng = random.Random(0)
    words = ["".join(rng.choices("etaoinshrdlu", k=rng.randint(1, 9))) for _ in range(2000)]
    return [" ".join(rng.choices(words, k=8)) for _ in range(4000)]


@cache
def trained_by_library(model, normalization, remove, fallback, vocab_size=1200):
    """A model of the library, and the same as ours."""
    spm = library()
    import io

    written = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(some_lines()),
        model_writer=written,
        vocab_size=vocab_size,
        model_type=model,
        normalization_rule_name=normalization,
        remove_extra_whitespaces=remove,
        byte_fallback=fallback,
        num_threads=1,
        minloglevel=2,
    )
    theirs = spm.SentencePieceProcessor(model_proto=written.getvalue())
    pieces, special, byte_ids = {}, {}, []
    for i in range(theirs.vocab_size()):
        if theirs.is_byte(i):
            byte_ids.append(i)
        elif theirs.is_control(i) or theirs.is_unknown(i):
            special[theirs.id_to_piece(i)] = i
        else:
            pieces[i] = (theirs.id_to_piece(i), theirs.get_score(i))
    mine = SentencePieceTokenizer(
        pieces,
        SpecialTokens(special, {"unk": "<unk>", "bos": "<s>", "eos": "</s>"}),
        model=model,
        byte_ids=byte_ids,
        text=SentencePieceText(normalization, remove_extra_whitespaces=remove),
    )
    return theirs, mine


def generated(n):
    rng = random.Random(1)
    alphabet = [*"theang,. ing  ▁世éo\x00\n\t😀12<", "<s>", "and", " the", "e\u0301", "\u200b", "ﬁ", "\u3000"]
    return ["".join(rng.choices(alphabet, k=rng.randint(0, 20))) for _ in range(n)]


@pytest.mark.parametrize("model", ["bpe", "unigram"])
@pytest.mark.parametrize(
    ("normalization", "remove", "fallback"),
    [("identity", False, True), ("nmt_nfkc", True, False), ("nfkc", False, False), ("nmt_nfkc", False, True)],
)
def test_ids_and_text_are_those_of_the_library(model, normalization, remove, fallback):
    theirs, mine = trained_by_library(model, normalization, remove, fallback)
    for text in (*some_lines()[:1500], *generated(2500)):
        ids = theirs.encode(text)
        assert mine.encode(text) == ids, text
        if theirs.unk_id() not in ids:  # it shows those as U+2047 between spaces, we leave them out
            assert mine.decode(ids) == theirs.decode(ids), text
    rng = random.Random(2)
    for _ in range(500):
        ids = [
            i for i in rng.choices(range(theirs.vocab_size()), k=6) if not theirs.is_byte(i) and i != theirs.unk_id()
        ]
        assert mine.decode(ids) == theirs.decode(ids)


def test_n_best_is_that_of_the_library():
    theirs, mine = trained_by_library("unigram", "identity", False, True)
    for text in ("the king", "antidisestablish", "to be or not"):
        assert [ids for ids, _ in mine.n_best(text, 8)] == [list(ids) for ids in theirs.nbest_encode_as_ids(text, 8)]
        assert mine.n_best(text, 8)[0][0] == mine.sample(text, rng=random.Random(0), nbest_size=1) == mine.encode(text)
    with pytest.raises(ValueError, match="one segmentation only"):
        trained_by_library("bpe", "identity", False, True)[1].n_best("a", 2)


@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_normalised_text_is_that_of_the_library(normalization):
    spm = library()
    rng = random.Random(0)
    alphabet = list("ab c  \t\n\r\x01\x0b\x7f\u200b\u200c\u2581\ufeff\ufffd\u3000\u00a0～~ｶﾞé世①ﬁ한")
    texts = ["".join(rng.choices(alphabet, k=rng.randint(0, 8))) for _ in range(2500)]
    for prefix in (True, False):
        for remove in (True, False):
            options = {"add_dummy_prefix": prefix, "remove_extra_whitespaces": remove}
            theirs = spm.SentencePieceNormalizer(rule_name=normalization, escape_whitespaces=True, **options)
            rules = SentencePieceText(normalization, **options)
            for text in texts:
                assert rules.normalize(text) == theirs.normalize(text), (text, options)


@pytest.mark.parametrize("normalization", ["nfkc", "nmt_nfkc"])
def test_every_assigned_character_is_normalised_as_by_the_library(normalization):
    options = {"add_dummy_prefix": False, "remove_extra_whitespaces": False}
    theirs = library().SentencePieceNormalizer(rule_name=normalization, escape_whitespaces=False, **options)
    rules = SentencePieceText(normalization, **options)
    for code in range(0x110000):
        character = chr(code)
        if unicodedata.category(character) not in ("Cn", "Cs", "Co"):
            assert rules.spaced(character) == theirs.normalize(character), hex(code)


def test_helpers():
    assert normalize_for_sentencepiece("a  b") == "▁a▁▁b"
    assert denormalize_from_sentencepiece("▁a▁▁b") == "a  b"
    rules = SentencePieceText("nmt_nfkc", remove_extra_whitespaces=True)
    assert normalize_for_sentencepiece(" a\t b ", rules) == "▁a▁b"
    assert denormalize_from_sentencepiece("▁▁a▁b", rules) == "a b"
    assert denormalize_from_sentencepiece("▁a", SentencePieceText(add_dummy_prefix=False)) == " a"
    assert split_at_markers("a▁b▁▁c") == ["a", "▁b", "▁", "▁c"]
    with pytest.raises(ValueError, match="normalization: got 'nfd'"):
        SentencePieceText("nfd")


@given(
    texts=st.lists(st.text(st.sampled_from("ab  ▁\n<EOS>é")), max_size=6),
    prefix=st.booleans(),
    remove=st.booleans(),
    normalization=st.sampled_from(NORMALIZATIONS),
)
@THOROUGH
def test_counted_words_are_those_of_the_normalised_texts(texts, prefix, remove, normalization):
    rules = SentencePieceText(normalization, add_dummy_prefix=prefix, remove_extra_whitespaces=remove)
    expected = {}
    for text in texts:
        for word in split_at_markers(rules.normalize(text)):
            expected[word] = expected.get(word, 0) + 1
    counted = dict(get_sentencepiece_word_freqs(texts, rules))
    if remove:  # a text that ends in U+2581 loses it when it is encoded
        expected = {word: n for word, n in expected.items() if word != "▁"}
        counted = {word: n for word, n in counted.items() if word != "▁"}
    assert counted == expected


def test_special_tokens_are_not_counted():
    special = SpecialTokens.numbered()
    for texts in (["a b<EOS>c d"], ["a b<EOS>c d" + " x" * 300_000]):
        counts = get_sentencepiece_word_freqs(texts, None, special)
        assert {word: counts[word] for word in ("▁a", "▁b", "c", "▁d")} == dict.fromkeys(("▁a", "▁b", "c", "▁d"), 1)
        assert not any("<" in word for word in counts)


NUMBA = pytest.mark.skipif(find_spec("numba") is None, reason="the kernels are numba's")
MODES = pytest.mark.parametrize("mode", ["never", pytest.param("always", marks=NUMBA)])


def kind_of_letter(character):
    return {"a": 0, "b": 1, "c": 1, "d": 2}[character]


@MODES
@given(
    words=WORDS,
    n_merges=st.integers(0, 25),
    min_frequency=st.sampled_from([1, 3]),
    longest=st.sampled_from([3, 16]),
    kind_of=st.sampled_from([lambda character: 0, kind_of_letter]),
)
@THOROUGH
def test_training_is_that_of_the_reference(mode, words, n_merges, min_frequency, longest, kind_of):
    options = {"n_merges": n_merges, "min_frequency": min_frequency, "max_piece_length": longest, "kind_of": kind_of}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOKENIZERS_SCRATCH_KERNELS", mode)
        fast = learn_pieces(words, **options)
    assert fast == reference.learn_pieces(words, **options)
    scores = {piece: -float(rank) for rank, piece in enumerate(fast)}
    for word in words:
        assert reference.cut_word(word, scores) == reference.apply_merges_to_word(word, scores)


@MODES
def test_training_is_that_of_the_reference_for_many_pairs(mode):
    rng = random.Random(0)
    alphabet = [chr(code) for code in range(0x4E00, 0x4E00 + 150)]  # so there are more pairs than there is room for
    words = {"".join(rng.choices(alphabet, k=rng.randint(1, 9))): rng.randint(1, 5) for _ in range(3000)}
    words["ab" * 1500] = 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOKENIZERS_SCRATCH_KERNELS", mode)
        fast = learn_pieces(words, n_merges=25)
    assert fast == reference.learn_pieces(words, n_merges=25)


def test_plain_python_learns_from_many_words_in_seconds(monkeypatch):
    monkeypatch.setenv("TOKENIZERS_SCRATCH_KERNELS", "never")
    rng = random.Random(0)
    words = {"".join(rng.choices("etaoinshrdlu", k=rng.randint(2, 12))): rng.randint(1, 50) for _ in range(40_000)}
    start = time.perf_counter()
    assert len(learn_pieces(words, n_merges=2000)) == 2000
    assert time.perf_counter() - start < 60


@given(word=st.text("ab", max_size=20), pieces=st.lists(st.text("ab", min_size=2, max_size=5), unique=True))
@THOROUGH
def test_the_heap_joins_what_the_reference_joins(word, pieces):
    scores = {piece: -float(rank // 2) for rank, piece in enumerate(pieces)}  # with ties
    assert reference.cut_word(word, scores) == reference.apply_merges_to_word(word, scores)


@pytest.mark.parametrize("name", ["tinyshakespeare.txt", "japanese-novel.txt"])
def test_bpe_vocabularies_are_those_of_the_library(name):
    path = DATA / name
    if not path.exists():
        pytest.skip("needs the shared texts")
    spm = library()
    import io

    lines = [line for line in path.read_text(encoding="utf-8")[:300_000].split("\n") if line.strip()]
    written = io.BytesIO()
    options = {"character_coverage": 1.0, "normalization_rule_name": "identity", "minloglevel": 2}
    options["max_sentence_length"] = 10**6  # longer lines are dropped
    size = 3500 if name.startswith("j") else 1500
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=written, vocab_size=size, model_type="bpe", **options
    )
    theirs = spm.SentencePieceProcessor(model_proto=written.getvalue())
    config = SentencePieceConfig(
        model="bpe",
        vocab_size=size + 1,  # they have three special tokens, we have four
        byte_fallback=False,
        character_coverage=1.0,
        remove_extra_whitespaces=True,
        min_frequency=1,
    )
    mine = SentencePieceTokenizer.train(lines, config)
    assert [piece for piece, _ in mine.pieces.values()] == [theirs.id_to_piece(i) for i in range(3, size)]


@pytest.mark.parametrize(
    ("characters", "kinds"),
    [("aé", 1), ("aя", 2), ("1,", 1), ("a1", 2), ("漢かカー", 1), ("▁", 1), ("a\u0301", 2), ("𒀀𐌀", 2)],
)
def test_scripts(characters, kinds):
    assert len({script_of(character) for character in characters}) == kinds


def test_pieces_keep_to_one_script():
    texts = ["abc123 漢字かな abc123,"] * 9
    for model in ("bpe", "unigram"):
        tokenizer = SentencePieceTokenizer.train(texts, SentencePieceConfig(model=model, vocab_size=400))
        pieces = [piece for piece, _ in tokenizer.pieces.values()]
        assert "▁abc" in pieces
        assert not any("c1" in piece or "▁" in piece[1:] for piece in pieces)
        loose = SentencePieceConfig(model=model, vocab_size=400, split_by_unicode_script=False)
        assert any("c1" in piece for piece, _ in SentencePieceTokenizer.train(texts, loose).pieces.values())


def test_one_dummy_prefix_a_text():
    tokenizer = SentencePieceTokenizer.train(["one two"] * 3, SentencePieceConfig())
    ids = tokenizer.encode("<BOS>one<EOS>two", allowed_special="all")
    assert tokenizer.decode(ids, skip_special=False) == "<BOS>one<EOS>two"
    assert tokenizer.decode(ids) == "onetwo"
    assert list(tokenizer.encode_iterable(["<BO", "S>on", "e<EOS>two"], allowed_special="all")) == ids


def test_pieces_with_an_inner_marker_join_words():
    pieces = {4: ("▁", -1.0), 5: ("a", -2.0), 6: ("▁▁", -0.5), 7: ("a▁a", -0.1)}
    tokenizer = SentencePieceTokenizer(pieces)
    assert tokenizer.encode("a a") == [4, 7]
    assert tokenizer.encode(" a") == [6, 5]
    assert list(tokenizer.encode_iterable(["a", " ", "a"])) == [4, 7]


def test_an_alphabet_that_does_not_fit():
    with pytest.raises(VocabularyTooSmallError, match="needs at least 265, 260 fixed entries and 5 characters"):
        SentencePieceTokenizer.train(["abcd"], SentencePieceConfig(vocab_size=262))


@pytest.mark.parametrize(
    ("pieces", "options", "reason"),
    [
        ({4: ("a", -1.0), 5: ("a", -2.0)}, {}, "twice"),
        ({4: ("a", -1.0)}, {"model": "morse"}, "model: got 'morse'"),
        ({4: ("a", -1.0)}, {"byte_ids": [5]}, "256 bytes"),
        ({7: ("a", -1.0)}, {}, "must have the ids 0 to 4"),
    ],
)
def test_impossible_vocabularies(pieces, options, reason):
    with pytest.raises(ValueError, match=reason):
        SentencePieceTokenizer(pieces, **options)

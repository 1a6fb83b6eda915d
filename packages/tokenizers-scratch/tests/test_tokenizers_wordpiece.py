"""WordPiece: ids of HF tokenizers, merges of the reference, BERT's cleaning."""

from __future__ import annotations

import random
import time
import unicodedata
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizers_scratch import wordpiece_reference as reference
from tokenizers_scratch.bert import BertText, split_bert_words
from tokenizers_scratch.config_subword import WordPieceConfig
from tokenizers_scratch.errors import VocabularyTooSmallError
from tokenizers_scratch.special_tokens import SpecialTokens
from tokenizers_scratch.wordpiece import WordPieceTokenizer
from tokenizers_scratch.wordpiece_train import learn_wordpieces

THOROUGH = settings.get_profile("tokenizers")
DATA = Path(__file__).parents[4] / "shared" / "data"
OPTIONS = (
    {},
    {"lowercase": False},
    {"lowercase": False, "strip_accents": True},
    {"strip_accents": False, "handle_chinese_chars": False},
    {"clean_text": False},
)
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def hf_old_enough(character):
    """Characters that HF tokenizers' Unicode tables, which are of 2016, classify as Python's do."""
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

    if "\ud800" <= character <= "\udfff" or unicodedata.category(character) == "Cn":
        return False
    for options in ({"lowercase": True}, {"lowercase": False}):
        text = BertText(**options)
        theirs = BertNormalizer(**options).normalize_str(f"a{character}b")
        if text.normalize(f"a{character}b") != theirs:
            return False
        if split_bert_words(theirs) != [word for word, _ in BertPreTokenizer().pre_tokenize_str(theirs)]:
            return False
    return True


def hf(vocab, options):
    tokenizers = pytest.importorskip("tokenizers", reason="HF tokenizers is the oracle")
    model = tokenizers.models.WordPiece({piece: i for i, piece in enumerate(vocab)}, unk_token="[UNK]")
    made = tokenizers.Tokenizer(model)
    full = {"clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True, **options}
    made.normalizer = tokenizers.normalizers.BertNormalizer(**full)
    made.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    made.decoder = tokenizers.decoders.WordPiece(cleanup=False)
    return made


def some_vocabulary(rng, texts):
    """Pieces as an imported vocabulary may have them: any substrings, and a few that no text gives."""
    words = [word for t in (BertText(), BertText(lowercase=False)) for text in texts for word in t.split(text)]
    pieces = {"##", "[unused0]", "##s", "a b"}
    for word in rng.choices(words, k=3000):
        start = rng.randrange(len(word))
        piece = word[start : start + rng.randint(1, 6)]
        pieces.add(piece if start == 0 else "##" + piece)
    for character in {c for word in words for c in word}:
        pieces |= {piece for piece in (character, "##" + character) if rng.random() < 0.9}
    return [*SPECIALS, *sorted(pieces)]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_ids_are_those_of_hf_on_generated_strings(options):
    pytest.importorskip("tokenizers", reason="HF tokenizers is the oracle")
    rng = random.Random(1)
    alphabet = [c for c in map(chr, rng.choices(range(0x3100), k=500)) if hf_old_enough(c)]
    alphabet += [*list(" \t\n\r\x00\x0b\x1c\x85\xa0\u2028�.,!$#ABCabcéÉΣßİ世界한ｶ"), "é", "##", "word"]
    texts = ["".join(rng.choices(alphabet, k=rng.randint(0, 15))) for _ in range(2000)]
    vocab = some_vocabulary(rng, texts)
    mine, theirs = WordPieceTokenizer(vocab, text=BertText(**options)), hf(vocab, options)
    encoded = theirs.encode_batch(texts, add_special_tokens=False)
    for text, their in zip(texts, encoded, strict=True):
        ids = mine.encode(text)
        assert ids == their.ids, text
        for skip in (True, False):
            assert mine.decode(ids, skip_special=skip) == decoded_by_hf(theirs, vocab, ids, skip)


def decoded_by_hf(theirs, vocab, ids, skip):
    return theirs.decoder.decode([vocab[i] for i in ids if not (skip and i < len(SPECIALS))])


@pytest.mark.parametrize("name", ["tinyshakespeare.txt", "japanese-novel.txt", "wikitext2-valid.txt"])
def test_ids_are_those_of_hf_on_a_text(name):
    path = DATA / name
    if not path.exists():
        pytest.skip("needs the shared texts")
    text = path.read_text(encoding="utf-8")[:200_000]
    tokenizer = WordPieceTokenizer.train([text[:20_000]], WordPieceConfig(vocab_size=2500))
    vocab = [tokenizer.vocab[i].decode() for i in range(tokenizer.vocab_size)]
    ids = tokenizer.encode(text)
    assert ids == hf(vocab, {}).encode(text, add_special_tokens=False).ids
    assert WordPieceTokenizer(vocab).encode(text) == ids


NUMBA = pytest.mark.skipif(find_spec("numba") is None, reason="the kernels are numba's")
MODES = pytest.mark.parametrize("mode", ["never", pytest.param("always", marks=NUMBA)])


@given(word=st.text("ab", max_size=12), pieces=st.sets(st.sampled_from(["a", "b", "ab", "aab", "bb", "aba"])))
@THOROUGH
def test_the_trie_finds_the_longest_match(word, pieces):
    vocab = [*SPECIALS, *sorted(pieces), *sorted("##" + piece for piece in pieces)]
    tokenizer = WordPieceTokenizer(vocab, max_word_length=10)
    numbers = {piece: i for i, piece in enumerate(vocab)}
    expected = reference.longest_match(word, numbers, 10)
    ids = [tokenizer.unk_id] if expected is None else [numbers[piece] for piece in expected]
    assert tokenizer.encode(word) == ids


WORDS = st.dictionaries(st.text("abcé", min_size=1, max_size=12), st.integers(1, 9), min_size=1, max_size=12)


@MODES
@given(words=WORDS, more=st.integers(0, 25), min_frequency=st.sampled_from([None, 1, 2, 4]))
@THOROUGH
def test_training_is_that_of_the_reference(mode, words, more, min_frequency):
    n_pieces = len(reference.wordpiece_alphabet(words)) + more
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOKENIZERS_SCRATCH_KERNELS", mode)
        fast = learn_wordpieces(words, n_pieces=n_pieces, min_frequency=min_frequency)
    assert fast == reference.learn_wordpieces(words, n_pieces=n_pieces, min_frequency=min_frequency)


@MODES
def test_training_is_that_of_the_reference_for_many_words(mode):
    rng = random.Random(0)
    words = {"".join(rng.choices("abcdefgh", k=rng.randint(1, 9))): rng.randint(1, 5) for _ in range(1200)}
    words["ab" * 1500] = 2  # more places of one pair than there is room for at first
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOKENIZERS_SCRATCH_KERNELS", mode)
        fast = learn_wordpieces(words, n_pieces=60, min_frequency=None)
    assert fast == reference.learn_wordpieces(words, n_pieces=60, min_frequency=None)


def test_plain_python_learns_from_many_words_in_seconds(monkeypatch):
    monkeypatch.setenv("TOKENIZERS_SCRATCH_KERNELS", "never")
    rng = random.Random(0)
    words = {"".join(rng.choices("etaoinshrdlu", k=rng.randint(2, 12))): rng.randint(1, 50) for _ in range(40_000)}
    start = time.perf_counter()
    assert len(learn_wordpieces(words, n_pieces=2000, min_frequency=None)) == 2000
    assert time.perf_counter() - start < 60


def test_the_score_decides():
    # ("h", "##u") is more frequent, but "##g" and "##s" are seldom elsewhere (the example of the Hugging Face course).
    words = {"hug": 10, "pug": 5, "pun": 12, "bun": 4, "hugs": 5}
    splits = reference.get_wordpiece_word_splits(words)
    scores = reference.compute_wordpiece_pair_scores(splits)
    assert scores["##g", "##s"] == (pytest.approx(1 / 20), 5)
    assert scores["##u", "##g"] == (pytest.approx(20 / (36 * 20)), 20)
    alphabet = ["##g", "##n", "##s", "##u", "b", "h", "p"]
    assert reference.learn_wordpieces(words, n_pieces=10, min_frequency=1) == [*alphabet, "##gs", "pu", "hu"]
    assert reference.merge_wordpiece_pair(["a", "##a", "##a", "##a"], ("##a", "##a")) == ["a", "##aa", "##a"]


def test_a_falling_limit_prefers_what_is_frequent():
    words = {"the": 100, "qz": 2, "then": 50}
    assert reference.learn_wordpieces(words, n_pieces=7, min_frequency=2)[-1] == "qz"
    assert "the" in reference.learn_wordpieces(words, n_pieces=9, min_frequency=None)


def test_a_word_is_unknown_as_a_whole():
    tokenizer = WordPieceTokenizer([*SPECIALS, "hello", "##x", "h"])
    assert tokenizer.encode("helloz hellox hz") == [1, 5, 6, 1]
    assert tokenizer.encode("h" + "x" * 99) == [7] + [6] * 99
    assert tokenizer.encode("h" + "x" * 100) == [1]
    assert tokenizer.decode([5, 6, 1, 5]) == "hellox hello"
    assert (tokenizer.pad_id, tokenizer.unk_id, tokenizer.bos_id, tokenizer.eos_id) == (0, 1, 2, 3)


def test_an_alphabet_that_does_not_fit():
    with pytest.raises(
        VocabularyTooSmallError, match="it needs at least 10, 5 fixed entries and 5 characters"
    ) as caught:
        WordPieceTokenizer.train(["abc cba"], WordPieceConfig(vocab_size=9))
    assert caught.value.exit_code == 3
    tokenizer = WordPieceTokenizer.train(["aaab aab c"], WordPieceConfig(vocab_size=30, limit_alphabet=2))
    assert tokenizer.encode("c") == [tokenizer.unk_id]


@pytest.mark.parametrize(
    ("vocab", "reason"),
    [(["a"], "unknown words"), ([*SPECIALS, "a", "a"], "twice"), ([*SPECIALS, ""], "empty")],
)
def test_impossible_vocabularies(vocab, reason):
    with pytest.raises(ValueError, match=reason):
        WordPieceTokenizer(vocab)


def test_a_special_token_of_the_users_is_no_piece():
    config = WordPieceConfig(vocab_size=40, special_tokens=("ab",), min_frequency=2)
    tokenizer = WordPieceTokenizer.train(["xab xab abx cab"] * 5, config)
    assert 5 not in tokenizer.encode("ab abx")
    assert tokenizer.encode("ab", allowed_special={"ab"}) == [5]


def test_special_tokens_may_stand_anywhere():
    special = SpecialTokens({"[UNK]": 1, "[SEP]": 3}, {"unk": "[UNK]", "eos": "[SEP]"})
    tokenizer = WordPieceTokenizer(["a", "[UNK]", "##b", "[SEP]"], special)
    assert tokenizer.encode("ab b [SEP]") == [0, 2, 1, 1, 1, 1]
    assert tokenizer.eos_id == 3
    assert tokenizer.bos_id is None

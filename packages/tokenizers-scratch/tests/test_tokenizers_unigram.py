"""The Unigram model: brute force over all segmentations, HF tokenizers, EM, kernels against the reference."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizers_scratch import unigram_reference as reference
from tokenizers_scratch.config_subword import UnigramConfig
from tokenizers_scratch.errors import VocabularyTooSmallError
from tokenizers_scratch.special_tokens import SpecialTokens
from tokenizers_scratch.unigram import UnigramTokenizer
from tokenizers_scratch.unigram_lattice import edges_of, marginals, n_best, sample_path, viterbi_tokenize
from tokenizers_scratch.unigram_model import UnigramModel
from tokenizers_scratch.unigram_train import learn_unigram
from tokenizers_scratch.vocabulary import cover

DATA = Path(__file__).parents[4] / "shared" / "data"
PROPERTY = settings.get_profile("tokenizers")


def all_segmentations(word, log_p):
    """By brute force: every way to cut the word, with its log p, the best first."""
    found = []
    for cuts in itertools.product((False, True), repeat=max(len(word) - 1, 0)):
        ends = [i + 1 for i, cut in enumerate(cuts) if cut] + [len(word)]
        pieces = [word[a:b] for a, b in zip([0, *ends], ends, strict=False)]
        if all(piece in log_p for piece in pieces):
            found.append((pieces, sum(log_p[piece] for piece in pieces)))
    return sorted(found, key=lambda item: -item[1])


@st.composite
def models(draw):
    """Pieces over three letters, all letters among them, with log p that do not tie."""
    pieces = draw(st.sets(st.text("abc", min_size=2, max_size=4), max_size=12)) | set("abc")
    rng = random.Random(draw(st.integers(0, 10**6)))
    return {piece: -rng.uniform(0.5, 6) for piece in sorted(pieces)}


WORD = st.text("abc", min_size=1, max_size=9)


@given(word=WORD, log_p=models())
@PROPERTY
def test_viterbi_marginals_and_n_best_are_brute_force(word, log_p):
    everything = all_segmentations(word, log_p)
    pieces, score = viterbi_tokenize(word, log_p)
    assert "".join(pieces) == word
    assert score == pytest.approx(everything[0][1])
    assert sum(log_p[piece] for piece in pieces) == pytest.approx(score)
    edges = edges_of(word, log_p)
    probable, log_z = marginals(edges, len(word))
    assert log_z == pytest.approx(math.log(sum(math.exp(score) for _, score in everything)))
    expected_length = sum(math.exp(score - log_z) * len(pieces) for pieces, score in everything)
    assert sum(probable) == pytest.approx(expected_length)
    assert sum(p * (end - start) for p, (start, end, _) in zip(probable, edges, strict=True)) == pytest.approx(
        len(word)
    )
    best = n_best(edges, len(word), 5)
    cut = [[word[start:end] for start, end, _ in path] for path, _ in best]
    assert len(set(map(tuple, cut))) == len(cut)
    assert all("".join(pieces) == word for pieces in cut)
    assert [sum(map(log_p.__getitem__, pieces)) for pieces in cut] == pytest.approx([score for _, score in best])
    assert [score for _, score in best] == pytest.approx([score for _, score in everything[:5]])


def test_equals_are_decided_by_the_longest_last_piece():
    assert viterbi_tokenize("aaa", {"a": -1.0, "aa": -1.0})[0] == ["a", "aa"]
    assert viterbi_tokenize("", {"a": -1.0}) == ([], 0.0)
    with pytest.raises(ValueError, match="cannot be cut"):
        viterbi_tokenize("ab", {"a": -1.0})
    assert viterbi_tokenize("ab", {"a": -1.0}, unknown=-9.0) == (["a", "b"], -10.0)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_samples_follow_the_posterior(alpha):
    stats = pytest.importorskip("scipy.stats", reason="the chi-square test is scipy's")
    log_p = {"a": -1.0, "b": -1.5, "ab": -1.2, "ba": -2.0, "aba": -2.5}
    everything = all_segmentations("ababa", log_p)
    weights = [math.exp(alpha * score) for _, score in everything]
    rng = random.Random(5)
    edges = edges_of("ababa", log_p)
    drawn = Counter(tuple(start for start, _, _ in sample_path(edges, 5, alpha, rng)) for _ in range(4000))
    starts = [tuple(itertools.accumulate(map(len, pieces[:-1]), initial=0)) for pieces, _ in everything]
    assert set(drawn) <= set(starts)
    expected = [4000 * weight / sum(weights) for weight in weights]
    assert stats.chisquare([drawn[start] for start in starts], expected).pvalue > 0.001


def test_samples_from_the_best_few_of_a_text():
    pieces = {4: ("a", -1.0), 5: ("b", -1.5), 6: ("ab", -1.2), 7: (" ", -2.0)}
    tokenizer = UnigramTokenizer(pieces, pattern="gpt2")
    text = "ab ab"
    best = tokenizer.n_best(text, 10)
    assert [ids for ids, _ in best] == [[6, 7, 6], *sorted([[6, 7, 4, 5], [4, 5, 7, 6]], reverse=True), [4, 5, 7, 4, 5]]
    assert best[0][0] == tokenizer.encode(text)
    assert [score for _, score in best] == pytest.approx([-4.4, -5.7, -5.7, -7.0])
    rng = random.Random(0)
    assert tokenizer.sample(text, rng=rng, nbest_size=1) == tokenizer.encode(text)
    seen = {tuple(tokenizer.sample(text, rng=rng, nbest_size=2)) for _ in range(50)}
    assert seen == {tuple(ids) for ids, _ in best[:2]}
    seen = {tuple(tokenizer.sample(text, rng=rng)) for _ in range(100)}
    assert seen == {tuple(ids) for ids, _ in best}
    for wrong in ({"alpha": -1}, {"alpha": math.nan}, {"nbest_size": 0}, {"nbest_size": 10**6}):
        with pytest.raises(ValueError, match=r"alpha|nbest_size"):
            tokenizer.sample(text, rng=rng, **wrong)


WORDS = st.dictionaries(st.text("abcd", min_size=1, max_size=14), st.integers(1, 9), min_size=1, max_size=20)


@given(words=WORDS)
@settings(deadline=None, derandomize=True, max_examples=60)
def test_the_likelihood_never_falls(words):
    log_p = reference.build_initial_unigram_vocab(words)
    assert math.fsum(map(math.exp, log_p.values())) == pytest.approx(1)
    losses = []
    for _ in range(6):
        losses.append(reference.compute_unigram_loss(words, log_p))
        log_p = reference.most_likely(reference.expected_counts(words, log_p)[0])
    assert all(after <= before + 1e-9 for before, after in itertools.pairwise(losses))


def kind_of_letter(character):
    """As where scripts differ: b and c go together, a with what follows it."""
    return {"a": 0, "b": 1, "c": 1, "d": 2}[character]


def test_how_far_a_piece_may_reach():
    assert reference.reaches("abcdadb", kind_of_letter) == [3, 3, 3, 4, 6, 6, 7]
    assert reference.reaches("ab", reference.one_kind) == [2, 2]


@given(
    words=WORDS,
    more=st.integers(0, 15),
    longest=st.sampled_from([1, 3, 16]),
    n_seeds=st.sampled_from([6, 1000]),
    kind_of=st.sampled_from([reference.one_kind, kind_of_letter]),
)
@PROPERTY
def test_kernels_learn_what_the_reference_learns(words, more, longest, n_seeds, kind_of):
    pytest.importorskip("numba", reason="the kernels are numba's")
    words = dict(sorted(words.items()))
    options = {"max_piece_length": longest, "n_seeds": n_seeds, "kind_of": kind_of}
    options["n_pieces"] = len(set("".join(words))) + more
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOKENIZERS_SCRATCH_KERNELS", "always")
        fast = learn_unigram(words, **options)
    slow = reference.learn_unigram(words, **options)
    assert [piece for piece, _ in fast] == [piece for piece, _ in slow]
    assert [score for _, score in fast] == pytest.approx([score for _, score in slow], rel=2e-7)


@given(words=WORDS)
@settings(deadline=None, derandomize=True, max_examples=60)
def test_kernels_expect_what_the_reference_expects_also_in_long_words(words):
    pytest.importorskip("numba", reason="the kernels are numba's")
    import numpy as np

    from tokenizers_scratch.kernels import unigram as kernel

    words = {**words, "abcd" * 300: 2}
    log_p = {piece: score - 3 for piece, score in reference.build_initial_unigram_vocab(words).items()}
    codes, starts = kernel.flat(list(words))
    text = "".join(words)
    places = np.array([text.index(piece) for piece in log_p])
    lengths = np.array([len(piece) for piece in log_p], np.int32)
    counts = np.array(list(words.values()))
    model = kernel.Model(codes, starts, counts, places, lengths, np.array(list(log_p.values())))
    expected, log_likelihood = model.expected()
    slow, slow_likelihood = reference.expected_counts(words, log_p)
    assert log_likelihood == pytest.approx(slow_likelihood, rel=1e-12)
    assert expected.tolist() == pytest.approx(list(slow.values()), rel=1e-8, abs=1e-9)


@given(texts=st.lists(st.text("abcx世👍\ud800", max_size=30)), log_p=models(), fallback=st.booleans())
@PROPERTY
def test_kernels_encode_what_plain_python_encodes(texts, log_p, fallback):
    pytest.importorskip("numba", reason="the kernels are numba's")
    pieces = dict(enumerate(log_p.items(), 300))
    rows = {}
    for mode in ("always", "never"):
        model = UnigramModel(pieces, 1, range(4, 260) if fallback else ())
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TOKENIZERS_SCRATCH_KERNELS", mode)
            rows[mode] = model.encode_words(texts)
    assert rows["always"] == rows["never"]


def test_digamma():
    special = pytest.importorskip("scipy.special", reason="digamma is scipy's")
    values = [0.01, 0.5, 1.0, 3.7, 10.0, 1e6]
    assert [reference.digamma(x) for x in values] == pytest.approx(
        [float(special.digamma(x)) for x in values], rel=1e-12
    )


def test_seeds_are_repeated_and_not_always_extended():
    seeds = reference.build_initial_unigram_vocab({"abcab": 1, "abd": 1, "xy": 5, "z": 1})
    # "ab" is thrice there; "xy" five times, as one word; "abc", "ca" once; x and y are characters.
    assert list(seeds) == ["x", "y", "a", "b", "c", "d", "z", "xy", "ab"]
    assert seeds["xy"] == pytest.approx(math.log(10 / (5 + 5 + 3 + 3 + 1 + 1 + 1 + 10 + 6)))


def test_pruning_keeps_what_the_text_needs():
    words = {"abab": 10, "cd": 1}
    log_p = {piece: math.log(p) for piece, p in {"a": 0.1, "b": 0.1, "c": 0.1, "d": 0.1, "ab": 0.5, "cd": 0.1}.items()}
    kept = reference.prune_unigram_vocab(words, log_p, n_wanted=5, shrinking_factor=0.1)
    assert set(kept) == {"a", "b", "c", "d", "ab"}


def test_ids_are_those_of_hf():
    tokenizers = pytest.importorskip("tokenizers", reason="HF tokenizers is the oracle")
    rng = random.Random(3)
    vocab = {c: -rng.uniform(4, 9) for c in "abcdefgh"}
    vocab |= {"".join(rng.choices("abcdefgh", k=rng.randint(2, 5))): -rng.uniform(3, 12) for _ in range(400)}
    listed = list(vocab.items())
    theirs = tokenizers.Tokenizer(tokenizers.models.Unigram([("<UNK>", 0.0), *listed], unk_id=0, byte_fallback=False))
    special = SpecialTokens({"<UNK>": 0}, {"unk": "<UNK>"})
    mine = UnigramTokenizer(dict(enumerate(listed, 1)), special, pattern="none")
    texts = ["".join(rng.choices("abcdefghxy", k=rng.randint(0, 25))) for _ in range(10_000)]
    encoded = theirs.encode_batch(texts)
    assert all(mine.encode(text) == their.ids for text, their in zip(texts, encoded, strict=True))


def test_a_text_is_learned_better_than_by_characters():
    path = DATA / "tinyshakespeare.txt"
    if not path.exists():
        pytest.skip("needs the shared texts")
    text = path.read_text(encoding="utf-8")[:150_000]
    tokenizer = UnigramTokenizer.train([text], UnigramConfig(vocab_size=1260))
    assert tokenizer.vocab_size == 1260
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert len(ids) < len(text) / 2.5
    assert sum(math.exp(score) for _, score in tokenizer.pieces.values()) == pytest.approx(1, abs=0.05)


def test_unknown_characters():
    config = UnigramConfig(vocab_size=50, byte_fallback=False, character_coverage=1.0)
    tokenizer = UnigramTokenizer.train(["abc abc"], config)
    assert tokenizer.encode("xyz") == [tokenizer.unk_id]  # neighbours are one
    assert tokenizer.encode("axa")[1] == tokenizer.unk_id
    fallback = UnigramTokenizer.train(["abc abc"], UnigramConfig())
    assert fallback.decode(fallback.encode("世\ud800x")) == "世\ud800x"
    assert fallback.encode("x") == [4 + ord("x")]


def test_a_special_token_is_no_piece_even_if_the_text_is_full_of_it():
    tokenizer = UnigramTokenizer.train(["<EOS>" * 50 + " abc abc"], UnigramConfig())
    assert tokenizer.eos_id not in tokenizer.encode("<EOS>")
    assert tokenizer.encode("abc<EOS>", allowed_special="all")[-1] == tokenizer.eos_id


def test_coverage():
    assert cover({"aax": 9, "axa": 1, "y": 1}, 0.6) == {"aa": 9, "a": 2}
    assert cover({"ab": 1}, 1.0) == {"ab": 1}


def test_an_alphabet_that_does_not_fit():
    with pytest.raises(VocabularyTooSmallError, match="needs at least 266, 260 fixed entries and 6 characters"):
        UnigramTokenizer.train(["abcdef" * 3], UnigramConfig(vocab_size=265))


@pytest.mark.parametrize(
    ("pieces", "options", "reason"),
    [
        ({4: ("a", -1.0), 5: ("a", -2.0)}, {}, "twice"),
        ({4: ("", -1.0)}, {}, "empty"),
        ({4: ("a", math.nan)}, {}, "finite"),
        ({4: ("a", -1.0)}, {"byte_ids": range(5, 200)}, "256 bytes"),
        ({4: ("a", -1.0)}, {"byte_ids": range(4, 260)}, "256 bytes"),
        ({9: ("a", -1.0)}, {}, "must have the ids 0 to 4"),
        ({4: ("a", -1.0)}, {"pattern": "gpt3"}, "pattern"),
    ],
)
def test_impossible_vocabularies(pieces, options, reason):
    with pytest.raises(ValueError, match=reason):
        UnigramTokenizer(pieces, **options)

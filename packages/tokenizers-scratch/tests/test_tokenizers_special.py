"""Special tokens come from plain text only where the caller allows it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizers_scratch.bpe import BPETokenizer
from tokenizers_scratch.byte import ByteTokenizer
from tokenizers_scratch.char import CharTokenizer
from tokenizers_scratch.config import BPEConfig, ByteConfig, CharConfig
from tokenizers_scratch.errors import SpecialTokenError
from tokenizers_scratch.special_tokens import SpecialTokens

OWN = ("<|end|>", "<|end|><|end|>", "<|e", "two words")
TEXT = "<PAD><UNK><BOS><EOS><|end|> two words <|e 'abc' |"

TOKENIZERS = [
    ByteTokenizer.train([], ByteConfig(special_tokens=OWN)),
    CharTokenizer.train([TEXT], CharConfig(special_tokens=OWN)),
    BPETokenizer.train([TEXT], BPEConfig(vocab_size=300, special_tokens=OWN, min_frequency=1)),
]
each_tokenizer = pytest.mark.parametrize("tokenizer", TOKENIZERS, ids=lambda tokenizer: tokenizer.kind)
PIECES = st.lists(st.sampled_from([*OWN, "<PAD>", "<EOS>", "<", "<|", "<|en", "d|>", " ", "two", " words", "a", "|>"]))


@each_tokenizer
def test_ids_and_roles(tokenizer):
    assert (tokenizer.pad_id, tokenizer.unk_id, tokenizer.bos_id, tokenizer.eos_id) == (0, 1, 2, 3)
    assert list(tokenizer.special_tokens.items())[:5] == [
        ("<PAD>", 0), ("<UNK>", 1), ("<BOS>", 2), ("<EOS>", 3), ("<|end|>", 4)
    ]  # fmt: skip
    assert tokenizer.vocab[6] == b"<|e"


@each_tokenizer
def test_plain_by_default(tokenizer):
    special = set(tokenizer.special_tokens.values())
    assert not special & set(tokenizer.encode(TEXT))
    assert not special & set(tokenizer.encode_batch([TEXT])[0])
    assert not special & set(tokenizer.encode_iterable(TEXT))
    assert tokenizer.decode(tokenizer.encode(TEXT)) == TEXT


@each_tokenizer
def test_all(tokenizer):
    ids = tokenizer.encode("a<EOS>b<|end|>", allowed_special="all")
    assert ids == [*tokenizer.encode("a"), 3, *tokenizer.encode("b"), 4]
    assert tokenizer.decode(ids) == "ab"
    assert tokenizer.decode(ids, skip_special=False) == "a<EOS>b<|end|>"
    assert tokenizer.tokenize("a<EOS>", allowed_special="all") == ["a", "<EOS>"]
    assert tokenizer.encode_batch(["<EOS>", "a"], allowed_special="all") == [[3], tokenizer.encode("a")]


@each_tokenizer
def test_a_set_allows_exactly_these(tokenizer):
    ids = tokenizer.encode("<EOS><PAD>", allowed_special={"<PAD>"})
    assert ids == [*tokenizer.encode("<EOS>"), 0]
    assert tokenizer.encode("<EOS>", allowed_special=frozenset()) == tokenizer.encode("<EOS>")


@each_tokenizer
def test_the_leftmost_longest_wins(tokenizer):
    assert tokenizer.encode("<|end|><|end|><|end|><|e", allowed_special="all") == [5, 4, 6]


@each_tokenizer
def test_none_raise(tokenizer):
    with pytest.raises(SpecialTokenError, match="'<EOS>'") as caught:
        tokenizer.encode("a<EOS>", allowed_special="none_raise")
    assert caught.value.exit_code == 3
    assert tokenizer.encode("a <EOS", allowed_special="none_raise") == tokenizer.encode("a <EOS")
    with pytest.raises(SpecialTokenError):
        list(tokenizer.encode_iterable(["a<E", "OS>"], allowed_special="none_raise"))


@each_tokenizer
@pytest.mark.parametrize("allowed", ["some", {"<|nope|>"}])
def test_unknown_permission(tokenizer, allowed):
    with pytest.raises(ValueError, match=r"^allowed_special: "):
        tokenizer.encode("a", allowed_special=allowed)
    with pytest.raises(ValueError, match=r"^allowed_special: "):
        tokenizer.encode_iterable(["a"], allowed_special=allowed)  # at once, not at the first id


@each_tokenizer
@given(chunks=PIECES, allowed=st.sampled_from(["all", "none", {"<|end|>", "two words"}]))
@settings(deadline=None, derandomize=True, max_examples=300)
def test_chunks_do_not_change_what_is_special(tokenizer, chunks, allowed):
    whole = "".join(chunks)
    ids = tokenizer.encode(whole, allowed_special=allowed)
    assert list(tokenizer.encode_iterable(chunks, allowed_special=allowed)) == ids
    assert list(tokenizer.encode_iterable(whole, allowed_special=allowed)) == ids  # one character at a time
    assert tokenizer.decode(ids, skip_special=False) == whole


def test_special_tokens_are_no_training_text():
    with_end = BPETokenizer.train(["<|end|>" * 50 + "abab"], BPEConfig(special_tokens=("<|end|>",)))
    assert with_end.merges == BPETokenizer.train(["abab"], BPEConfig()).merges
    # They also end a word: "ab" and "cd" never meet.
    split = BPETokenizer.train(["ab<|end|>cd"], BPEConfig(special_tokens=("<|end|>",), min_frequency=1))
    assert [left + right for left, right in split.merges] == [b"ab", b"cd"]


def test_special_tokens_that_clash():
    with pytest.raises(ValueError, match="'<EOS>' appears twice"):
        SpecialTokens.numbered(["<EOS>"])
    with pytest.raises(ValueError, match="two special tokens have one id"):
        SpecialTokens({"<A>": 0, "<B>": 0})

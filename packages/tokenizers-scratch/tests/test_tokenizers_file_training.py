"""`train_bpe` from a file: what training on its text gives, in any number of threads."""

from __future__ import annotations

import gzip

import pytest

from tokenizers_scratch.bpe import BPETokenizer
from tokenizers_scratch.config import BPEConfig
from tokenizers_scratch.errors import EmptyCorpusError, TokenizerDataError
from tokenizers_scratch.training import Tokenizer, train_bpe

TEXT = "Fair is foul,<|a b|>and foul is\r\nfair: hover <|endoftext|>through 世界 the fog  <|endoftext|>\n" * 400
SPECIAL = ["<|endoftext|>", "<|a b|>"]


@pytest.mark.parametrize("pattern", ["gpt2", "gpt4", "none", r"\w+|\s+"])
def test_it_is_training_on_the_text(tmp_path, pattern):
    (tmp_path / "corpus.txt").write_bytes(TEXT.encode())
    vocab, merges = train_bpe(tmp_path / "corpus.txt", 280, SPECIAL, 2, pattern=pattern)
    whole = BPETokenizer.train(
        [TEXT], BPEConfig(vocab_size=284, min_frequency=1, special_tokens=tuple(SPECIAL), pattern=pattern)
    )
    assert tuple(merges) == whole.merges
    assert len(vocab) == 280
    assert [vocab[0], vocab[1]] == [b"<|endoftext|>", b"<|a b|>"]
    assert list(vocab.values())[2:] == list(whole.vocab.values())[6:]
    assert train_bpe(str(tmp_path / "corpus.txt"), 280, SPECIAL, num_processes=1, pattern=pattern) == (vocab, merges)


def test_a_tokenizer_of_it(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text(TEXT, encoding="utf-8", newline="")
    vocab, merges = train_bpe(input_path=path, vocab_size=300, special_tokens=SPECIAL, num_processes=2)
    tokenizer = Tokenizer(vocab, merges, special_tokens=SPECIAL)
    ids = tokenizer.encode(TEXT)
    assert tokenizer.decode(ids) == TEXT
    assert tokenizer.encode("a<|endoftext|>", allowed_special="all")[-1] == 0
    with path.open(encoding="utf-8", newline="") as lines:
        assert list(tokenizer.encode_iterable(lines)) == ids
    tokenizer.save(tmp_path / "my_tokenizer")
    assert Tokenizer.load(tmp_path / "my_tokenizer").encode(TEXT) == ids


def test_a_vocabulary_of_bytes_alone(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text("abab")
    assert train_bpe(path, 256)[1] == []
    assert train_bpe(path, 257) == ({**train_bpe(path, 256)[0], 256: b"ab"}, [(b"a", b"b")])
    assert len(train_bpe(path, 9999)[0]) == 258


def test_compressed(tmp_path):
    (tmp_path / "corpus.txt.gz").write_bytes(gzip.compress(TEXT.encode()))
    (tmp_path / "corpus.txt").write_bytes(TEXT.encode())
    assert train_bpe(tmp_path / "corpus.txt.gz", 280, SPECIAL) == train_bpe(tmp_path / "corpus.txt", 280, SPECIAL)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"vocab_size": 256, "special_tokens": ["<a>"]}, r"^vocab_size: got 256, must be at least 257"),
        ({"vocab_size": 300, "special_tokens": ["<a>", "<a>"]}, "'<a>' appears twice"),
        ({"vocab_size": 300, "special_tokens": [""]}, "empty string"),
        ({"vocab_size": 300, "num_processes": 0}, r"^num_processes: got 0"),
        ({"vocab_size": 300, "pattern": "gpt9"}, r"^pattern: got 'gpt9'"),
        ({"vocab_size": 300, "min_frequency": 0}, r"^min_frequency: got 0"),
    ],
)
def test_options_are_refused_before_anything_is_read(tmp_path, options, reason):
    with pytest.raises(ValueError, match=reason):
        train_bpe(tmp_path / "nope.txt", **options)


@pytest.mark.parametrize(
    ("data", "reason"), [(b"", "the training text is empty"), (b"ab \xff", "byte 3: not UTF-8"), (None, "No such file")]
)
def test_files_that_cannot_be_learned_from(tmp_path, data, reason):
    path = tmp_path / "corpus.txt"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(TokenizerDataError, match=reason) as caught:
        train_bpe(path, 300)
    assert caught.value.exit_code == 3
    assert isinstance(caught.value, EmptyCorpusError) == (data == b"")

"""Special tokens registered after training: a new tokenizer each time, and nobody else's changes."""

from __future__ import annotations

import pytest

from tokenizers_scratch.bpe import BPETokenizer
from tokenizers_scratch.config import BPEConfig
from tokenizers_scratch.errors import EmptyCorpusError, SpecialTokenError
from tokenizers_scratch.registering import BpeTokenizer, register_special_tokens
from tokenizers_scratch.special_tokens import SpecialTokens
from tokenizers_scratch.training import train_bpe

TEXT = "the cat sat on the mat<|endoftext|>the cat and the hat, that cat<sep>sat\n" * 30


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text(TEXT, encoding="utf-8", newline="")
    return path


def test_train_counts_special_tokens_on_top(corpus, capsys):
    tokenizer = BpeTokenizer()
    tokenizer.train(corpus, 270, ["<|endoftext|>"], boundary_split_token="<sep>", num_processes=2, verbose=True)
    assert tokenizer.tokenizer.vocab_size == 271
    assert tokenizer.tokenizer.special_tokens == {"<|endoftext|>": 270}
    assert tokenizer.tokenizer.eos_id == 270
    assert "271 tokens from" in capsys.readouterr().err
    vocab, merges = train_bpe(corpus, 272, ["<|endoftext|>", "<sep>"])
    assert tokenizer.tokenizer.merges == tuple(merges)
    assert list(tokenizer.tokenizer.vocab.values())[:270] == list(vocab.values())[2:]
    text = "the cat 👍 sat"
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_register(corpus):
    tokenizer = BpeTokenizer(r"\w+|\W+")
    tokenizer.train(corpus, 265)
    before = tokenizer.tokenizer
    plain = tokenizer.encode("the<|endoftext|>", "none")
    tokenizer.register_special_tokens({"<|endoftext|>": 265, "<|im_start|>": 266})
    assert (before.special_tokens, before.vocab_size) == ({}, 265)  # who has it keeps it as it was
    assert tokenizer.encode("the<|endoftext|>", "none") == plain
    assert tokenizer.encode("the<|endoftext|>", allowed_special_tokens="all")[-1] == 265
    assert tokenizer.encode("<|im_start|><|endoftext|>", allowed_special_tokens={"<|im_start|>"})[0] == 266
    with pytest.raises(SpecialTokenError, match=r"'<\|endoftext\|>', which is not allowed"):
        tokenizer.encode("the<|endoftext|>")
    assert tokenizer.decode([266, 265]) == "<|im_start|><|endoftext|>"
    tokenizer.register_special_tokens({"<|im_start|>": 266, "<|im_end|>": 267})
    assert tokenizer.tokenizer.special_tokens == {"<|endoftext|>": 265, "<|im_start|>": 266, "<|im_end|>": 267}
    with pytest.raises(ValueError, match="must be free"):
        tokenizer.register_special_tokens({"<|x|>": 267})
    assert tokenizer.tokenizer.vocab_size == 268


def test_save_and_load(corpus, tmp_path):
    tokenizer = BpeTokenizer("gpt4")
    tokenizer.train(corpus, 265, ["<|endoftext|>"])
    tokenizer.save(tmp_path / "saved")
    again = BpeTokenizer.load(tmp_path / "saved")
    assert again.encode(TEXT, "all") == tokenizer.encode(TEXT, "all")
    assert again.tokenizer.pattern == "gpt4"
    assert BPETokenizer.load(tmp_path / "saved").special_tokens == {"<|endoftext|>": 265}


def test_roles_stay():
    trained = BPETokenizer.train([TEXT], BPEConfig(vocab_size=265))
    more = register_special_tokens(trained, {"<|endoftext|>": 265})
    assert (more.pad_id, more.unk_id, more.bos_id, more.eos_id) == (0, 1, 2, 3)
    assert more.encode(TEXT) == trained.encode(TEXT)
    bare = BPETokenizer(dict(enumerate(bytes([b]) for b in range(256))), [], SpecialTokens({}))
    assert register_special_tokens(bare, {"<a>": 256}, eos_token="<a>").eos_id == 256
    assert register_special_tokens(bare, {"<|endoftext|>": 256}, eos_token=None).eos_id is None


@pytest.mark.parametrize(
    ("tokens", "reason"),
    [
        ({"<a>": 5}, "got 5 for '<a>', must be free"),
        ({"<EOS>": 265}, "got 265 for '<EOS>', must be free"),
        ({"<a>": 265, "<b>": 265}, "got 265 for '<b>', must be free"),
        ({"<a>": 267}, "got ids up to 267, must leave none out: the id 265 has no token"),
        ({"<a>": -1}, "got -1 for '<a>', must be an id"),
        ({"<a>": "265"}, "got '265' for '<a>', must be an id"),
        ({"": 265}, "the empty string"),
    ],
)
def test_what_cannot_be_registered(tokens, reason):
    with pytest.raises(ValueError, match=reason):
        register_special_tokens(BPETokenizer.train([TEXT], BPEConfig(vocab_size=265)), tokens)


def test_what_has_to_come_first(tmp_path):
    tokenizer = BpeTokenizer()
    for use in (lambda: tokenizer.encode("a"), lambda: tokenizer.register_special_tokens({"<a>": 0})):
        with pytest.raises(ValueError, match="there is no vocabulary yet"):
            use()
    (tmp_path / "empty.txt").touch()
    with pytest.raises(EmptyCorpusError):
        tokenizer.train(tmp_path / "empty.txt", 300)
    with pytest.raises(ValueError, match="pattern"):
        BpeTokenizer(["(", "a"])
    assert BpeTokenizer([r"\w+", r"\W+"])._pattern == r"\w+|\W+"

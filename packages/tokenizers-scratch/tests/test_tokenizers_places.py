"""Where a tokenizer is asked for, any of the files that hold one will do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tokenizers_scratch.bpe import BPETokenizer
from tokenizers_scratch.commands.group import tokenize
from tokenizers_scratch.config import BPEConfig
from tokenizers_scratch.config_subword import SentencePieceConfig, WordPieceConfig
from tokenizers_scratch.errors import TokenizerFileError
from tokenizers_scratch.formats.sentencepiece_file import save_sentencepiece
from tokenizers_scratch.formats.tiktoken_ranks import write_tiktoken
from tokenizers_scratch.formats.tokenizer_json import tokenizer_json, write_json, write_tokenizer_json
from tokenizers_scratch.hf.tokenizer import HFTokenizer
from tokenizers_scratch.parts import load_tokenizer
from tokenizers_scratch.sentencepiece import SentencePieceTokenizer
from tokenizers_scratch.storage import FILE_NAME
from tokenizers_scratch.wordpiece import WordPieceTokenizer

TEXTS = ["the cat sat on the mat", "the cat and the hat", "that cat sat"]


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """By place: what is expected there."""
    root = tmp_path_factory.mktemp("places")
    bpe = BPETokenizer.train(TEXTS, BPEConfig(vocab_size=290, pattern="gpt4"))
    sentencepiece = SentencePieceTokenizer.train(TEXTS, SentencePieceConfig(vocab_size=300))
    wordpiece = WordPieceTokenizer.train(TEXTS, WordPieceConfig(vocab_size=40))
    bpe.save(root / "saved")
    save_sentencepiece(sentencepiece, root / "sp" / "spiece.model")
    write_tokenizer_json(wordpiece, root / "wordpiece")
    gpt2 = BPETokenizer(dict(bpe.vocab), bpe.merges, tuple(bpe.special_tokens))
    (root / "gpt2").mkdir()
    gpt2.save_files(root / "gpt2" / "vocab.json", root / "gpt2" / "merges.txt")
    ranks = dict(enumerate(bpe.vocab[i] for i in range(4, bpe.vocab_size)))
    write_tiktoken(BPETokenizer(ranks, bpe.merges, pattern="gpt4"), root / "ranks.tiktoken")
    foreign = tokenizer_json(wordpiece)
    foreign["decoder"]["cleanup"] = True
    write_json(root / "bert-tokenizer.json", foreign)
    return {
        root / "saved": bpe,
        root / "saved" / FILE_NAME: bpe,
        root / "sp": sentencepiece,
        root / "sp" / "spiece.model": sentencepiece,
        root / "wordpiece": wordpiece,
        root / "wordpiece" / "tokenizer.json": wordpiece,
        root / "gpt2": gpt2,
        root / "gpt2" / "merges.txt": gpt2,
        f"{root / 'ranks.tiktoken'}:gpt4": BPETokenizer(ranks, bpe.merges, pattern="gpt4"),
        root / "bert-tokenizer.json": HFTokenizer(foreign),
    }


def test_every_place(places):
    for place, expected in places.items():
        found = load_tokenizer(place)
        assert type(found) is type(expected), place
        assert found.encode("the cat's 123 👍") == expected.encode("the cat's 123 👍"), place


def test_prepare_and_view_take_them(places, tmp_path):
    (tmp_path / "text.txt").write_text("\n".join(TEXTS))
    for number, place in enumerate(places):
        out = tmp_path / str(number)
        done = CliRunner().invoke(
            tokenize,
            ["prepare", str(tmp_path / "text.txt"), "-t", str(place), "--separator", "\\n", "-j", "1", "-o", str(out)],
        )
        assert done.exit_code == 0, done.output
        assert type(load_tokenizer(out)) is type(places[place])
        assert CliRunner().invoke(tokenize, ["view", "-t", str(place), "--text", "the cat"]).exit_code == 0


def test_prepare_a_split(places, tmp_path):
    (tmp_path / "text.txt").write_text("\n".join(f"text {i}" for i in range(100)))
    place = str(next(iter(places)))
    arguments = [
        "prepare",
        str(tmp_path / "text.txt"),
        "-t",
        place,
        "--separator",
        "\\n",
        "-j",
        "1",
        "--validation",
        "0.2",
    ]
    done = CliRunner().invoke(tokenize, [*arguments, "-o", str(tmp_path / "data"), "--json"])
    assert done.exit_code == 0, done.output
    train, held_out = json.loads(done.stdout)
    assert train["documents"] + held_out["documents"] == 100
    assert (tmp_path / "data" / "validation" / "dataset.json").exists()
    assert held_out["directory"] == str(tmp_path / "data" / "validation")
    for share in ("1", "-0.1", "x"):
        assert CliRunner().invoke(tokenize, [*arguments[:-1], share, "-o", str(tmp_path / "other")]).exit_code == 2


def test_what_is_no_tokenizer(places, tmp_path):
    (tmp_path / "a.txt").touch()
    with pytest.raises(TokenizerFileError, match=r"a.txt: is no .json, .model or .tiktoken file"):
        load_tokenizer(tmp_path / "a.txt")
    ranks = next(str(place) for place in places if "tiktoken" in str(place)).removesuffix(":gpt4")
    with pytest.raises(TokenizerFileError, match="does not say how text is cut into words: name the pattern"):
        load_tokenizer(ranks)
    with pytest.raises(TokenizerFileError, match="pattern: got 'gpt5'"):
        load_tokenizer(ranks + ":gpt5")
    with pytest.raises(TokenizerFileError, match="No such file"):
        load_tokenizer(tmp_path / "nope.model")


def test_the_files_that_tiktoken_publishes(places, tmp_path):
    ranks = next(str(place) for place in places if "tiktoken" in str(place)).removesuffix(":gpt4")
    (tmp_path / "cl100k_base.tiktoken").write_bytes(Path(ranks).read_bytes())
    # The names decide pattern and special tokens; with so few ranks the ids between would be too many.
    with pytest.raises(ValueError, match="must not leave"):
        load_tokenizer(tmp_path / "cl100k_base.tiktoken")

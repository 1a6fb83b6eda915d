"""Options from text, and tokenizers by name or place."""

from __future__ import annotations

import json

import pytest

from tokenizers_scratch.bpe import BPETokenizer
from tokenizers_scratch.byte import ByteTokenizer
from tokenizers_scratch.byte_alphabet import single_bytes, to_stand_ins
from tokenizers_scratch.char import CharTokenizer
from tokenizers_scratch.config import BPEConfig, ByteConfig, CharConfig
from tokenizers_scratch.errors import TokenizerFileError
from tokenizers_scratch.formats.tokenizer_json import write_tokenizer_json
from tokenizers_scratch.parts import load_tokenizer, offers
from tokenizers_scratch.settings import configured, parse_setting


def test_a_setting_is_read_like_toml_or_is_text():
    assert parse_setting("vocab_size=300") == ("vocab_size", 300)
    assert parse_setting("tokenizer.pattern = gpt4") == ("pattern", "gpt4")
    assert parse_setting('special_tokens=["<a>", "<b>"]') == ("special_tokens", ["<a>", "<b>"])
    assert parse_setting(r"pattern=\s+|\S+") == ("pattern", r"\s+|\S+")
    assert parse_setting("pattern=1\nx=2") == ("pattern", "1\nx=2")
    assert parse_setting("a=b=c") == ("a", "b=c")
    for text in ("vocab_size", "=3", "a.b.c=3", "model.x=3"):
        with pytest.raises(ValueError, match="must have the form field=value"):
            parse_setting(text)


def test_options_are_checked():
    assert configured(BPEConfig, {"vocab_size": 300, "special_tokens": ["<a>"]}) == BPEConfig(
        vocab_size=300, special_tokens=("<a>",)
    )
    assert configured(CharConfig, {"vocab_size": "none"}) == CharConfig(vocab_size=None)
    for values, reason in [
        ({"size": 3}, "size: there is no such option; there are vocab_size, "),
        ({"vocab_size": "many"}, "vocab_size: got 'many', must be a whole number"),
        ({"vocab_size": True}, "vocab_size: got True, must be a whole number"),
        ({"special_tokens": "<a>"}, "special_tokens: got '<a>', must be a list such as"),
        ({"special_tokens": [3]}, r"special_tokens\[0\]: got 3, must be text"),
        ({"vocab_size": 10}, "vocab_size: got 10, must be at least 260"),
    ]:
        with pytest.raises(ValueError, match=reason):
            configured(BPEConfig, values)


def test_every_offer_resolves():
    assert {"byte", "char", "bpe", "word"} <= set(offers())
    for name, offer in offers().items():
        assert offer.load().kind == name
        offer.load_config()()


@pytest.mark.parametrize("name", ["byte", "char", "bpe", "word"])
def test_a_saved_tokenizer_is_found_by_its_file(tmp_path, name):
    offer = offers()[name]
    tokenizer = offer.load().train(["some text some text"], offer.load_config()())
    tokenizer.save(tmp_path / "run" / "tokenizer")
    for place in (tmp_path / "run" / "tokenizer", str(tmp_path / "run")):
        loaded = load_tokenizer(place)
        assert type(loaded) is type(tokenizer)
        assert loaded.encode("some text") == tokenizer.encode("some text")


def test_files_of_other_tools(tmp_path):
    tokenizer = BPETokenizer.train(["the cat the cat"], BPEConfig(vocab_size=270))
    write_tokenizer_json(tokenizer, tmp_path / "hf")
    assert load_tokenizer(tmp_path / "hf").encode("the cat") == tokenizer.encode("the cat")
    (tmp_path / "gpt2").mkdir()
    vocab = {to_stand_ins(token): i for i, token in enumerate([*single_bytes(), b"th"])}
    (tmp_path / "gpt2" / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    (tmp_path / "gpt2" / "merges.txt").write_text("#version: 0.2\nt h\n", encoding="utf-8")
    assert load_tokenizer(tmp_path / "gpt2").decode([256]) == "th"


def test_a_tokenizer_json_of_another_kind_is_run_as_it_is(tmp_path):
    if "hf" not in offers():
        pytest.skip("nothing here runs such a file")
    model = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
             "max_input_chars_per_word": 100, "vocab": {"[UNK]": 0, "the": 1, "cat": 2, "##s": 3}}  # fmt: skip
    content = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
               "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None, "decoder": None,
               "model": model}  # fmt: skip
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    assert load_tokenizer(tmp_path).encode("the cats") == [1, 2, 3]


def test_what_is_no_tokenizer_is_named(tmp_path):
    with pytest.raises(TokenizerFileError, match=r"scratch-tokenizer\.json: No such file"):
        load_tokenizer(tmp_path)
    ByteTokenizer.train([], ByteConfig()).save(tmp_path)
    path = tmp_path / "scratch-tokenizer.json"
    for kind in ("klingon", 3, None):
        path.write_text(json.dumps({**json.loads(path.read_text()), "type": kind}))
        with pytest.raises(TokenizerFileError, match=f"holds a {kind!r} tokenizer; known are byte, "):
            load_tokenizer(tmp_path)
    CharTokenizer.train(["ab"], CharConfig()).save(tmp_path)
    assert load_tokenizer(tmp_path).encode("ab") == [4, 5]

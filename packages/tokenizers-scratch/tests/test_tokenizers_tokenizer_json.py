"""`tokenizer.json` of every tokenizer here: HF tokenizers and `hf` give the same ids, and it comes back as it was."""

from __future__ import annotations

import io
import json
import random
import unicodedata
from functools import cache
from pathlib import Path

import pytest

from tokenizers_scratch.bpe import BPETokenizer
from tokenizers_scratch.byte import ByteTokenizer
from tokenizers_scratch.char import CharTokenizer
from tokenizers_scratch.config import BPEConfig, ByteConfig, CharConfig
from tokenizers_scratch.config_subword import SentencePieceConfig, UnigramConfig, WordConfig, WordPieceConfig
from tokenizers_scratch.errors import TokenizerFileError, UnsupportedExportError
from tokenizers_scratch.formats.sentencepiece_file import load_sentencepiece
from tokenizers_scratch.formats.tokenizer_json import read_own_tokenizer_json, tokenizer_json, write_tokenizer_json
from tokenizers_scratch.hf.tokenizer import HFTokenizer
from tokenizers_scratch.parts import load_tokenizer
from tokenizers_scratch.sentencepiece import SentencePieceTokenizer
from tokenizers_scratch.special_tokens import SpecialTokens
from tokenizers_scratch.storage import FILE_NAME
from tokenizers_scratch.unigram import UnigramTokenizer
from tokenizers_scratch.word import WordTokenizer
from tokenizers_scratch.wordpiece import WordPieceTokenizer

DATA = Path(__file__).parents[3].parent / "shared" / "data"
CORPUS = [
    "Fair is foul, and foul is fair: hover through the fog and filthy air. naïve 世界 12 (the) [x] <b>\n",
    "aaaa aaa aa a bbbb abab baba abba; the cat's 100 hats, it's 3,141 ÉCOLE\tétoile\r\n",
    "日本語の本、世界。 한국어 ﬁne ½ ①  two  spaces",
    "P A D U N K B O S E",  # so that a text may spell a special token in known characters
] * 4


def sp(**options):
    return SentencePieceTokenizer.train(CORPUS, SentencePieceConfig(**options))


def own(kind, config, **options):
    return kind.train(CORPUS, config(**options))


MADE = {
    "byte": lambda: own(ByteTokenizer, ByteConfig, special_tokens=("<|x|>",)),
    "char": lambda: own(CharTokenizer, CharConfig, min_frequency=5),
    "word": lambda: own(WordTokenizer, WordConfig),
    "word, lower case": lambda: own(WordTokenizer, WordConfig, lowercase=True),
    "bpe": lambda: own(BPETokenizer, BPEConfig, vocab_size=330),
    "bpe without pattern": lambda: own(BPETokenizer, BPEConfig, vocab_size=330, pattern="none"),
    "wordpiece": lambda: own(WordPieceTokenizer, WordPieceConfig, vocab_size=260),
    "wordpiece, cased": lambda: own(
        WordPieceTokenizer, WordPieceConfig, vocab_size=260, lowercase=False, max_word_length=7, special_tokens=("[X]",)
    ),
    "wordpiece, raw": lambda: own(
        WordPieceTokenizer,
        WordPieceConfig,
        vocab_size=260,
        clean_text=False,
        handle_chinese_chars=False,
        strip_accents=False,
    ),
    "unigram": lambda: own(UnigramTokenizer, UnigramConfig, vocab_size=420),
    "unigram without bytes": lambda: own(
        UnigramTokenizer, UnigramConfig, vocab_size=170, pattern="gpt4", byte_fallback=False
    ),
    "unigram without pattern": lambda: own(UnigramTokenizer, UnigramConfig, vocab_size=420, pattern="none"),
    "sentencepiece": lambda: sp(vocab_size=420),
    "sentencepiece bpe": lambda: sp(vocab_size=420, model="bpe"),
    "sentencepiece bpe without bytes": lambda: sp(vocab_size=170, model="bpe", byte_fallback=False),
    "sentencepiece nmt_nfkc": lambda: sp(vocab_size=420, normalization="nmt_nfkc", remove_extra_whitespaces=True),
    "sentencepiece nfkc bpe": lambda: sp(vocab_size=420, normalization="nfkc", model="bpe", add_dummy_prefix=False),
    "sentencepiece without bytes": lambda: sp(
        vocab_size=170, byte_fallback=False, normalization="nmt_nfkc", special_tokens=("<|x|>",)
    ),
    "sentencepiece, spaces joined": lambda: sp(vocab_size=420, remove_extra_whitespaces=True, add_dummy_prefix=False),
}


@cache
def made(name):
    return MADE[name]()


@cache
def strings(n=220):
    rng = random.Random(11)
    old = unicodedata.ucd_3_2_0
    assigned = [c for c in map(chr, range(1, 0x110000)) if old.category(c) not in ("Cn", "Cs", "Co")]
    words = " ".join(CORPUS[:3]).split(" ")
    marks = [
        *"  ,.!?'-_/\n\t▁",
        "<UNK>",
        "<PAD",
        "##",
        "\x01",
        "\x02",
        "\uff5e",
        "\u0301",
        "\u200d",
        "aaaaa",
        "e\u0301",
    ]
    found = ["", " ", "  ", "▁", "▁ ", "\x01", "a", *CORPUS[:3], "a" * 300, " " * 30 + "x"]
    for _ in range(n):
        parts = []
        for _ in range(rng.randint(1, 9)):
            kind = rng.randrange(5)
            parts.append(rng.choice(assigned) if kind == 0 else rng.choice(words if kind <= 2 else marks))
            if rng.random() < 0.4:
                parts.append(" ")
        found.append("".join(parts))
    return found


def theirs_from(folder):
    tokenizers = pytest.importorskip("tokenizers", reason="compares with HF tokenizers")
    theirs = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    theirs.encode_special_tokens = True  # as here: what looks like a special token in a text is text
    return theirs


def check_same_ids(ours, folder, texts):
    theirs, run_here = theirs_from(folder), HFTokenizer.from_file(folder / "tokenizer.json")
    assert theirs.get_vocab_size() == ours.vocab_size
    for text in texts:
        ids = ours.encode(text)
        assert theirs.encode(text, add_special_tokens=False).ids == ids, text
        assert run_here.encode(text) == ids, text
        if "\ufffd" not in ours.decode(ids):
            assert theirs.decode(ids) == ours.decode(ids), text


@pytest.mark.parametrize("name", MADE)
def test_the_same_ids(name, tmp_path):
    write_tokenizer_json(made(name), tmp_path)
    check_same_ids(made(name), tmp_path, strings())


@pytest.mark.parametrize("name", MADE)
def test_it_comes_back_as_it_was(name, tmp_path):
    write_tokenizer_json(made(name), tmp_path / "theirs")
    again = load_tokenizer(tmp_path / "theirs")
    assert type(again) is type(made(name))
    made(name).save(tmp_path / "first")
    again.save(tmp_path / "second")
    assert (tmp_path / "first" / FILE_NAME).read_text() == (tmp_path / "second" / FILE_NAME).read_text()


@pytest.mark.parametrize("name", ["word", "wordpiece", "unigram", "sentencepiece", "sentencepiece bpe"])
@pytest.mark.parametrize("file", ["tinyshakespeare.txt", "japanese-novel.txt"])
def test_shared_texts(name, file, tmp_path):
    path = DATA / file
    if not path.exists():
        pytest.skip("needs the shared texts")
    text = path.read_text(encoding="utf-8")[:30_000]
    kind, config = type(made(name)), {"vocab_size": 2200}
    configs = {WordTokenizer: WordConfig, WordPieceTokenizer: WordPieceConfig, UnigramTokenizer: UnigramConfig}
    if kind is SentencePieceTokenizer:
        config["model"] = made(name).model
    ours = kind.train(text.split("\n"), configs.get(kind, SentencePieceConfig)(**config))
    write_tokenizer_json(ours, tmp_path)
    theirs = theirs_from(tmp_path)
    for line in text.split("\n"):
        assert theirs.encode(line, add_special_tokens=False).ids == ours.encode(line)


def test_special_tokens_in_a_text(tmp_path):
    for name in ("byte", "char", "wordpiece", "unigram"):
        write_tokenizer_json(made(name), tmp_path)
        theirs = theirs_from(tmp_path)
        theirs.encode_special_tokens = False
        eos = next(token for token, i in made(name).special_tokens.items() if i == made(name).eos_id)
        text = f"{eos}the hat {eos} foul{eos}{eos}"
        assert theirs.encode(text, add_special_tokens=False).ids == made(name).encode(text, allowed_special="all")


@pytest.mark.parametrize("normalization", ["nmt_nfkc", "nmt_nfkc_cf"])
@pytest.mark.parametrize("kind", ["unigram", "bpe", "char"])
def test_a_table_of_rules_from_a_model_file(normalization, kind, tmp_path):
    spm = pytest.importorskip("sentencepiece", reason="makes a model with a table of rules")
    out = io.BytesIO()
    options = {"vocab_size": 150, "hard_vocab_limit": False, "minloglevel": 2, "model_type": kind}
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS), model_writer=out, normalization_rule_name=normalization, **options
    )
    (tmp_path / "x.model").write_bytes(out.getvalue())
    ours = load_sentencepiece(tmp_path / "x.model")
    write_tokenizer_json(ours, tmp_path)
    # Not where marks come in unusual runs: HF tokenizers applies the table to a letter with its marks at a time.
    usual = [
        text for text in strings() if not any(unicodedata.combining(c) for c in unicodedata.normalize("NFD", text))
    ]
    check_same_ids(ours, tmp_path, [*usual, *CORPUS])
    again = read_own_tokenizer_json(tmp_path / "tokenizer.json")
    assert isinstance(again, SentencePieceTokenizer)
    assert again.model == kind
    assert [again.encode(text) for text in strings()] == [ours.encode(text) for text in strings()]


def test_what_has_no_form_there(tmp_path):
    special = SpecialTokens({"[UNK]": 0, "end": 1}, {"unk": "[UNK]", "eos": "end"})
    refused = {
        "the special token 'end' is also a word": WordPieceTokenizer(["[UNK]", "end", "x"], special),
        "both written '<0x41>'": UnigramTokenizer(
            {4: ("<0x41>", -1.0)}, SpecialTokens.numbered(), byte_ids=range(5, 261)
        ),
        "lone surrogate": CharTokenizer(["\ud800"]),
        "Greek words in lower case": WordTokenizer(["οδος"], lowercase=True),
        "user-defined or unused": SentencePieceTokenizer({4: ("a", -1.0)}, unused=[4]),
        "a model of words": SentencePieceTokenizer({4: ("a", -1.0)}, model="word"),
        "two pieces have the same score": SentencePieceTokenizer(
            {4: ("a", -1.0), 5: ("aa", -2.0), 6: ("aaa", -2.0)}, model="bpe"
        ),
        "both written '<PAD>'": UnigramTokenizer({4: ("<PAD>", -1.0)}),
    }
    for reason, tokenizer in refused.items():
        with pytest.raises(UnsupportedExportError, match=reason) as caught:
            write_tokenizer_json(tokenizer, tmp_path)
        assert caught.value.exit_code == 3
    assert not list(tmp_path.iterdir())
    with pytest.raises(UnsupportedExportError, match="HFTokenizer has no form"):
        tokenizer_json(HFTokenizer(tokenizer_json(made("byte"))))


@pytest.mark.parametrize("name", ["char", "word", "wordpiece", "unigram", "sentencepiece", "sentencepiece bpe"])
def test_what_is_not_quite_ours_is_left_to_hf(name, tmp_path):
    content = tokenizer_json(made(name))
    for change in (
        {"normalizer": {"type": "Sequence", "normalizers": [{"type": "Lowercase"}]}},
        {"pre_tokenizer": {"type": "Whitespace"}},
        {"model": {**content["model"], "vocab": {}}},
        {"decoder": {"type": "Replace", "pattern": {"String": "a"}, "content": "b"}},
    ):
        (tmp_path / "tokenizer.json").write_text(json.dumps({**content, **change}))
        with pytest.raises(TokenizerFileError):
            read_own_tokenizer_json(tmp_path / "tokenizer.json")

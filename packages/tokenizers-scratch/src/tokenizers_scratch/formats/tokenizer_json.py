"""`tokenizer.json`, the format of HF tokenizers, from and to our own tokenizers; `hf` runs files of any kind.

Here is byte-level BPE, in `tokenizer_json_kinds.py` are the others. Written so that HF tokenizers gives the same ids:
the split pattern in the form that its engine reads as ours does (`{1,3}+` is a repeat there), no prefix space, bytes
as stand-ins, special tokens in the vocabulary, where alone their ids are certain.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers_scratch.base import BaseTokenizer
from tokenizers_scratch.bpe import BPETokenizer
from tokenizers_scratch.byte_alphabet import from_stand_ins, to_stand_ins
from tokenizers_scratch.config_subword import BERT_TOKENS
from tokenizers_scratch.errors import TokenizerFileError, UnsupportedExportError
from tokenizers_scratch.formats.oniguruma import to_regex
from tokenizers_scratch.formats.tokenizer_json_kinds import content_of, read_own
from tokenizers_scratch.formats.tokenizer_json_parts import (
    BYTE_LEVEL,
    FROM_BYTE_LEVEL,
    bpe_model,
    split_step,
    tokenizer_json_of,
)
from tokenizers_scratch.gpt2_files import spell_vocab
from tokenizers_scratch.patterns import PATTERNS, published_form
from tokenizers_scratch.special_tokens import ROLES, SpecialTokens
from tokenizers_scratch.storage import check_ids, read_json_object, write_in_one_step

FILE_NAME = "tokenizer.json"
CONFIG_NAME = "tokenizer_config.json"


def write_tokenizer_json(tokenizer: BaseTokenizer, directory: Path | str) -> None:
    """Write `tokenizer.json`, and `tokenizer_config.json` with which token has which role, into `directory`.

    HF tokenizers reads the first, transformers both. Raises UnsupportedExportError for a tokenizer that has no form in
    it which gives the same ids.
    """
    write_json(Path(directory) / FILE_NAME, tokenizer_json(tokenizer))
    write_roles(tokenizer, Path(directory))


def write_roles(tokenizer: BaseTokenizer, directory: Path) -> None:
    """Write `tokenizer_config.json`, which says which token has which role."""
    content: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    text_of = {i: token for token, i in tokenizer.special_tokens.items()}
    for role in ROLES:
        i = getattr(tokenizer, f"{role}_id")
        if i is not None:
            content[f"{role}_token"] = text_of[i]
    write_json(directory / CONFIG_NAME, content)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file in one step."""
    write_in_one_step(path, json.dumps(content, ensure_ascii=False, indent=1).encode("utf-8") + b"\n")


def tokenizer_json(tokenizer: BaseTokenizer) -> dict[str, Any]:
    """The content of the file. Raises UnsupportedExportError for a tokenizer that has no form in it."""
    if not isinstance(tokenizer, BPETokenizer):
        return content_of(tokenizer)
    try:
        vocab = spell_vocab(tokenizer.vocab, tokenizer.special_tokens)
    except ValueError as error:
        raise UnsupportedExportError(FILE_NAME, str(error)) from None
    steps = [BYTE_LEVEL]
    if tokenizer.pattern != "none":
        steps.insert(0, split_step({"Regex": published_form(tokenizer.pattern)}))
    return tokenizer_json_of(
        tokenizer,
        model=bpe_model(vocab, [(to_stand_ins(left), to_stand_ins(right)) for left, right in tokenizer.merges]),
        pre_tokenizer={"type": "Sequence", "pretokenizers": steps},
        decoder=FROM_BYTE_LEVEL,
    )


def read_own_tokenizer_json(path: Path | str) -> BaseTokenizer:
    """The tokenizer of ours that a `tokenizer.json` holds: byte-level BPE of any tool, else what this package wrote.

    Raises TokenizerFileError for other files; `hf.tokenizer.HFTokenizer` runs these.
    """
    path = Path(path)
    content = read_json_object(path)
    check_version(path, content)
    special = {}
    for token in _objects(path, content, "added_tokens"):
        if token.get("special") is True and isinstance(token.get("content"), str) and type(token.get("id")) is int:
            special[token["content"]] = token["id"]
    usual = BERT_TOKENS if _object(path, content, "model").get("type") == "WordPiece" else ROLES
    own = read_own(content, special, {**usual, **read_roles(path)})
    return own if own is not None else read_tokenizer_json(path)


def read_tokenizer_json(path: Path | str) -> BPETokenizer:
    """The byte-level BPE in a `tokenizer.json`. Raises TokenizerFileError, naming what this class could not do.

    `tokenizer_config.json` beside it, if there, says which special token has which role.
    """
    path = Path(path)
    content = read_json_object(path)
    check_version(path, content)
    model = _object(path, content, "model")
    if model.get("type", "BPE") != "BPE":
        raise TokenizerFileError(path, f"the model is {model.get('type')!r}, not BPE: the tokenizer hf can run it")
    for key in ("unk_token", "dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"):
        if model.get(key):
            raise TokenizerFileError(path, f"'model' has {key!r}, which byte-level BPE has not: hf can run it")
    if content.get("normalizer") is not None:
        raise TokenizerFileError(path, "there is a normalizer, which byte-level BPE has not: hf can run it")
    pattern = _pattern(path, content)
    vocab = check_ids(path, "the vocabulary", model.get("vocab"))
    special = {}
    for token in _objects(path, content, "added_tokens"):
        text, i = token.get("content"), token.get("id")
        if not isinstance(text, str) or type(i) is not int:
            raise TokenizerFileError(path, "an added token lacks 'content' or 'id'")
        if token.get("special") is not True or any(token.get(key) for key in ("single_word", "lstrip", "rstrip")):
            raise TokenizerFileError(path, f"the added token {text!r} is not a plain special token: hf can run it")
        special[text] = vocab.get(text, i)
    roles = read_roles(path)
    try:
        tokens = {i: from_stand_ins(text) for text, i in vocab.items() if text not in special}
        merges = [(from_stand_ins(left), from_stand_ins(right)) for left, right in read_merges(path, model)]
        if len(tokens) + len(special) != len(vocab.keys() | special.keys()):
            raise ValueError("two tokens have one id")
        return BPETokenizer(tokens, merges, SpecialTokens(special, {**ROLES, **roles}), pattern=pattern)
    except ValueError as error:
        raise TokenizerFileError(path, str(error)) from None


def check_version(path: Path, content: Mapping[str, object]) -> None:
    """Raise TokenizerFileError for a version that is not known."""
    if content.get("version") != "1.0":
        raise TokenizerFileError(path, f"version {content.get('version')!r} is unknown; this package reads '1.0'")


def read_merges(path: Path, model: Mapping[str, object]) -> list[tuple[str, str]]:
    """The merges of a BPE model: pairs, or in older files texts with a space between."""
    merges = model.get("merges")
    if not isinstance(merges, list):
        raise TokenizerFileError(path, "'merges' must be a list")
    pairs = []
    for i, merge in enumerate(merges):
        parts = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(p, str) and p for p in parts):
            raise TokenizerFileError(path, f"'merges'[{i}] must be a pair of tokens, or a text of two")
        pairs.append((parts[0], parts[1]))
    return pairs


def read_roles(path: Path) -> dict[str, str]:
    """Which token has which role, from `tokenizer_config.json` beside `path`; nothing if there is none."""
    config = path.with_name(CONFIG_NAME)
    if not config.exists():
        return {}
    content = read_json_object(config)
    roles = {}
    for role in ROLES:
        token = content.get(f"{role}_token")
        text = token.get("content") if isinstance(token, dict) else token  # older files have the whole added token
        if text is not None:
            if not isinstance(text, str):
                raise TokenizerFileError(config, f"'{role}_token' must be a text")
            roles[role] = text
    return roles


def _pattern(path: Path, content: Mapping[str, object]) -> str:
    """The pattern of byte-level BPE, by its name if it has one."""
    pre_tokenizer = content.get("pre_tokenizer")
    steps: Any = [pre_tokenizer]
    if isinstance(pre_tokenizer, dict) and pre_tokenizer.get("type") == "Sequence":
        steps = pre_tokenizer.get("pretokenizers") or []
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps) or not steps:
        raise TokenizerFileError(path, "'pre_tokenizer' is not that of byte-level BPE: hf can run it")
    *splits, last = steps
    ours = last.get("type") == "ByteLevel" and not last.get("add_prefix_space", True) and len(splits) <= 1
    if ours and not splits:
        return "gpt2" if last.get("use_regex", True) else "none"
    if ours and splits[0].get("type") == "Split" and not last.get("use_regex", True):
        split, pattern = splits[0], splits[0].get("pattern")
        if isinstance(pattern, dict) and isinstance(pattern.get("Regex"), str):
            text: str = pattern["Regex"]
            name = next((name for name in PATTERNS if published_form(name) == text), None)
            kind = split.get("behavior"), bool(split.get("invert"))
            if kind == ("Isolated", False) or (name and kind == ("Removed", True)):
                return name or _read_pattern(path, text)
    raise TokenizerFileError(path, "'pre_tokenizer' is not that of byte-level BPE: hf can run it")


def _read_pattern(path: Path, text: str) -> str:
    try:
        return to_regex(text)
    except ValueError as error:
        raise TokenizerFileError(path, f"the pattern {text[:80]!r}: {error}") from None


def _object(path: Path, content: Mapping[str, object], key: str) -> dict[str, Any]:
    value = content.get(key)
    if not isinstance(value, dict):
        raise TokenizerFileError(path, f"{key!r} must be an object")
    return value


def _objects(path: Path, content: Mapping[str, object], key: str) -> list[dict[str, Any]]:
    value = content.get(key) or []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise TokenizerFileError(path, f"{key!r} must be a list of objects")
    return value

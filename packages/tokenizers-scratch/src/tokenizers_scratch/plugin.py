"""What this package offers to a host. Imports nothing but pluggy."""

from __future__ import annotations

from typing import Any

import pluggy

hookimpl = pluggy.HookimplMarker("scratch")


@hookimpl
def register_tokenizers(register: Any) -> None:
    register(
        "byte",
        "tokenizers_scratch.byte:ByteTokenizer",
        config="tokenizers_scratch.config:ByteConfig",
        summary="UTF-8 bytes; nothing to learn, loses nothing",
        provides=("text", "eos", "lossless-unicode"),
    )
    register(
        "char",
        "tokenizers_scratch.char:CharTokenizer",
        config="tokenizers_scratch.config:CharConfig",
        summary="one id a character of the training text; loses characters it has not seen",
        provides=("text", "eos"),
    )
    register(
        "bpe",
        "tokenizers_scratch.bpe:BPETokenizer",
        config="tokenizers_scratch.config:BPEConfig",
        summary="byte-level byte-pair encoding with the GPT-2 or GPT-4 split; loses nothing",
        provides=("text", "eos", "lossless-unicode"),
        smoke={"vocab_size": 280},
    )
    register(
        "word",
        "tokenizers_scratch.word:WordTokenizer",
        config="tokenizers_scratch.config_subword:WordConfig",
        summary="one id a word of the training text; loses white space and words it has not seen",
        provides=("text", "eos", "lossy"),
    )
    register(
        "wordpiece",
        "tokenizers_scratch.wordpiece:WordPieceTokenizer",
        config="tokenizers_scratch.config_subword:WordPieceConfig",
        summary="BERT's WordPiece; loses white space, case and words with characters it has not seen",
        provides=("text", "eos", "lossy"),
        smoke={"vocab_size": 320},
    )
    register(
        "unigram",
        "tokenizers_scratch.unigram:UnigramTokenizer",
        config="tokenizers_scratch.config_subword:UnigramConfig",
        summary="pieces with probabilities, learned by EM and pruning; loses nothing with byte fallback",
        provides=("text", "eos"),
        smoke={"vocab_size": 480},
    )
    register(
        "sentencepiece",
        "tokenizers_scratch.sentencepiece:SentencePieceTokenizer",
        config="tokenizers_scratch.config_subword:SentencePieceConfig",
        summary="sentencepiece's treatment of raw text, cut by a Unigram model or by BPE; keeps all text but U+2581",
        provides=("text", "eos"),
        smoke={"vocab_size": 480},
    )
    register(
        "hf",
        "tokenizers_scratch.hf.tokenizer:HFTokenizer",
        config="tokenizers_scratch.hf.config:HFConfig",
        summary="runs any tokenizer.json of HF tokenizers; what is lost depends on the file",
        provides=("text", "eos", "lossy"),
        smoke={"vocab_size": 280},
    )


@hookimpl
def register_commands(register: Any) -> None:
    register(
        "tokenize",
        "tokenizers_scratch.commands.group:tokenize",
        summary="Train tokenizers, look at what they do, and make data for training models.",
    )

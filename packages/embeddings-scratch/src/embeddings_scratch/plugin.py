"""What this package offers to the `scratch` command. Imports nothing but pluggy, so listing parts stays quick."""

from __future__ import annotations

from typing import Any

import pluggy

hookimpl = pluggy.HookimplMarker("scratch")


@hookimpl
def register_models(register: Any) -> None:
    register(
        "skipgram",
        "embeddings_scratch.model:SkipGram",
        config="embeddings_scratch.config:SkipGramConfig",
        summary="word vectors: one table for words, one for their contexts",
        provides=("word-vectors",),
        smoke={"embed_dim": 8},
    )


@hookimpl
def register_trainers(register: Any) -> None:
    register(
        "word2vec",
        "embeddings_scratch.trainer:Word2Vec",
        config="embeddings_scratch.config:Word2VecConfig",
        summary="skip-gram with negative sampling over the ids of any tokenizer",
        provides=("vectors",),
        needs={"model": ["word-vectors"], "task": ["text"]},
        defaults={"model": "skipgram", "task": "corpus"},
        smoke={"steps": 2, "batch_size": 32, "window": 2, "negative": 2, "subsample": 0.0, "eval_pairs": 64},
    )

"""Options of the model `transformers`. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from papers_scratch.config.checks import at_least, one_of, option, refuse


@dataclass(frozen=True, kw_only=True)
class TransformersConfig:
    """A causal language model of the transformers library: a saved one, or a small new one."""

    path: str | None = option(None, "directory or hub name of a saved model; none = a new model of the sizes below")
    architecture: str = option(
        "llama", "new model: its `model_type` in transformers, such as llama, qwen2, gpt2, mistral"
    )
    n_layer: int = option(2, "new model: blocks")
    n_head: int = option(4, "new model: attention heads")
    n_kv_head: int | None = option(None, "new model: heads of keys and values, where there are fewer; none = n_head")
    n_embd: int = option(64, "new model: width")
    n_inner: int | None = option(None, "new model: width inside the feed-forward layers; none = 4 n_embd")
    max_length: int = option(128, "new model: longest sequence")
    dtype: Literal["float32", "bfloat16", "auto"] = option(
        "float32", "precision of the weights; auto = as they were saved"
    )
    attention: Literal["auto", "sdpa", "eager"] = option(
        "auto", "attention kernel of transformers: auto, sdpa or eager"
    )
    local_only: bool = option(False, "never ask the network for `path`")
    revision: str | None = option(None, "commit, tag or branch of a hub name; none = its main branch")

    def __post_init__(self) -> None:
        at_least(self, 1, "n_layer", "n_head", "n_kv_head", "n_embd", "n_inner", "max_length", why="it is a size")
        one_of(self, "dtype", "float32", "bfloat16", "auto")
        one_of(self, "attention", "auto", "sdpa", "eager")
        if self.path == "":
            refuse("path", self.path, "a directory or a hub name", "leave it out for a new model")
        if self.n_embd % (2 * self.n_head):
            refuse("n_embd", self.n_embd, f"a multiple of 2 n_head ({2 * self.n_head})",
                   "heads divide the width, and rotary positions turn pairs")  # fmt: skip
        if self.n_kv_head is not None and self.n_head % self.n_kv_head:
            refuse("n_kv_head", self.n_kv_head, f"a divisor of n_head ({self.n_head})", "groups of heads share keys")

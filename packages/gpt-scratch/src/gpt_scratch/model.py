"""GPT: the decoder of GPT-2 (Radford et al. 2019) in PyTorch.

    x = wte[ids] + wpe[0..T-1]
    x = x + attention(ln_1(x));  x = x + mlp(ln_2(x))      for every block
    logits = lm_head(ln_f(x)),  lm_head.weight = wte.weight

Pre-norm blocks, GELU in its tanh form. Weights start from N(0, s), and projections into the residual stream from
N(0, s / sqrt(2 n_layer)), so that the stream's variance does not grow with depth. Every matrix is an `nn.Linear`, so
that an adapter can be attached to it by name: c_attn, c_proj, c_fc, lm_head.

Different from GPT-2: s is its 0.02 at its width of 768, but grows as the width shrinks, as 1 / sqrt(n_embd): products
with a matrix then have the same size at every width, where with 0.02 the attention of a narrow model starts nearly
uniform and takes twice as many steps to find anything. Biases and weight tying can be turned off, and there is a
key-value cache. For training at scale (mixed precision, compilation, several devices) nothing is done here.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpt_scratch.attention import CausalSelfAttention
from gpt_scratch.cache import Append, KVCache
from gpt_scratch.checks import check_ids, check_lengths
from gpt_scratch.config import GPTConfig
from gpt_scratch.model_files import load_module, save_module
from gpt_scratch.segments import Segments
from gpt_scratch.shared_prompts import SharedPrompts

GPT2_STD, GPT2_WIDTH = 0.02, 768


def init_std(n_embd: int) -> float:
    """Standard deviation of the first weights of a model `n_embd` wide."""
    return GPT2_STD * math.sqrt(GPT2_WIDTH / n_embd)


def gelu_tanh(x: Tensor) -> Tensor:
    """0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) (Hendrycks & Gimpel 2016), elementwise."""
    return F.gelu(x, approximate="tanh")


def gelu_sigmoid(x: Tensor) -> Tensor:
    """The same function as x sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3)), because 1 + tanh(u) = 2 sigmoid(2u).

    Without gradients, in one buffer: on a CPU it takes a third of the time, because PyTorch's tanh is slow there.
    """
    scale = 2.0 * math.sqrt(2.0 / math.pi)
    return torch.addcmul(x.new_tensor(scale), x, x, value=0.044715 * scale).mul_(x).sigmoid_().mul_(x)


class MLP(nn.Module):
    """Four times as wide inside."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.c_fc = nn.Linear(config.n_embd, 4 * config.n_embd, bias=config.bias)
        self.c_proj = nn.Linear(4 * config.n_embd, config.n_embd, bias=config.bias)

    def forward(self, x: Tensor, generating: bool) -> Tensor:
        """(B, T, C) -> (B, T, C). Only generation takes the quick GELU: a forward pass with gradients and one without
        then give the same bits."""
        gelu = gelu_sigmoid if generating and x.device.type == "cpu" else gelu_tanh
        out: Tensor = self.c_proj(gelu(self.c_fc(x)))  # (B, T, 4C) inside
        return out


class Block(nn.Module):
    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd, bias=config.bias)
        self.attn = CausalSelfAttention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd, bias=config.bias)
        self.mlp = MLP(config)
        self.dropout = config.dropout

    def forward(self, x: Tensor, layer: int, prefix: Append | SharedPrompts | Segments | None) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        generating = prefix is not None and prefix.generating
        training = self.training and not generating
        x = x + F.dropout(self.attn(self.ln_1(x), layer, prefix), self.dropout, training)
        return x + F.dropout(self.mlp(self.ln_2(x), generating), self.dropout, training)


class GPT(nn.Module):
    """Ids (B, T) -> logits (B, T, V). See `forward` for padding and the cache."""

    def __init__(self, config: GPTConfig, *, vocab_size: int) -> None:
        super().__init__()
        if vocab_size < 1:
            raise ValueError(f"vocab_size: got {vocab_size}, must be at least 1")
        self.config = config
        self.vocab_size = vocab_size
        self.max_length: int | None = config.block_size
        self.wte = nn.Embedding(vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.block_size, config.n_embd)
        self.h = nn.ModuleList(Block(config) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(config.n_embd, bias=config.bias)
        self.lm_head = nn.Linear(config.n_embd, vocab_size, bias=False)
        self._init_weights()
        self._tie_weights()

    def _init_weights(self) -> None:
        std = init_std(self.config.n_embd)
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                into_residual = name.endswith("c_proj")
                nn.init.normal_(module.weight, std=std / math.sqrt(2 * self.config.n_layer) if into_residual else std)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def _tie_weights(self) -> None:
        if self.config.tie_weights:
            self.lm_head.weight = self.wte.weight

    def forward(self, ids: Tensor, *, lengths: Tensor | None = None, cache: KVCache | None = None) -> Tensor:
        """Logits (B, T, V) of the token after each position, for ids (B, T), int64.

        Rows are padded on the right with any valid id; `lengths` (B,) says how many ids of a row are real. Since no
        position sees a later one, padding cannot reach a real position. With a cache the ids continue each row at its
        own length, real ones are added to the cache, dropout is off and no gradient flows.

        Raises ValueError for ids outside the vocabulary, and for rows longer than `config.block_size` or the cache.
        """
        with torch.set_grad_enabled(cache is None and torch.is_grad_enabled()):
            return self.head(self.features(ids, lengths=lengths, cache=cache))

    def features(
        self,
        ids: Tensor,
        *,
        lengths: Tensor | None = None,
        cache: KVCache | None = None,
        segments: Tensor | None = None,
    ) -> Tensor:
        """What the head reads: (B, T, C), after the last norm. Arguments as in `forward`.

        With `segments` (B, T), int64, a row holds several texts: positions of one number are one text, which sees
        nothing of the others and has positions of its own. Raises ValueError beside a cache.
        """
        if segments is not None:
            return self._packed(ids, segments, cache)
        with torch.set_grad_enabled(cache is None and torch.is_grad_enabled()):
            check_ids(ids, self.vocab_size, values=cache is None or ids.is_cpu or ids.shape[-1] > 1)
            B, T = ids.shape
            if cache is None:
                self._check_reach(T)
                if lengths is not None:
                    check_lengths(lengths, B, T)
                append, positions = None, self.wpe.weight[:T]  # (T, C)
            else:
                append = self._append(cache, B, T, lengths)
                positions = self.wpe(append.positions)  # (B or 1, T, C)
            x = self.wte(ids) + positions  # (B, T, C)
            x = F.dropout(x, self.config.dropout, self.training and cache is None)
            for layer, block in enumerate(self.h):
                x = block(x, layer, append)
            x = self.ln_f(x)
            if append is not None:
                append.commit()
            out: Tensor = x
            return out

    def _packed(self, ids: Tensor, segments: Tensor, cache: KVCache | None) -> Tensor:
        """Features (B, T, C) of rows in which several texts stand."""
        if cache is not None:
            raise ValueError("segments: got some beside a cache, must be none: a cache continues one text a row")
        check_ids(ids, self.vocab_size)
        if segments.shape != ids.shape:
            raise ValueError(f"segments: got shape {tuple(segments.shape)}, must be that of ids, {tuple(ids.shape)}")
        apart = Segments(segments)
        self._check_reach(int(apart.positions.max()) + 1)
        x = self.wte(ids) + self.wpe(apart.positions)  # (B, T, C)
        x = F.dropout(x, self.config.dropout, self.training)
        for layer, block in enumerate(self.h):
            x = block(x, layer, apart)
        out: Tensor = self.ln_f(x)
        return out

    def features_after(
        self, prompts: Tensor, ids: Tensor, prompt_of: Tensor, /, *, prompt_lengths: Tensor, lengths: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What the head reads in prompts (P, S) and in their continuations (N, T): (P, S, C) and (N, T, C).

        Row n of `ids` continues prompt `prompt_of[n]`, behind the `prompt_lengths` (P,) ids of it that are real; of its
        own ids `lengths` (N,) are. The same as `features` of the joined rows, gradients included, but each prompt is
        computed once; with dropout, its continuations also see the same draw of it. Raises ValueError as `forward`.
        """
        check_ids(prompts, self.vocab_size)
        check_ids(ids, self.vocab_size)
        (P, S), (N, T) = prompts.shape, ids.shape
        check_lengths(prompt_lengths, P, S)
        check_lengths(lengths, N, T)
        start = prompt_lengths[prompt_of]  # (N,)
        self._check_reach(max(S, int((start + lengths).max())))
        places = start[:, None] + torch.arange(T, device=ids.device)  # (N, T)
        places.clamp_(max=self.config.block_size - 1)  # only padding reaches further
        in_prompts = self.wte(prompts) + self.wpe.weight[:S]  # (P, S, C)
        behind = self.wte(ids) + self.wpe(places)  # (N, T, C)
        x = torch.cat((in_prompts.flatten(0, 1), behind.flatten(0, 1)))[None]  # (1, P S + N T, C)
        x = F.dropout(x, self.config.dropout, self.training)
        shared = SharedPrompts(prompt_shape=(P, S), shape=(N, T), prompt_of=prompt_of, prompt_lengths=prompt_lengths)
        for layer, block in enumerate(self.h):
            x = block(x, layer, shared)
        flat = self.ln_f(x)[0]  # (P S + N T, C)
        return flat[: P * S].view(P, S, -1), flat[P * S :].view(N, T, -1)

    def head(self, features: Tensor) -> Tensor:
        """Features (..., C) -> logits (..., V)."""
        logits: Tensor = self.lm_head(features)
        return logits

    def new_cache(self, batch_size: int, max_length: int) -> KVCache:
        """An empty cache for `batch_size` rows of up to `max_length` positions, at most `config.block_size`."""
        self._check_reach(max_length)
        return KVCache(
            batch_size,
            max_length,
            n_layer=self.config.n_layer,
            n_head=self.config.n_head,
            head_dim=self.config.n_embd // self.config.n_head,
            dtype=self.wte.weight.dtype,
            device=self.wte.weight.device,
        )

    def save(self, directory: Path) -> None:
        """Write config.json and model.safetensors, which transformers can open as a GPT-2: see `model_files`."""
        save_module(self, directory)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read what `save` wrote. Raises ModelFileError naming the file and what is wrong with it."""
        return load_module(cls, GPTConfig, directory)

    def _check_reach(self, length: int) -> None:
        limit = self.config.block_size
        if length > limit:
            raise ValueError(
                f"ids: position {length - 1} is beyond this model, whose positions go from 0 to {limit - 1} "
                f"(block_size {limit})"
            )

    def _append(self, cache: Any, batch_size: int, count: int, lengths: Tensor | None) -> Append:
        if not isinstance(cache, KVCache):
            raise TypeError(f"cache: got {type(cache).__name__}, must come from this model's new_cache")
        if cache.lengths.shape[0] != batch_size:
            raise ValueError(f"ids: got {batch_size} rows, but the cache has {cache.lengths.shape[0]}")
        return cache.append(count, lengths)

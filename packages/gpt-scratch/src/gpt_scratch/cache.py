"""Keys and values of a prefix, so that generating a token costs one position instead of all of them.

Memory is set aside once, and each row has its own length: row b owns the slots below `lengths[b]`, and what stands in
later slots is never seen. What keeps a step short when the model is tiny:

- the common case, all rows equally long, is known as a plain int (`_uniform`), so that writing is a slice and nothing
  is read back from a tensor;
- attention reads slots only up to the longest row, but on a CPU at least `_fewest`: PyTorch multiplies very small
  matrices in a plain loop, which is slower than handing some zeros to the matrix library;
- all layers share one block of memory. The C library gives such a block to the next cache of that size, where it
  would hand several smaller ones back to the system, and getting fresh pages costs a quarter of a short rollout.

Slots are zeroed when attention first reaches them, not when memory is set aside. Unwritten memory could hold NaN, and a
weight of 0 times NaN is NaN.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gpt_scratch.attention import attend
from gpt_scratch.checks import check_lengths

SMALL_PRODUCT = 400  # multiplications below which torch.bmm takes its plain loop on a CPU
SIMD = 16  # softmax over fewer numbers than fit a register is several times as slow


class KVCache:
    """Keys and values of `batch_size` rows of up to `max_length` positions. Fill it only through its model."""

    def __init__(
        self,
        batch_size: int,
        max_length: int,
        *,
        n_layer: int,
        n_head: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        if batch_size < 1 or max_length < 1:
            raise ValueError(f"cache: got {batch_size} rows of {max_length} positions, must be at least 1 of each")
        self.max_length = max_length
        self._fewest = max(SIMD, -(-SMALL_PRODUCT // head_dim)) if device.type == "cpu" else 1
        shape = (n_layer, 2, batch_size, n_head, max(max_length, self._fewest), head_dim)
        self._store = torch.empty(shape, dtype=dtype, device=device)  # (L, 2, B, H, S, D)
        self._zeroed = 0  # slots below hold numbers
        self._lengths = torch.zeros(batch_size, dtype=torch.int64, device=device)
        self._uniform: int | None = 0  # the length of every row, if they are equal
        self._longest = 0

    @property
    def lengths(self) -> Tensor:
        """How many positions each row holds: (B,), int64."""
        return self._lengths

    def select(self, rows: Tensor, /) -> KVCache:
        """A new cache of `rows` (N,): dropped, repeated or reordered. Shares no memory with this one."""
        new = object.__new__(KVCache)
        new.max_length = self.max_length
        new._fewest = self._fewest
        L, _, _, H, S, D = self._store.shape
        new._store = self._store.new_empty(L, 2, rows.shape[0], H, S, D)
        new._zeroed = self._zeroed
        new._store[..., : self._zeroed, :] = self._store[..., : self._zeroed, :].index_select(2, rows)
        new._set_lengths(self._lengths.index_select(0, rows))
        return new

    def truncate(self, lengths: Tensor, /) -> None:
        """Forget what lies beyond `lengths` (B,), in place. A row that is shorter already stays as it is."""
        check_lengths(lengths, self._lengths.shape[0], self.max_length)
        self._set_lengths(torch.minimum(self._lengths, lengths.to(self._lengths)))

    def append(self, count: int, lengths: Tensor | None = None) -> Append:
        """Prepare to add `count` positions to each row, of which `lengths` (B,) are real (all, if None)."""
        return Append(self, count, lengths)

    def _set_lengths(self, lengths: Tensor) -> None:
        shortest, longest = (int(value) for value in torch.aminmax(lengths))
        self._lengths = lengths
        self._longest = longest
        self._uniform = longest if shortest == longest else None

    def _advance(self, count: int) -> None:
        self._lengths = self._lengths + count
        self._longest += count
        if self._uniform is not None:
            self._uniform += count

    def _reach(self, longest: int) -> int:
        """How many slots attention reads when the longest row has `longest` positions; all of them hold numbers."""
        width = max(longest, self._fewest)
        if width > self._zeroed:
            self._store[..., self._zeroed : width, :] = 0
            self._zeroed = width
        return width


class Append:
    """One call's new positions: where they go, and what they see. `commit` makes them part of the cache.

    Until then the lengths of the cache are the old ones, so that a call that fails leaves it as it was.
    """

    generating = True

    def __init__(self, cache: KVCache, count: int, lengths: Tensor | None) -> None:
        self._cache = cache
        self._count = count
        device = cache.lengths.device
        if lengths is None:
            self._new_lengths = None
            longest = cache._longest + count
        else:
            check_lengths(lengths, cache.lengths.shape[0], count)
            lengths = lengths.to(cache.lengths)
            self._new_lengths = cache.lengths + lengths
            longest = int(self._new_lengths.max())
        if longest > cache.max_length:
            raise ValueError(
                f"ids: position {longest - 1} does not fit a cache of {cache.max_length} positions, "
                f"which go from 0 to {cache.max_length - 1}"
            )

        start = cache._uniform
        self.start = start if start is not None and start + count <= cache.max_length else None
        """Where every row continues, if that is one place and there is room for the padding, too."""
        if self.start is not None:
            end = self.start + count
            self.positions = torch.arange(self.start, end, device=device).unsqueeze(0)  # (1, T)
        else:
            end = longest
            steps = torch.arange(count, device=device)  # (T,)
            self.positions = cache.lengths.unsqueeze(1) + steps  # (B, T)
            self.positions.clamp_(max=cache.max_length - 1)  # only padding reaches further
            if lengths is None:
                rows, steps = torch.arange(cache.lengths.shape[0], device=device).unsqueeze(1), steps.unsqueeze(0)
            else:
                rows, steps = (steps < lengths.unsqueeze(1)).nonzero(as_tuple=True)
            self._scatter = rows, steps, self.positions[rows, steps]
        if self.start == 0:
            return  # the new positions see nothing but each other

        self._width = cache._reach(end)
        self._bias: Tensor | None = None
        if self.start is not None and count == 1 and self._width == end:
            return  # one query that sees every slot
        slots = torch.arange(self._width, device=device)  # (S,)
        hidden = (slots > self.positions.unsqueeze(-1)).unsqueeze(1)  # (B or 1, 1, T, S)
        self._bias = torch.zeros(hidden.shape, dtype=cache._store.dtype, device=device)
        self._bias.masked_fill_(hidden, float("-inf"))

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, dropout: float = 0.0) -> Tensor:
        """Store key and value (B, H, T, D) of the new positions and attend to all that each query may see."""
        keys, values = self._cache._store[layer]  # (B, H, S, D) each
        if self.start is not None:
            end = self.start + self._count
            keys[:, :, self.start : end] = key
            values[:, :, self.start : end] = value
        else:
            rows, steps, slots = self._scatter
            keys[rows, :, slots] = key[rows, :, steps]
            values[rows, :, slots] = value[rows, :, steps]
        if self.start == 0:
            return F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return attend(query, keys[:, :, : self._width], values[:, :, : self._width], self._bias)

    def commit(self) -> None:
        """Count the new positions in."""
        cache = self._cache
        cache._zeroed = max(cache._zeroed, self.start + self._count if self.start is not None else 0)
        if self._new_lengths is None:
            cache._advance(self._count)
        else:
            cache._set_lengths(self._new_lengths)

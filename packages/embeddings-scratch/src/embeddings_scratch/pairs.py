"""Which pairs of words are learnt from, and in which order.

An epoch shuffles the sentences, cuts them into blocks of about 65,000 tokens, and for each block thins out frequent
ids, draws windows, lists all pairs and shuffles those. Every choice of a block comes from a generator seeded by (seed,
epoch, block) alone. So three integers say where training stands, any block is made again bit for bit without those
before it, and the pairs in memory do not grow with the corpus.

Frequent ids are dropped *before* windows are taken, so that windows then reach farther (Levy, Goldberg, Dagan,
"Improving Distributional Similarity with Lessons Learned from Word Embeddings" (2015), section 3.1, "dirty"
subsampling), with the keep probability of the authors' C program rather than the paper's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from embeddings_scratch.corpus import Corpus
from embeddings_scratch.errors import CorpusError

BLOCK_TOKENS = 65_536
DRY_EPOCHS = 100


def keep_probabilities(counts: Tensor, threshold: float) -> Tensor:
    """How likely each id is kept: min(1, sqrt(t/f) + t/f), f = count / total (word2vec.c and gensim).

    The paper (Mikolov et al. 2013, eq. 5) prints sqrt(t/f), which drops more. Threshold 0 keeps everything.

    Args:
        counts: (V,)
        threshold: t, a share of all tokens.

    Returns:
        (V,), float64; 1 for ids that do not occur.
    """
    if threshold == 0:
        return torch.ones(len(counts), dtype=torch.float64)
    ratio = threshold * counts.sum().double() / counts.double().clamp_min(1e-300)  # (V,) t/f
    return (ratio.sqrt() + ratio).clamp_max(1.0)


def window_pairs(ids: Tensor, sentence: Tensor, windows: Tensor) -> Tensor:
    """All (centre, context) pairs with the context at most `windows[centre]` places away in the same sentence.

    Args:
        ids: (N,)
        sentence: (N,), which sentence each id is in.
        windows: (N,), how far each centre looks, to both sides.

    Returns:
        (2, P), int64: centres and contexts, sorted by distance.
    """
    parts = [torch.empty(2, 0, dtype=torch.int64)]
    for distance in range(1, min(int(windows.max()) if len(windows) else 0, len(ids) - 1) + 1):
        left, right = slice(None, -distance), slice(distance, None)
        together = sentence[left] == sentence[right]  # (N - distance,)
        ahead = together & (windows[left] >= distance)
        behind = together & (windows[right] >= distance)
        parts.append(torch.stack((ids[left][ahead], ids[right][ahead])))
        parts.append(torch.stack((ids[right][behind], ids[left][behind])))
    return torch.cat(parts, dim=1)


def seeded(*parts: int | str) -> torch.Generator:
    """A generator whose seed is a hash of `parts`: streams for different parts do not overlap by being neighbours."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


class PairStream:
    """An endless row of pairs, epoch after epoch, with a position that can be saved.

    Args:
        corpus: sentences of ids.
        keep: (V,), how likely each id is kept (`keep_probabilities`).
        window: most places between centre and context.
        shrink_windows: draw each centre's window uniformly from 1..window; else it is always `window`.
        seed: all order and all draws depend on it, and on nothing else.
    """

    def __init__(
        self,
        corpus: Corpus,
        keep: Tensor,
        *,
        window: int,
        shrink_windows: bool,
        seed: int | str,
        block_tokens: int = BLOCK_TOKENS,
    ) -> None:
        self.corpus = corpus
        self.keep = keep
        self.window = window
        self.shrink_windows = shrink_windows
        self.seed = seed
        self.block_tokens = block_tokens
        self.epoch = self.block = self.offset = 0
        self._starts = corpus.lengths.cumsum(0) - corpus.lengths  # (S,)
        self._plan_epoch = -1
        self._order = torch.empty(0)
        self._bounds = [0]
        self._pairs: Tensor | None = None
        self._block_length = self._tokens_before = 0
        self._dry_epochs = 0

    def take(self, n: int) -> Tensor:
        """The next `n` pairs: (2, n), int64, centres and contexts. CorpusError if there never are any."""
        parts = [torch.empty(2, 0, dtype=torch.int64)]
        while n:
            pairs = self._current()
            part = pairs[:, self.offset : self.offset + n]
            parts.append(part)
            n -= part.shape[1]
            self.offset += part.shape[1]
            if self.offset == pairs.shape[1]:
                self._advance(found=bool(self.offset))
        return torch.cat(parts, dim=1)

    def rest_of_epoch(self) -> Iterator[Tensor]:
        """The remaining pairs of the current epoch, a block (2, P) at a time; leaves the stream at the next epoch."""
        epoch = self.epoch
        while self.epoch == epoch:
            yield self._current()[:, self.offset :]
            self._advance(found=True)

    @property
    def tokens(self) -> int:
        """Corpus tokens gone through so far, in proportion to the pairs of the current block."""
        pairs = self._current()
        share = self.offset * self._block_length // pairs.shape[1] if pairs.shape[1] else 0
        return self.epoch * len(self.corpus.ids) + self._tokens_before + share

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch, "block": self.block, "offset": self.offset}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.epoch, self.block, self.offset = int(state["epoch"]), int(state["block"]), int(state["offset"])
        self._pairs = None

    def _advance(self, *, found: bool) -> None:
        self.offset = 0
        self.block += 1
        self._pairs = None
        if found:
            self._dry_epochs = 0
        if self.block == len(self._bounds) - 1:
            self.epoch, self.block = self.epoch + 1, 0
            self._dry_epochs += 1
            if self._dry_epochs > DRY_EPOCHS:
                raise CorpusError(
                    f"{DRY_EPOCHS} passes over {len(self.corpus.ids)} tokens left no two of them in one sentence: "
                    "lower trainer.subsample drops fewer (0 drops none)"
                )

    def _current(self) -> Tensor:
        if self._pairs is None:
            self._plan()
            self._pairs = self._make_block()
        return self._pairs

    def _plan(self) -> None:
        """Order of the sentences in this epoch, and where its blocks begin."""
        if self._plan_epoch == self.epoch:
            return
        lengths = self.corpus.lengths
        self._order = torch.randperm(len(lengths), generator=seeded(self.seed, self.epoch, "order"))  # (S,)
        ends = lengths[self._order].cumsum(0)
        sizes = torch.unique_consecutive((ends - 1) // self.block_tokens, return_counts=True)[1]
        self._bounds = [0, *sizes.cumsum(0).tolist()]
        self._plan_epoch = self.epoch

    def _make_block(self) -> Tensor:
        generator = seeded(self.seed, self.epoch, self.block)
        first, end = self._bounds[self.block : self.block + 2]
        self._tokens_before = int(self.corpus.lengths[self._order[:first]].sum())
        chosen = self._order[first:end]  # (s,) sentences
        lengths = self.corpus.lengths[chosen]
        self._block_length = n = int(lengths.sum())
        sentence = torch.repeat_interleave(torch.arange(len(chosen)), lengths)  # (n,)
        shift = self._starts[chosen] - (lengths.cumsum(0) - lengths)  # (s,) from place in block to place in corpus
        ids = self.corpus.ids[torch.arange(n) + shift[sentence]].long()  # (n,)
        kept = torch.rand(n, generator=generator, dtype=torch.float64) < self.keep[ids]
        ids, sentence = ids[kept], sentence[kept]
        if self.shrink_windows:
            windows = torch.randint(1, self.window + 1, (len(ids),), generator=generator)
        else:
            windows = torch.full((len(ids),), self.window)
        pairs = window_pairs(ids, sentence, windows)
        return pairs[:, torch.randperm(pairs.shape[1], generator=generator)]

"""Checks for the cache of a model with capability `causal-lm`: it changes the cost and nothing else.

B rows, T positions, V vocabulary size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scratch_cli.testing.lazy import lazy
from scratch_cli.testing.model_checks import built, close, gap, random_ids, room
from scratch_cli.testing.outcome import require
from scratch_cli.testing.subject import Subject

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy("torch")


def _plan(model: Any) -> tuple[int, list[list[int]]]:
    """A total length, and chunks: how many ids each of three rows gets in each call. Their sums are unequal."""
    total = room(model, 12)
    if total < 8:
        return total, [[1, total - 1, max(1, total - 2)], [1, 1, 1]]
    return total, [[4, 1, 3], [1, 1, 1], [1, 0, 3], [2, 3, 1], [1, 1, 0]]


def _feed(model: Any, cache: Any, ids: Tensor, at: list[int], sizes: list[int]) -> list[Tensor]:
    """Continue each row of `ids` (B, T) at `at` by `sizes` ids in one call; the logits of each row's real positions."""
    width = max(sizes)
    chunk = torch.zeros(len(sizes), width, dtype=torch.int64)  # (B, W)
    for row, (start, size) in enumerate(zip(at, sizes, strict=True)):
        chunk[row, :size] = ids[row, start : start + size]
    logits = model(chunk, lengths=torch.tensor(sizes), cache=cache)  # (B, W, V)
    return [logits[row, :size] for row, size in enumerate(sizes)]


def _require_lengths(cache: Any, wanted: list[int], when: str) -> None:
    lengths = cache.lengths
    require(
        isinstance(lengths, torch.Tensor) and lengths.dtype == torch.int64 and lengths.tolist() == wanted,
        f"cache.lengths {when} is {lengths!r}, must be an int64 tensor of {wanted}",
    )


def check_cache_equals_no_cache(subject: Subject) -> None:
    """Rows fed in chunks of unequal lengths give the logits of whole rows, and the cache counts them."""
    model = built(subject)
    total, chunks = _plan(model)
    ids = random_ids(3, total, 1)
    with torch.no_grad():
        whole = model(ids)  # (B, T, V)
        cache = model.new_cache(3, total)
        _require_lengths(cache, [0, 0, 0], "at the start")
        at = [0, 0, 0]
        for sizes in chunks:
            for row, logits in enumerate(_feed(model, cache, ids, at, sizes)):
                wanted = whole[row, at[row] : at[row] + sizes[row]]
                require(
                    close(logits, wanted),
                    f"row {row}, positions {at[row]} to {at[row] + sizes[row] - 1}: with the cache the logits differ "
                    f"({gap(logits, wanted)}); ids per row and call so far: {chunks[: chunks.index(sizes) + 1]}",
                )
            at = [a + size for a, size in zip(at, sizes, strict=True)]
            _require_lengths(cache, at, f"after {at} ids")


def check_cache_without_lengths(subject: Subject) -> None:
    """Without `lengths` all ids of a call count; one id at a time up to the room of the cache gives the whole row."""
    model = built(subject)
    total = room(model, 9)
    ids = random_ids(2, total, 2)
    with torch.no_grad():
        whole = model(ids)
        cache = model.new_cache(2, total)
        pieces = [model(ids[:, : total // 2], cache=cache)]
        pieces += [model(ids[:, t : t + 1], cache=cache) for t in range(total // 2, total)]
        stepped = torch.cat(pieces, dim=1)
        require(close(stepped, whole), f"one id at a time differs from the whole row: {gap(stepped, whole)}")
        _require_lengths(cache, [total, total], f"after {total} ids")
        cache = model.new_cache(2, total)
        features, wanted = model.features(ids, cache=cache), model.features(ids)
        require(close(features, wanted), f"features with a cache differ: {gap(features, wanted)}")


def check_cache_padding_is_forgotten(subject: Subject) -> None:
    """What stood at padded positions of one call has no influence on later calls."""
    model = built(subject)
    total = room(model, 8)
    ids = random_ids(2, total, 3)
    seen = []
    with torch.no_grad():
        for padding in (0, 7):
            cache = model.new_cache(2, total)
            first = ids[:, :3].clone()
            first[1, 1:] = padding
            model(first, lengths=torch.tensor([3, 1]), cache=cache)
            seen.append(model(ids[:, 3:4], cache=cache)[1])
    require(close(*seen), f"padding of an earlier call changes later logits: {gap(*seen)}")


def check_cache_select(subject: Subject) -> None:
    """select() gives a new cache of the chosen rows (dropped, repeated, reordered); the old one goes on unharmed."""
    model = built(subject)
    total = room(model, 10)
    prompt, more = total // 2, total - total // 2
    ids = random_ids(3, prompt, 4)
    lengths = [prompt, max(1, prompt - 2), max(1, prompt - 1)]
    rows = [2, 0, 0, 2]
    with torch.no_grad():
        cache = model.new_cache(3, total)
        model(ids, lengths=torch.tensor(lengths), cache=cache)
        chosen = cache.select(torch.tensor(rows))
        _require_lengths(chosen, [lengths[r] for r in rows], f"after select({rows})")
        _require_lengths(cache, lengths, f"of the old cache after select({rows})")
        tails = random_ids(4, more, 5)
        for t in range(more):
            model(tails[:, t : t + 1], cache=chosen)
        chosen_again = cache.select(torch.tensor(rows))
        new = model(tails, cache=chosen_again)  # (4, more, V)
        for i, r in enumerate(rows):
            row = torch.cat([ids[r, : lengths[r]], tails[i]])
            wanted = model(row[None])[0, lengths[r] :]
            require(close(new[i], wanted), f"row {r} repeated by select differs: {gap(new[i], wanted)}")
        _require_lengths(cache, lengths, "of the old cache after the new one went on")
        old = model(tails[:3, :1], cache=cache)[:, 0]
        for r in range(3):
            row = torch.cat([ids[r, : lengths[r]], tails[r, :1]])
            wanted = model(row[None])[0, -1]
            require(close(old[r], wanted), f"the old cache is harmed by select: {gap(old[r], wanted)}")


def check_cache_truncate(subject: Subject) -> None:
    """truncate() forgets what lies beyond; going on from there is as if it had never been."""
    model = built(subject)
    total = room(model, 10)
    half = total // 2
    ids = random_ids(2, total, 6)
    keep = [half, max(1, half - 2)]
    with torch.no_grad():
        cache = model.new_cache(2, total)
        model(ids[:, : total - 1], cache=cache)
        cache.truncate(torch.tensor(keep))
        _require_lengths(cache, keep, f"after truncate({keep})")
        tail = random_ids(2, 2, 7)
        logits = model(tail, cache=cache)
        for r in range(2):
            wanted = model(torch.cat([ids[r, : keep[r]], tail[r]])[None])[0, keep[r] :]
            require(close(logits[r], wanted), f"after truncate({keep}) row {r} differs: {gap(logits[r], wanted)}")
        _require_lengths(cache, [k + 2 for k in keep], "after going on from a truncated cache")


CAUSAL_CHECKS = (
    check_cache_equals_no_cache,
    check_cache_without_lengths,
    check_cache_padding_is_forgotten,
    check_cache_select,
    check_cache_truncate,
)

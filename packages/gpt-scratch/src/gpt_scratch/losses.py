"""Cross-entropy of the next token: always a sum, so that the caller divides by a count that no split can change.

With a vocabulary of 50,257 the logits of 4,096 positions take 823 MB, and training holds them two or three times. The
chunked form holds those of `rows` positions at a time: it computes them again in the backward pass, which costs one
more product with the head.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Head = Callable[[Tensor], Tensor]

MOST_LOGITS = 1 << 24
"""Above this many logits (64 MB in float32) they are not held all at once."""


def token_nats(features: Tensor, targets: Tensor, head: Head) -> Tensor:
    """-log p(target) in nats: features (..., D) and targets (...) -> (...), float32."""
    logits = head(features).float()  # (..., V)
    return F.cross_entropy(logits.flatten(0, -2), targets.flatten(), reduction="none").view(targets.shape)


def cross_entropy_sum(features: Tensor, targets: Tensor, head: Head) -> Tensor:
    """Sum of -log p(target) over all positions: a scalar. Features (..., D), targets (...); -100 counts nothing."""
    logits = head(features).float()  # (..., V)
    return F.cross_entropy(logits.flatten(0, -2), targets.flatten(), reduction="sum")


def chunked_cross_entropy_sum(features: Tensor, targets: Tensor, head: Head, *, rows: int) -> Tensor:
    """`cross_entropy_sum` with the logits of at most `rows` positions in memory, forward and backward."""
    pieces = zip(torch.split(features.flatten(0, -2), rows), torch.split(targets.flatten(), rows), strict=True)
    total = torch.zeros((), device=features.device)
    for part, wanted in pieces:
        total = total + checkpoint(cross_entropy_sum, part, wanted, head, use_reentrant=False)
    return total


def language_model_loss(features: Tensor, targets: Tensor, head: Head, *, vocab_size: int) -> Tensor:
    """The sum in one piece, or in chunks where the logits would be more than `MOST_LOGITS`."""
    rows = max(1, MOST_LOGITS // vocab_size)
    if targets.numel() <= rows:
        return cross_entropy_sum(features, targets, head)
    return chunked_cross_entropy_sum(features, targets, head, rows=rows)

"""The loss of skip-gram with negative sampling.

Mikolov et al., "Distributed Representations of Words and Phrases and their Compositionality" (2013), eq. 4, with its
sign turned so that less is better:

    L(w, c) = -log s(v_w . u_c) - sum_i log s(-v_w . u_ni),    n_1 .. n_k drawn from Pn

It is a *sum* over the k negatives. A mean would be the loss of another model, whose optimum is shifted by log k.
Summed over a corpus the optimum is v_w . u_c = log(#(w,c) / (k #(w) Pn(c))) (Levy and Goldberg, "Neural Word Embedding
as Implicit Matrix Factorization" (2014), eq. 7, where Pn is #(c)/|D|).

A negative that happens to be the true context is left out (weight 0) rather than drawn again, as in the authors' C
program. Such a draw would cancel part of the true pair; leaving it out turns #(w) in the optimum into #(w) - #(w,c),
which is nearly the same for all but the most frequent contexts.

Gradients, with s the sigmoid: dL/dv = (s(v.u_c) - 1) u_c + sum_i s(v.u_ni) u_ni;  dL/du_c = (s(v.u_c) - 1) v;
dL/du_ni = s(v.u_ni) v.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def negative_sampling_loss(scores: Tensor, negative_weights: Tensor) -> Tensor:
    """Loss of each pair, in nats.

    Args:
        scores: (B, 1 + K), v . u before the sigmoid; the true context first, then its K negatives.
        negative_weights: (B, K), how often each negative counts: 1, or 0 where it equals the true context. Other
            weights give exact expectations: k Pn(n) over all n is what k random draws estimate.

    Returns:
        (B,)
    """
    positive = F.softplus(-scores[:, 0])  # (B,): -log s(x) = softplus(-x), which does not overflow
    negatives = F.softplus(scores[:, 1:]) * negative_weights  # (B, K)
    return positive + negatives.sum(dim=1)

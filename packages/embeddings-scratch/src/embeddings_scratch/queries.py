"""Questions to word vectors: how alike, what is nearest, a is to b as c is to what.

Everything goes by id. Vectors are brought to unit length first, else long vectors, those of frequent words, dominate
every sum. The ids of a question are left out of its answer: the nearest vector to king - man + woman is often king
itself. A zero vector is at cosine 0 from everything, never NaN.

Batches give exactly what single questions give. Matrix products differ in their last bits with the size of a batch, so
they only pick candidates; these are scored again in float64, each on its own, and equal scores are ordered by id.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

SLACK = 1e-4
"""How far below the last place a candidate may score and still be scored again; products err by less."""
SCORES_AT_ONCE = 1 << 24
DECIMALS = 12
"""Scores equal to this many decimals are a tie."""

Neighbours = list[tuple[int, float]]
"""(id, cosine), best first."""


def unit_length(vectors: Tensor) -> Tensor:
    """Vectors (..., D) of length 1, or 0 where they were zero; float16 and bfloat16 become float32."""
    if vectors.dtype not in (torch.float32, torch.float64):
        vectors = vectors.float()
    largest = vectors.abs().amax(dim=-1, keepdim=True)
    # Scaled by the largest number first, so that squares neither overflow nor vanish.
    vectors = torch.where(largest > 0, vectors / torch.where(largest > 0, largest, 1), 0)
    return vectors / vectors.square().sum(dim=-1, keepdim=True).sqrt().clamp_min(1)


def cosine_similarity(a: Tensor, b: Tensor) -> Tensor:
    """Cosine between vectors (..., D) and (..., D), broadcast: (...). 0 where either is zero.

    float16 and bfloat16 are summed in float32.
    """
    return (unit_length(a) * unit_length(b)).sum(dim=-1).clamp(-1, 1)


def compute_embedding_similarity(e1: Tensor, e2: Tensor) -> Tensor:
    """The cosine of each vector of `e1` with each of `e2`, differentiable; 0 where one is zero, never NaN.

    (D,) and (D,) -> (); (D,) and (M, D) -> (M,); (N, D) and (D,) -> (N,); (N, D) and (M, D) -> (N, M). float16 and
    bfloat16 are summed in float32. `cosine_similarity` compares vectors two by two. ValueError for other shapes.
    """
    if e1.dim() not in (1, 2) or e2.dim() not in (1, 2) or e1.shape[-1] != e2.shape[-1]:
        raise ValueError(
            f"e1, e2: got shapes {tuple(e1.shape)} and {tuple(e2.shape)}, must be (D,) or (N, D) with the same D: they "
            "are one vector or several"
        )
    a, b = unit_length(e1), unit_length(e2)
    dtype = torch.promote_types(a.dtype, b.dtype)
    return (a.to(dtype) @ b.to(dtype).mT if b.dim() == 2 else a.to(dtype) @ b.to(dtype)).clamp(-1, 1)


def find_nearest_embeddings(
    query: Tensor, embeddings: Tensor, top_k: int = 5, exclude_indices: Collection[int] = ()
) -> Neighbours | list[Neighbours]:
    """The rows of `embeddings` (V, D) nearest to `query` by cosine: (row, cosine), best first, ties by row.

    `query` (D,) gives one answer, (B, D) a list of B, each exactly what that query alone would give. Fewer than `top_k`
    if there are no more. `exclude_indices`: rows that are no answer, such as that of the query itself. For many
    questions to one table keep a `VectorIndex`. ValueError for shapes that do not fit, values that are not finite,
    `top_k` below 1 and rows that are not there.
    """
    if query.dim() not in (1, 2) or embeddings.dim() != 2 or query.shape[-1] != embeddings.shape[-1]:
        raise ValueError(
            f"query, embeddings: got shapes {tuple(query.shape)} and {tuple(embeddings.shape)}, must be (D,) or (B, D) "
            "and (V, D): they are compared number by number"
        )
    if not bool(query.isfinite().all()):
        raise ValueError("query: has a value that is not a finite number")
    queries = query.reshape(-1, query.shape[-1])  # (B, D)
    left_out = [exclude_indices] * len(queries)
    answers = VectorIndex(embeddings).nearest(queries, topn=top_k, exclude=left_out)
    return answers if query.dim() == 2 else answers[0]


class VectorIndex:
    """Answers questions about a table of vectors.

    Args:
        vectors: (V, D). ValueError if a value is not finite.
        answers: the only ids that may be an answer; all, if None. Use it to leave out ids that were never trained.
    """

    def __init__(self, vectors: Tensor, *, answers: Collection[int] | None = None) -> None:
        if vectors.dim() != 2 or not len(vectors):
            raise ValueError(f"vectors: got shape {tuple(vectors.shape)}, must be (V, D) with V above 0")
        bad = (~vectors.isfinite()).any(dim=1).nonzero()
        if len(bad):
            raise ValueError(f"vectors: row {int(bad[0])} has a value that is not a finite number")
        self.units = unit_length(vectors.detach().cpu())  # (V, D)
        self.allowed = torch.ones(len(vectors), dtype=torch.bool)
        if answers is not None:
            self.allowed[:] = False
            self.allowed[self._checked(sorted(answers), "answers")] = True

    def most_similar(
        self, positive: Sequence[int], negative: Sequence[int] = (), *, topn: int = 10, exclude: Collection[int] = ()
    ) -> Neighbours:
        """The ids nearest to the mean of the unit vectors of `positive` and of minus those of `negative`.

        Left out: both, and `exclude`. Fewer than `topn` answers if there are no more. ValueError for an unknown id.
        """
        return self.most_similar_batch([(positive, negative)], topn=topn, exclude=[exclude])[0]

    def most_similar_batch(
        self,
        questions: Sequence[tuple[Sequence[int], Sequence[int]]],
        *,
        topn: int = 10,
        exclude: Sequence[Collection[int]] | None = None,
    ) -> list[Neighbours]:
        """`most_similar` of many (positive, negative) at once; `exclude` has one collection for each."""
        targets, left_out = [], []
        for i, (positive, negative) in enumerate(questions):
            if not len(positive) and not len(negative):
                raise ValueError(f"question {i}: got no ids, must be at least one: there is nothing to compare with")
            plus = self.units[self._checked(positive, "positive")].double().sum(dim=0)
            minus = self.units[self._checked(negative, "negative")].double().sum(dim=0)
            targets.append((plus - minus) / (len(positive) + len(negative)))  # (D,)
            left_out.append({*positive, *negative, *(exclude[i] if exclude else ())})
        return self.nearest(torch.stack(targets), topn=topn, exclude=left_out) if targets else []

    def analogy(self, a: int, b: int, c: int, *, topn: int = 10) -> Neighbours:
        """a is to b as c is to ...: nearest to b - a + c, all of unit length; a, b and c are left out."""
        return self.most_similar([b, c], [a], topn=topn)

    def analogies(self, questions: Sequence[tuple[int, int, int]], *, topn: int = 10) -> list[Neighbours]:
        """`analogy` of many (a, b, c) at once."""
        return self.most_similar_batch([([b, c], [a]) for a, b, c in questions], topn=topn)

    def nearest(
        self, targets: Tensor, *, topn: int = 10, exclude: Sequence[Collection[int]] | None = None
    ) -> list[Neighbours]:
        """The ids nearest to each of `targets` (B, D) by cosine, those in its `exclude` left out; ties by id."""
        if topn < 1:
            raise ValueError(f"topn: got {topn}, must be at least 1")
        if exclude is not None and len(exclude) != len(targets):
            raise ValueError(f"exclude: got {len(exclude)} collections, must be one for each of {len(targets)} targets")
        units = unit_length(targets.detach().cpu())
        answers: list[Neighbours] = []
        rows = max(1, SCORES_AT_ONCE // len(self.units))
        for start in range(0, len(units), rows):
            block = units[start : start + rows]  # (b, D)
            scores = block.to(self.units.dtype) @ self.units.T  # (b, V)
            scores[:, ~self.allowed] = -torch.inf
            for i, row in enumerate(scores):
                if exclude is not None:
                    row[self._checked(sorted(exclude[start + i]), "exclude")] = -torch.inf
                answers.append(self._best(row, block[i].double(), topn))
        return answers

    def _best(self, scores: Tensor, target: Tensor, topn: int) -> Neighbours:
        last = scores.topk(min(topn, len(scores))).values[-1]
        possible = ((scores >= last - SLACK) & (scores > -torch.inf)).nonzero().squeeze(1)  # (n,), ids in order
        exact = (self.units[possible].double() * target).sum(dim=1).round(decimals=DECIMALS)  # (n,)
        order = exact.sort(descending=True, stable=True).indices[:topn]
        return list(zip(possible[order].tolist(), exact[order].clamp(-1, 1).tolist(), strict=True))

    def _checked(self, ids: Sequence[int], name: str) -> Tensor:
        for i in ids:
            if not 0 <= i < len(self.units):
                raise ValueError(f"{name}: got id {i}, must be from 0 to {len(self.units) - 1}: there is no such row")
        return torch.tensor(ids, dtype=torch.int64)

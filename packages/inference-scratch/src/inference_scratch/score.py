"""The log-probability of given completions, by one pass over prompt and completion (teacher forcing).

What reinforcement learning needs from a sampler: `completion_log_probs` of what `generate` returned equals
`Generation.log_probs` up to rounding, and has gradients. The output head, whose V columns outweigh everything else in
memory, runs at the positions of completions only and on `chunk_tokens` of them at a time; with gradients and more than
one chunk, a chunk's head runs again in the backward pass instead of keeping (tokens, V) numbers for all of them.

Rows that continue one prompt, as `generate` makes them, share it here too where the model can do that (`features_after`
of `protocols.SharesPrompts`): the prompt is then computed once for all of them, forward and backward.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from inference_scratch.generate import Generation
from inference_scratch.padding import pad_right
from inference_scratch.protocols import Model, Sampler


@dataclass(frozen=True, kw_only=True)
class Sequences:
    """N rows of prompt, completion directly behind it, padding. What is real is said by the lengths, never by ids."""

    ids: Tensor
    """(N, T) int64."""
    prompt_lengths: Tensor
    """(N,) int64, at least 1 each."""
    completion_lengths: Tensor
    """(N,) int64."""
    width: int | None = None
    """T_new, columns of what is computed for each completion id; None: as many as the longest completion has."""
    prompt_of: Tensor | None = None
    """(N,) int64: rows of equal number begin with the same prompt. None: nothing is known of that."""

    @property
    def mask(self) -> Tensor:
        """(N, T_new) bool: True where there is a completion id."""
        return torch.arange(self.n_columns, device=self.ids.device) < self.completion_lengths[:, None]

    @property
    def n_columns(self) -> int:
        """T_new."""
        return int(self.completion_lengths.max()) if self.width is None else self.width

    def select(self, rows: Tensor) -> Sequences:
        """The given rows (M,), a minibatch say; T_new stays, so that results align with those of the whole."""
        return Sequences(
            ids=self.ids[rows],
            prompt_lengths=self.prompt_lengths[rows],
            completion_lengths=self.completion_lengths[rows],
            width=self.n_columns,
            prompt_of=None if self.prompt_of is None else self.prompt_of[rows],
        )


def join(prompts: Sequence[Sequence[int]], generation: Generation) -> Sequences:
    """The prompts given to `generate` and what it returned, as rows of prompt and completion; T_new as there."""
    tokens = generation.tokens  # (N, T_new)
    n, width = tokens.shape
    samples, rest = divmod(n, len(prompts))
    if rest or not samples:
        raise ValueError(f"generation: has {n} rows, must be a multiple of the {len(prompts)} prompts it was made from")
    padded, lengths = pad_right(prompts)  # (B, T_prompt)
    padded = padded.to(tokens.device).repeat_interleave(samples, 0)  # (N, T_prompt)
    prompt_lengths = torch.tensor(lengths, device=tokens.device).repeat_interleave(samples)  # (N,)
    prompt_of = torch.arange(len(prompts), device=tokens.device).repeat_interleave(samples)  # (N,)
    ids = torch.cat((padded, torch.zeros_like(tokens)), 1)  # (N, T)
    places = prompt_lengths[:, None] + torch.arange(width, device=tokens.device)  # (N, T_new)
    # `pad_id` need not be an id of the model, which reads padding too.
    return Sequences(
        ids=ids.scatter(1, places, torch.where(generation.mask, tokens, 0)),
        prompt_lengths=prompt_lengths,
        completion_lengths=generation.lengths,
        width=width,
        prompt_of=prompt_of,
    )


def pack(
    prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]], *, device: torch.device | str = "cpu"
) -> Sequences:
    """One given completion (EOS included, if it is to be scored) for each prompt, as rows; T_new is the longest's."""
    ids, _ = pad_right([[*prompt, *completion] for prompt, completion in zip(prompts, completions, strict=True)])
    completion_lengths = [len(completion) for completion in completions]
    return Sequences(
        ids=ids.to(device),
        prompt_lengths=torch.tensor([len(prompt) for prompt in prompts], device=device),
        completion_lengths=torch.tensor(completion_lengths, device=device),
        width=max(completion_lengths),
    )


def completion_log_probs(
    model: Model,
    sequences: Sequences,
    *,
    sampler: Sampler | None = None,
    with_entropy: bool = False,
    chunk_tokens: int = 4096,
) -> tuple[Tensor, Tensor | None]:
    """Log-probabilities (N, T_new) of each completion id under the sampler's distribution; its entropies (N, T_new).

    Column t belongs to the row's t-th completion id, as in `Generation.tokens`; padding holds 0. Without a sampler the
    distribution is the model's own, softmax of the logits; without `with_entropy` the second value is None. In nats,
    fp32, differentiable, in the mode (train or eval) that the model is in. An id that the sampler masks has -inf.
    """
    if chunk_tokens < 1:
        raise ValueError(
            f"chunk_tokens: got {chunk_tokens}, must be at least 1: it is how many positions the head sees"
        )
    n, width = len(sequences.ids), sequences.n_columns
    features, targets = completion_features(model, sequences)  # (M, D), (M,)

    def of_chunk(features: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        logits = model.head(features)  # (C, V)
        distribution = logits.float().log_softmax(-1) if sampler is None else sampler.log_probs(logits)  # (C, V)
        chosen = distribution.gather(-1, targets[:, None])[:, 0].float()  # (C,)
        return chosen, entropy(distribution).float() if with_entropy else chosen

    pairs = zip(torch.split(features, chunk_tokens), torch.split(targets, chunk_tokens), strict=True)
    if torch.is_grad_enabled() and len(targets) > chunk_tokens:
        parts = [checkpoint(of_chunk, *pair, use_reentrant=False) for pair in pairs]
    else:
        parts = [of_chunk(*pair) for pair in pairs]

    def as_rows(values: Sequence[Tensor]) -> Tensor:
        flat = torch.cat(tuple(values))  # (M,)
        if len(flat) == n * width:
            return flat.view(n, width)
        return flat.new_zeros(n, width).masked_scatter(sequences.mask, flat)  # (N, T_new)

    log_probs = as_rows([part[0] for part in parts])
    return log_probs, as_rows([part[1] for part in parts]) if with_entropy else None


def completion_features(model: Model, sequences: Sequences) -> tuple[Tensor, Tensor]:
    """What the head reads at every real completion id (M, D), row by row, and those ids (M,); differentiable."""
    ids, prompt_lengths = sequences.ids, sequences.prompt_lengths
    ends = prompt_lengths + sequences.completion_lengths  # (N,)
    first, last, shortest, longest, most = torch.stack(
        (prompt_lengths.min(), prompt_lengths.max(), ends.min(), ends.max(), sequences.completion_lengths.max())
    ).tolist()  # the only wait for the device
    shared = _behind_shared_prompts(model, sequences, last, most)
    if shared is not None:
        features, offset, columns = shared, 0, most  # column t of a row predicts its completion id t
    else:
        # The last id is predicted, never read.
        features = model.features(ids[:, : longest - 1], lengths=None if shortest == longest else ends - 1)
        offset, columns = first - 1, longest - 1  # (N, T', D)
    if (
        first == last and shortest == longest
    ):  # every row looks alike: slices, whose backward is cheaper than an index's
        return features[:, offset:].flatten(0, 1), ids[:, first:longest].flatten()
    # Only what is real: what a model puts at padding is unspecified, and 0 times NaN would reach every gradient.
    row, column = sequences.mask.nonzero(as_tuple=True)  # (M,)
    place = prompt_lengths[row] + column  # (M,)
    read = column if shared is not None else place - 1  # (M,)
    return features.flatten(0, 1).index_select(0, row * columns + read), ids[row, place]


def _behind_shared_prompts(model: Model, sequences: Sequences, prompt_width: int, width: int) -> Tensor | None:
    """What the head reads before each of the first `width` completion ids: (N, width, D), each prompt computed once.

    None if the rows share no prompts or the model cannot do that.
    """
    features_after = getattr(model, "features_after", None)
    if features_after is None or sequences.prompt_of is None or width < 2:
        return None
    ids, prompt_lengths = sequences.ids, sequences.prompt_lengths
    n = len(ids)
    numbers, prompt_of = torch.unique(sequences.prompt_of, return_inverse=True)  # (P,), (N,)
    if len(numbers) == n:
        return None
    # Any of the rows that begin with a prompt will do to read it from.
    row = torch.zeros_like(numbers).scatter_(0, prompt_of, torch.arange(n, device=ids.device))  # (P,)
    places = prompt_lengths[:, None] + torch.arange(width - 1, device=ids.device)  # (N, width - 1)
    found = features_after(
        ids[row, :prompt_width],
        ids.gather(1, places.clamp_(max=ids.shape[1] - 1)),
        prompt_of,
        prompt_lengths=prompt_lengths[row],
        lengths=(sequences.completion_lengths - 1).clamp_(min=0),  # the last id is predicted, never read
    )
    if found is None:
        return None
    in_prompts, behind = found  # (P, S, D), (N, width - 1, D)
    ends = in_prompts[torch.arange(len(numbers), device=ids.device), prompt_lengths[row] - 1]  # (P, D)
    return torch.cat((ends.index_select(0, prompt_of)[:, None], behind), 1)


def entropy(log_probs: Tensor) -> Tensor:
    """Log-probabilities (..., V) -> entropy (...) in nats; masked ids, of -inf, add nothing. Differentiable."""
    # 0 * -inf would be NaN, in value and gradient.
    return -(log_probs.exp() * log_probs.masked_fill(log_probs == -torch.inf, 0)).sum(-1)

"""Checks for samplers: what is drawn follows the distribution that is stated. B rows, V vocabulary size."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from scratch_cli.testing.lazy import lazy
from scratch_cli.testing.outcome import require
from scratch_cli.testing.subject import Subject

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy("torch")

VOCAB_SIZE = 12
DRAWS = 20_000
FALSE_ALARM_SIGMAS = 4.75  # one draw in a million, of a seeded test: never by chance, once it has passed


def built(subject: Subject) -> Any:
    return subject.cls()(subject.config())


def random_logits(rows: int, seed: int = 0) -> Tensor:
    return 2 * torch.randn(rows, VOCAB_SIZE, generator=torch.Generator().manual_seed(seed))  # (B, V)


def drawn(sampler: Any, logits: Tensor, seed: int = 0) -> Tensor:
    ids: Tensor = sampler.sample(logits, generator=torch.Generator().manual_seed(seed))
    return ids


def check_log_probs_are_a_distribution(subject: Subject) -> None:
    """log_probs keeps the shape, for any leading one, and each row's probabilities sum to one."""
    sampler = built(subject)
    logits = random_logits(6)
    for shape in ((VOCAB_SIZE,), (6, VOCAB_SIZE), (2, 3, VOCAB_SIZE)):
        given = logits[0] if len(shape) == 1 else logits.reshape(shape)
        kept = given.clone()
        out = sampler.log_probs(given)
        require(tuple(out.shape) == shape, f"logits {shape} give log_probs {tuple(out.shape)}")
        require(torch.equal(given, kept), "log_probs changes the logits it is given")
        total = out.logsumexp(-1)
        require(bool((total.abs() < 1e-4).all()), f"probabilities sum to {total.exp().tolist()}, must be 1")
    rows = torch.stack([sampler.log_probs(row) for row in logits])
    require(torch.allclose(rows, sampler.log_probs(logits)), "log_probs of a batch differs from its rows alone")


def check_sample_shape(subject: Subject) -> None:
    """Logits (B, V) give int64 ids (B,) in 0 .. V-1, and are left as they are."""
    sampler = built(subject)
    for rows in (1, 7):
        logits = random_logits(rows)
        kept = logits.clone()
        ids = drawn(sampler, logits)
        require(tuple(ids.shape) == (rows,), f"logits {tuple(logits.shape)} give ids {tuple(ids.shape)}")
        require(ids.dtype == torch.int64, f"ids are {ids.dtype}, must be int64")
        require(bool(((ids >= 0) & (ids < VOCAB_SIZE)).all()), f"ids {ids.tolist()} are out of range")
        require(torch.equal(logits, kept), "sample changes the logits it is given")


def check_deterministic_under_a_seed(subject: Subject) -> None:
    """The draw depends on logits and generator alone: not on torch's global generator, which stays as it is."""
    sampler = built(subject)
    logits = random_logits(1).expand(64, VOCAB_SIZE)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = drawn(sampler, logits, seed=5)
    require(torch.equal(state, torch.get_rng_state()), "sample draws from torch's global generator")
    torch.manual_seed(2)
    require(torch.equal(first, drawn(built(subject), logits, seed=5)), "the same seed gives other ids")
    generator = torch.Generator().manual_seed(5)
    again = sampler.sample(logits, generator=generator)
    require(torch.equal(first, again), "the same sampler gives other ids the second time: it keeps a state")
    other = drawn(sampler, logits, seed=6)
    chosen = sampler.log_probs(logits[0]).isfinite().sum() > 1
    if "deterministic" in subject.part.provides:
        require(torch.equal(first, other), "provides 'deterministic', but the seed changes the ids")
    elif chosen:
        require(not torch.equal(first, other), "another seed gives the same 64 ids")
        following = sampler.sample(logits, generator=generator)
        require(not torch.equal(first, following), "the generator is not advanced: the next 64 ids are the same")


def check_draws_match_log_probs(subject: Subject) -> None:
    """Chi-square: how often each id is drawn agrees with the stated probabilities."""
    sampler = built(subject)
    for seed, logits in enumerate((random_logits(1, 1), random_logits(1, 2), torch.zeros(1, VOCAB_SIZE))):
        stated = sampler.log_probs(logits)[0].exp().double()  # (V,)
        counts = torch.bincount(drawn(sampler, logits.expand(DRAWS, -1), seed), minlength=VOCAB_SIZE).double()
        never = stated == 0
        require(not bool(counts[never].any()), f"ids of probability 0 were drawn: {counts[never].tolist()}")
        expected = stated * DRAWS
        # Ids too rare for the statistic count as one.
        rare = expected < 10
        observed = torch.cat([counts[~rare], counts[rare].sum()[None]])
        wanted = torch.cat([expected[~rare], expected[rare].sum()[None]])
        if wanted[-1] < 10:
            observed, wanted = observed[:-1], wanted[:-1]
        freedom = len(wanted) - 1
        if freedom < 1:
            continue
        chi_square = float(((observed - wanted) ** 2 / wanted).sum())
        # Wilson and Hilferty 1931: the cube root is close to normal.
        spread = 2 / (9 * freedom)
        sigmas = ((chi_square / freedom) ** (1 / 3) - (1 - spread)) / math.sqrt(spread)
        require(
            sigmas < FALSE_ALARM_SIGMAS,
            f"{DRAWS} draws do not follow log_probs: chi-square {chi_square:.1f} with {freedom} degrees of freedom; "
            f"drawn {counts.long().tolist()}, expected {[round(e) for e in expected.tolist()]}",
        )


def check_rows_have_their_own_distribution(subject: Subject) -> None:
    """Each row is drawn from its own logits."""
    sampler = built(subject)
    logits = torch.full((VOCAB_SIZE, VOCAB_SIZE), -50.0).fill_diagonal_(50.0)
    ids = drawn(sampler, logits)
    require(ids.tolist() == list(range(VOCAB_SIZE)), f"rows that are sure of ids 0, 1, 2 ... drew {ids.tolist()}")


def check_masked_ids(subject: Subject) -> None:
    """An id with logit -inf has probability 0 and is never drawn; all others keep a distribution, with no NaN."""
    sampler = built(subject)
    for left in (1, 2, VOCAB_SIZE - 1):
        logits = random_logits(1, left)
        masked = torch.randperm(VOCAB_SIZE, generator=torch.Generator().manual_seed(left))[left:]
        logits[:, masked] = -torch.inf
        out = sampler.log_probs(logits)
        require(not bool(out.isnan().any()), f"with {left} ids left, log_probs has NaN")
        require(bool((out[:, masked] == -torch.inf).all()), f"with {left} ids left, masked ids have a probability")
        require(bool((out.logsumexp(-1).abs() < 1e-4).all()), f"with {left} ids left, probabilities do not sum to 1")
        ids = drawn(sampler, logits.expand(2000, -1))
        wrong = torch.isin(ids, masked)
        require(not bool(wrong.any()), f"with {left} ids left, masked ids were drawn: {ids[wrong][:5].tolist()}")


def check_full_support(subject: Subject) -> None:
    """A sampler that provides `full-support` gives every id that is not masked a positive probability."""
    out = built(subject).log_probs(random_logits(8))
    require(bool(out.isfinite().all()), "provides 'full-support', but some ids have probability 0")


def check_extreme_logits(subject: Subject) -> None:
    """Large, small and equal logits give no NaN, and ids in range."""
    sampler = built(subject)
    spread = torch.linspace(-1, 1, VOCAB_SIZE)[None]
    for logits in (spread * 1e4, spread * 1e-20, torch.zeros(1, VOCAB_SIZE), spread + 1e4, spread.double()):
        out = sampler.log_probs(logits)
        require(not bool(out.isnan().any()), f"log_probs of logits up to {float(logits.max()):g} has NaN")
        ids = drawn(sampler, logits.expand(16, -1))
        require(bool(((ids >= 0) & (ids < VOCAB_SIZE)).all()), f"ids {ids.tolist()} are out of range")


def check_gradients(subject: Subject) -> None:
    """log_probs of drawn ids can be differentiated: the gradient is finite."""
    sampler = built(subject)
    logits = random_logits(4).requires_grad_()
    ids = drawn(sampler, logits.detach())
    sampler.log_probs(logits).gather(1, ids[:, None]).sum().backward()
    require(logits.grad is not None, "log_probs has no gradient")
    assert logits.grad is not None  # for the type checker
    require(bool(logits.grad.isfinite().all()), "the gradient of log_probs of drawn ids is not finite")


CHECKS = (
    check_log_probs_are_a_distribution,
    check_sample_shape,
    check_deterministic_under_a_seed,
    check_draws_match_log_probs,
    check_rows_have_their_own_distribution,
    check_masked_ids,
    check_extreme_logits,
    check_gradients,
)
FULL_SUPPORT_CHECKS = (check_full_support,)

"""Generation against naive loops, solo runs and transformers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from inference_scratch.config import GreedyConfig, MultinomialConfig, TopKConfig, TopPConfig
from inference_scratch.drawing import NoDistribution
from inference_scratch.generate import Generation, PromptError, generate, stream
from inference_scratch.samplers import Greedy, Multinomial, Sampler, TopK, TopP

GREEDY = Greedy(GreedyConfig())
MULTINOMIAL = Multinomial(MultinomialConfig())
SAMPLERS = [GREEDY, MULTINOMIAL, TopK(TopKConfig(top_k=4)), TopP(TopPConfig(top_p=0.8, temperature=1.5))]
UNEQUAL = [[1, 2, 3], [4], [5, 6, 7, 8, 9], [2, 2], [10]]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def naive(model: Any, prompt: list[int], numbers: Tensor, sampler: Sampler, eos_id: int | None) -> list[int]:
    """One row, no cache, no batch: the whole text through the model for every id, and a search through the sum."""
    model.eval()
    ids = list(prompt)
    for number in numbers.tolist():
        with torch.no_grad():
            probs = sampler.log_probs(model(torch.tensor([ids]))[0, -1]).double().exp()
        total = float(probs.sum())
        below = 0.0
        for chosen, prob in enumerate(probs.tolist()):
            below += prob
            if below > number * total:
                ids.append(chosen)
                break
        if ids[-1] == eos_id:
            break
    return ids[len(prompt) :]


def assert_same(first: Generation, second: Generation) -> None:
    assert torch.equal(first.tokens, second.tokens)
    assert torch.equal(first.lengths, second.lengths)
    assert torch.equal(first.finished, second.finished)
    torch.testing.assert_close(first.log_probs, second.log_probs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("compact", [True, False])
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_rows_equal_the_naive_uncached_loop(toy_model: Any, sampler: Sampler, samples: int, compact: bool) -> None:
    model, steps, eos = toy_model(), 12, 3
    numbers = [
        torch.rand(len(UNEQUAL) * samples, generator=g, dtype=torch.float64) for g in [seeded()] for _ in range(steps)
    ]
    expected = [
        naive(model, UNEQUAL[row // samples], torch.stack(numbers)[:, row], sampler, eos)
        for row in range(len(UNEQUAL) * samples)
    ]
    result = generate(
        model,
        UNEQUAL,
        sampler=sampler,
        max_new_tokens=steps,
        eos_id=eos,
        generator=seeded(),
        samples_per_prompt=samples,
        compact=compact,
    )
    assert result.to_lists() == expected
    assert result.finished.tolist() == [row[-1] == eos for row in expected]
    assert result.tokens.shape[1] == max(map(len, expected))


def test_some_rows_end_early_in_these_tests(toy_model: Any) -> None:
    result = generate(toy_model(), UNEQUAL * 8, sampler=MULTINOMIAL, max_new_tokens=12, eos_id=3, generator=seeded())
    assert len(set(result.lengths.tolist())) > 4
    assert 0 < int(result.finished.sum()) < 40


@pytest.mark.parametrize("pad_id", [0, 3, 7, -100])
def test_padding_is_told_by_lengths_alone(toy_model: Any, pad_id: int) -> None:
    result = generate(
        toy_model(), UNEQUAL * 8, sampler=MULTINOMIAL, max_new_tokens=12, eos_id=3, generator=seeded(), pad_id=pad_id
    )
    reference = generate(toy_model(), UNEQUAL * 8, sampler=MULTINOMIAL, max_new_tokens=12, eos_id=3, generator=seeded())
    assert result.to_lists() == reference.to_lists()
    assert set(result.tokens[~result.mask].tolist()) == {pad_id}
    assert set(result.log_probs[~result.mask].tolist()) == {0.0}
    assert bool((result.log_probs[result.mask] < 0).all())
    assert torch.equal(result.mask.sum(1), result.lengths)


def test_compacting_changes_nothing_and_shrinks_the_batch(toy_model: Any) -> None:
    prompts, rows = [[1, 2], [3, 4], [5, 6]] * 40, []
    results = []
    for compact in (True, False):
        model = toy_model()
        results.append(
            generate(
                model,
                prompts,
                sampler=MULTINOMIAL,
                max_new_tokens=20,
                eos_id=3,
                generator=seeded(),
                compact=compact,
            )
        )
        rows.append([n for n, _ in model.rows_read])
    assert_same(*results)
    assert min(rows[0]) < 60
    assert set(rows[1]) == {120}


def test_a_row_in_a_batch_equals_the_row_alone(toy_model: Any) -> None:
    together = generate(toy_model(), UNEQUAL, sampler=GREEDY, max_new_tokens=9, eos_id=3, generator=seeded())
    for row, prompt in enumerate(UNEQUAL):
        alone = generate(toy_model(), [prompt], sampler=GREEDY, max_new_tokens=9, eos_id=3, generator=seeded())
        length = int(alone.lengths)
        assert together.to_lists()[row] == alone.to_lists()[0]
        torch.testing.assert_close(together.log_probs[row, :length], alone.log_probs[0], rtol=0, atol=1e-5)


def test_a_row_does_not_depend_on_what_its_neighbours_are(toy_model: Any) -> None:
    """Its random numbers are its own: other prompts around it, that end at other times, leave its ids as they are."""
    others = [[9, 9, 9, 9], [4], [1, 1], [10], [6]]
    first, second = (
        generate(toy_model(), [[5, 6], *rest], sampler=MULTINOMIAL, max_new_tokens=15, eos_id=3, generator=seeded(4))
        for rest in (UNEQUAL, others)
    )
    assert first.to_lists()[0] == second.to_lists()[0]


def test_one_seed_gives_one_result_and_a_shorter_run_is_its_beginning(toy_model: Any) -> None:
    def run(steps: int) -> Generation:
        return generate(toy_model(), UNEQUAL, sampler=MULTINOMIAL, max_new_tokens=steps, generator=seeded(7))

    assert_same(run(10), run(10))
    assert torch.equal(run(10).tokens[:, :4], run(4).tokens)
    assert not torch.equal(
        run(10).tokens,
        generate(toy_model(), UNEQUAL, sampler=MULTINOMIAL, max_new_tokens=10, generator=seeded(8)).tokens,
    )


def test_prompts_are_read_once_for_all_their_samples(toy_model: Any) -> None:
    model = toy_model()
    result = generate(model, UNEQUAL, sampler=MULTINOMIAL, max_new_tokens=3, generator=seeded(), samples_per_prompt=4)
    assert result.tokens.shape == (20, 3)
    assert model.rows_read == [(5, 5), (20, 1), (20, 1)]


class Script(nn.Module):
    """Says the next id of a fixed text, whatever was read; row r begins at `starts[r]` of it."""

    def __init__(self, text: list[int], *, vocab_size: int = 6) -> None:
        super().__init__()
        self.text, self.vocab_size, self.max_length = text, vocab_size, None
        self.anchor = nn.Parameter(torch.zeros(1))

    class Cache:
        def __init__(self, lengths: Tensor) -> None:
            self.lengths = lengths

        def select(self, rows: Tensor) -> Script.Cache:
            return Script.Cache(self.lengths[rows])

    def new_cache(self, batch_size: int, max_length: int) -> Script.Cache:
        return Script.Cache(torch.zeros(batch_size, dtype=torch.int64))

    def features(self, ids: Tensor, *, lengths: Tensor | None = None, cache: Any = None) -> Tensor:
        places = cache.lengths[:, None] + torch.arange(ids.shape[1])
        cache.lengths = cache.lengths + (ids.shape[1] if lengths is None else lengths)
        text = torch.tensor(self.text + [0] * 64)
        return nn.functional.one_hot(text[places], self.vocab_size).float()

    def head(self, features: Tensor) -> Tensor:
        return features * 50 + self.anchor


def test_golden_eos_handling() -> None:
    # The text after position i is text[i], text[i+1], ...; 5 is EOS. Prompts of length 1, 3 and 5 start at 0, 2 and 4.
    model = Script([1, 2, 3, 5, 4, 4, 4, 5, 1])
    result = generate(
        model, [[0], [0] * 3, [0] * 5], sampler=GREEDY, max_new_tokens=3, eos_id=5, generator=seeded(), pad_id=9
    )
    assert result.tokens.tolist() == [[1, 2, 3], [3, 5, 9], [4, 4, 4]]
    assert result.lengths.tolist() == [3, 2, 3]
    assert result.finished.tolist() == [False, True, False]
    assert result.log_probs.tolist() == [[0.0] * 3] * 3


def test_eos_on_the_last_allowed_step_counts_as_finished() -> None:
    result = generate(Script([1, 2, 5]), [[0]], sampler=GREEDY, max_new_tokens=3, eos_id=5, generator=seeded())
    assert result.to_lists() == [[1, 2, 5]]
    assert result.finished.tolist() == [True]


def test_all_rows_ending_stops_the_run_at_once(toy_model: Any) -> None:
    model = Script([5] * 9)
    calls = []
    model.register_forward_hook(lambda *_: calls.append(1))
    result = generate(model, [[0], [0, 0]], sampler=GREEDY, max_new_tokens=1000, eos_id=5, generator=seeded())
    assert result.tokens.tolist() == [[5], [5]]


def test_without_eos_every_row_runs_to_its_limit(toy_model: Any) -> None:
    result = generate(toy_model(), UNEQUAL, sampler=MULTINOMIAL, max_new_tokens=6, generator=seeded())
    assert result.lengths.tolist() == [6] * 5
    assert not result.finished.any()


@pytest.mark.parametrize("eos_id", [None, 3])
@pytest.mark.parametrize("compact", [True, False])
def test_a_row_stops_where_it_fills_the_context(toy_model: Any, compact: bool, eos_id: int | None) -> None:
    prompts = [[1] * n for n in (1, 23, 20, 7, 20)]
    result = generate(
        toy_model(max_length=24),
        prompts,
        sampler=MULTINOMIAL,
        max_new_tokens=18,
        eos_id=eos_id,
        generator=seeded(),
        compact=compact,
    )
    limits = torch.tensor([18, 1, 4, 17, 4])
    assert bool((result.lengths <= limits).all())
    assert torch.equal(result.lengths == limits, ~result.finished | (result.lengths == limits))
    if eos_id is None:
        assert torch.equal(result.lengths, limits)
        assert not result.finished.any()


def test_prompt_of_one_below_the_context_gets_one_id(toy_model: Any) -> None:
    result = generate(toy_model(max_length=24), [[1] * 23], sampler=GREEDY, max_new_tokens=5, generator=seeded())
    assert result.lengths.tolist() == [1]


def test_a_model_without_limit_has_none(toy_model: Any) -> None:
    result = generate(toy_model(max_length=None), [[1]], sampler=GREEDY, max_new_tokens=100, generator=seeded())
    assert result.lengths.tolist() == [100]


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ([], "no prompts"),
        ([[1], []], "prompt 1: is empty"),
        ([[1], [1] * 24], "prompt 1: has 24 ids, but the model reads 24 at most"),
        ([[1] * 30], "prompt 0: has 30 ids, but the model reads 24 at most"),
        ([[1, 2], [1, 11, 2]], "prompt 1, position 1: got id 11, but the model knows ids 0 to 10"),
        ([[1, -1]], "prompt 0, position 1: got id -1"),
        ([[1.5]], "must be lists of whole numbers"),
        (["text"], "must be lists of whole numbers"),
        ([[2**70]], "must be lists of whole numbers"),
    ],
)
def test_prompts_that_cannot_be_continued(toy_model: Any, prompts: Any, message: str) -> None:
    with pytest.raises(PromptError, match=message) as error:
        generate(toy_model(), prompts, sampler=GREEDY, max_new_tokens=5, generator=seeded())
    assert error.value.exit_code == 3


@pytest.mark.parametrize("name", ["max_new_tokens", "samples_per_prompt"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True])
def test_counts_below_one_are_refused(toy_model: Any, name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name}: got "):
        generate(toy_model(), [[1]], sampler=GREEDY, generator=seeded(), **{"max_new_tokens": 2, name: value})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_broken_logits_name_step_and_row(toy_model: Any, value: float) -> None:
    class Breaks(Multinomial):
        step = 0

        def log_probs(self, logits: Tensor, /) -> Tensor:
            self.step += 1
            if self.step == 3:
                logits = logits.clone()
                logits[4, 2] = value
            return super().log_probs(logits)

    with pytest.raises(NoDistribution, match="step 3, prompt 2, sample 0: nothing to draw from"):
        generate(
            toy_model(),
            UNEQUAL,
            sampler=Breaks(MultinomialConfig()),
            max_new_tokens=5,
            generator=seeded(),
            samples_per_prompt=2,
        )


def test_broken_logits_of_an_ended_row_harm_nobody() -> None:
    class BreaksAfterEnd(Greedy):
        step = 0

        def log_probs(self, logits: Tensor, /) -> Tensor:
            self.step += 1
            return super().log_probs(logits.index_fill(0, torch.tensor([0]), torch.nan) if self.step > 1 else logits)

    # Row 0 ends in the first step but stays in the batch, as compact is off.
    result = generate(
        Script([5, 1, 2, 3, 4]),
        [[0], [0, 0]],
        sampler=BreaksAfterEnd(GreedyConfig()),
        max_new_tokens=3,
        eos_id=5,
        generator=seeded(),
        compact=False,
    )
    assert result.to_lists() == [[5], [1, 2, 3]]


def test_modes_are_given_back_also_after_an_error(toy_model: Any) -> None:
    model = toy_model().train()
    model.dropout.eval()
    reference = generate(toy_model().eval(), UNEQUAL, sampler=MULTINOMIAL, max_new_tokens=5, generator=seeded())
    result = generate(model, UNEQUAL, sampler=MULTINOMIAL, max_new_tokens=5, generator=seeded())
    assert_same(result, reference)
    assert model.training
    assert not model.dropout.training
    model.dropout.train()
    assert_same(generate(model, UNEQUAL, sampler=MULTINOMIAL, max_new_tokens=5, generator=seeded()), reference)
    with torch.no_grad():
        model.out.bias.fill_(torch.nan)
    with pytest.raises(NoDistribution):
        generate(model, UNEQUAL, sampler=MULTINOMIAL, max_new_tokens=5, generator=seeded())
    assert model.training
    assert model.dropout.training


@pytest.mark.parametrize("outer", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_results_are_ordinary_tensors(toy_model: Any, outer: Any) -> None:
    with outer():
        result = generate(toy_model(), UNEQUAL, sampler=MULTINOMIAL, max_new_tokens=4, generator=seeded())
    for tensor in (result.tokens, result.lengths, result.log_probs, result.finished):
        assert not tensor.is_inference()
        assert tensor.is_contiguous()
    weights = torch.ones(11, requires_grad=True)
    (weights[result.tokens] * result.log_probs).sum().backward()  # type: ignore[no-untyped-call]
    assert weights.grad is not None


def test_global_random_state_is_untouched(toy_model: Any) -> None:
    model = toy_model()
    before = torch.get_rng_state()
    generate(model, UNEQUAL, sampler=MULTINOMIAL, max_new_tokens=4, generator=seeded())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_stream_gives_the_ids_of_generate(toy_model: Any, sampler: Sampler) -> None:
    model = toy_model()
    for seed in range(5):
        expected = generate(model, [[4, 2]], sampler=sampler, max_new_tokens=12, eos_id=3, generator=seeded(seed))
        ids = stream(model, [4, 2], sampler=sampler, max_new_tokens=12, eos_id=3, generator=seeded(seed))
        assert list(ids) == expected.to_lists()[0]


def test_a_stream_leaves_nothing_behind_between_ids(toy_model: Any) -> None:
    model = toy_model().train()
    ids = stream(model, [1], sampler=MULTINOMIAL, max_new_tokens=12, generator=seeded())
    next(ids)
    assert model.training
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()
    del ids


def test_a_stream_refuses_a_bad_prompt_before_the_first_id(toy_model: Any) -> None:
    with pytest.raises(PromptError, match="is empty"):
        stream(toy_model(), [], sampler=GREEDY, max_new_tokens=5, generator=seeded())
    clipped = stream(toy_model(max_length=24), [1] * 22, sampler=GREEDY, max_new_tokens=5, generator=seeded())
    assert len(list(clipped)) == 2


def test_a_stream_names_the_step_of_broken_logits(toy_model: Any) -> None:
    model = toy_model()
    ids = stream(model, [1], sampler=MULTINOMIAL, max_new_tokens=5, generator=seeded())
    next(ids)
    with torch.no_grad():
        model.out.bias.fill_(torch.nan)
    with pytest.raises(NoDistribution, match="step 2"):
        next(ids)


class Recomputing(nn.Module):
    """Any transformers model under our contract. Its "cache" is the ids themselves: all is computed anew each time."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.vocab_size, self.max_length = model.config.vocab_size, model.config.n_positions

    class Cache:
        def __init__(self, rows: list[list[int]]) -> None:
            self.rows = rows

        def select(self, rows: Tensor) -> Recomputing.Cache:
            return Recomputing.Cache([list(self.rows[row]) for row in rows.tolist()])

    def new_cache(self, batch_size: int, max_length: int) -> Recomputing.Cache:
        return Recomputing.Cache([[] for _ in range(batch_size)])

    def features(self, ids: Tensor, *, lengths: Tensor | None = None, cache: Any = None) -> Tensor:
        out = torch.full((*ids.shape, self.model.config.n_embd), torch.nan)
        counts = [ids.shape[1]] * len(ids) if lengths is None else lengths.tolist()
        for row, count in enumerate(counts):
            cache.rows[row] += ids[row, :count].tolist()
            hidden = self.model.transformer(torch.tensor([cache.rows[row]])).last_hidden_state[0]
            out[row, :count] = hidden[-count:]
        return out

    def head(self, features: Tensor) -> Tensor:
        logits: Tensor = self.model.lm_head(features)
        return logits


def test_greedy_equals_generate_of_transformers() -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is the oracle")
    torch.manual_seed(1)
    config = transformers.GPT2Config(
        vocab_size=23, n_positions=32, n_embd=16, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=7, pad_token_id=0
    )
    config.initializer_range = 0.6
    theirs = transformers.GPT2LMHeadModel(config).eval()
    prompts = [[1, 2, 3], [4], [5, 6, 8, 9, 10], *[[n, n + 1] for n in range(8, 20)]]
    ours = generate(Recomputing(theirs), prompts, sampler=GREEDY, max_new_tokens=10, eos_id=7, generator=seeded())
    for row, prompt in enumerate(prompts):
        expected = theirs.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
            do_sample=False,
            max_new_tokens=10,
            return_dict_in_generate=True,
            output_logits=True,
        )
        assert ours.to_lists()[row] == expected.sequences[0, len(prompt) :].tolist()
    assert ours.finished.any()
    assert not ours.finished.all()

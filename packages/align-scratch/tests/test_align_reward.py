"""Reward models: what they read, what training does, and which pairs are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from rewarded import SHAPE, SMALL, PairTask, rows
from torch import nn

from align_scratch.config.reward import RewardConfig
from align_scratch.encoder import Encoder
from align_scratch.errors import DataError, DoesNotFit
from align_scratch.reward import Reward
from align_scratch.reward_model import RewardModel, evaluating
from align_scratch.tasks.problems import Pair
from inference_scratch.score import Sequences


@pytest.fixture
def build(parts: Callable[..., dict[str, Any]]) -> Callable[..., Reward]:
    def make(seed: int = 0, task: Any = None, dropout: float = 0.0, **options: Any) -> Reward:
        return Reward(
            RewardConfig(**{"steps": 4, **SMALL, **options}),
            **parts(task or PairTask(), seed=seed, dropout=dropout),
        )

    return make


# --- what is read ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", ["model", "encoder"])
def test_padding_neighbours_and_order_change_no_score(body: str, toy_model: Any, tokenizer: Any) -> None:
    torch.manual_seed(0)
    model = (
        RewardModel.on_model(toy_model(39), tokenizer)
        if body == "model"
        else RewardModel.on_encoder(SHAPE, tokenizer, seed=3)
    )
    prompts, completions = [[5, 6], [7], [8, 9, 10]], [[4, 0], [3, 2, 1, 0], [11]]
    together = model.raw_scores(rows(prompts, completions))
    for i in range(3):
        alone = model.raw_scores(rows([prompts[i]], [completions[i]]))
        torch.testing.assert_close(alone[0], together[i], rtol=1e-5, atol=1e-6)
    back = model.raw_scores(rows(prompts[::-1], completions[::-1]))
    torch.testing.assert_close(back.flip(0), together, rtol=1e-5, atol=1e-6)
    wide = rows(prompts, completions)
    padded = Sequences(
        ids=nn.functional.pad(wide.ids, (0, 3), value=12),
        prompt_lengths=wide.prompt_lengths,
        completion_lengths=wide.completion_lengths,
    )
    torch.testing.assert_close(model.raw_scores(padded), together, rtol=1e-5, atol=1e-6)


def test_the_end_mark_is_read_where_padding_has_its_id(toy_model: Any, tokenizer: Any) -> None:
    """Id 0 is the end mark and the padding: whoever looks for the last id that is not padding misses the end."""
    torch.manual_seed(0)
    model = RewardModel.on_model(toy_model(39), tokenizer)
    ended, cut = model.raw_scores(rows([[5, 6], [5, 6]], [[4, 0], [4]]))
    assert ended != cut
    empty = model.raw_scores(rows([[5, 6], [5, 6, 7]], [[0], [8, 0]]))[0]  # an answer that is nothing but its end
    body: Any = model.body
    with evaluating(model):
        features = body.features(torch.tensor([[5, 6, 0]]))
    torch.testing.assert_close(empty, model.head(features[0, 2])[0].detach())


def test_the_encoder_reads_both_ways_and_a_model_does_not(toy_model: Any, tokenizer: Any) -> None:
    encoder = Encoder(**SHAPE).eval()
    ids, lengths = torch.tensor([[5, 6, 7, 8]]), torch.tensor([4])
    hidden = encoder.tokens(ids) + encoder.positions(torch.arange(4))
    changed = hidden.clone()
    changed[0, 3] += 1
    real = torch.ones(1, 4, dtype=torch.bool)
    block: Any = encoder.blocks[0]
    assert not torch.equal(block(hidden, real)[0, 0], block(changed, real)[0, 0])
    assert encoder(ids, lengths).shape == (1, 16)


def test_the_encoder_is_torchs(tokenizer: Any) -> None:
    """One block against torch's own layer, normalised first, with the same weights and a mask of padding."""
    torch.manual_seed(0)
    block: Any = Encoder(**{**SHAPE, "n_layer": 1, "dropout": 0.0}).eval().blocks[0]
    layer = nn.TransformerEncoderLayer(
        16, 2, 64, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    ).eval()
    layer.self_attn.in_proj_weight, layer.self_attn.in_proj_bias = block.qkv.weight, block.qkv.bias
    layer.self_attn.out_proj = block.out
    layer.norm1, layer.norm2 = block.norm_attention, block.norm_mlp
    layer.linear1, layer.linear2 = block.mlp[0], block.mlp[2]
    x, real = torch.randn(3, 5, 16), torch.arange(5) < torch.tensor([[5], [2], [4]])
    wanted = layer(x, src_key_padding_mask=~real)
    torch.testing.assert_close(block(x, real)[real], wanted[real], rtol=1e-5, atol=1e-5)


def test_the_head_starts_as_it_should(toy_model: Any, tokenizer: Any) -> None:
    weights = torch.cat(
        [RewardModel.on_model(toy_model(39, n_embd=24), tokenizer, seed=i).head.weight.detach() for i in range(60)]
    )
    assert float(weights.std()) == pytest.approx(1 / 5, rel=0.05)  # 1 / sqrt(24 + 1)
    model = toy_model(39)
    state = torch.get_rng_state()
    RewardModel.on_model(model, tokenizer, seed=1)
    RewardModel.on_encoder(SHAPE, tokenizer, seed=1)
    assert torch.equal(torch.get_rng_state(), state)


def test_normalised_scores_have_mean_0_and_deviation_1(tokenizer: Any) -> None:
    model = RewardModel.on_encoder(SHAPE, tokenizer, seed=0)
    some = rows([[i] for i in range(1, 21)], [[i + 1, 0] for i in range(1, 21)])
    model.normalise_on(some)
    scores = model.score(some)
    assert float(scores.mean()) == pytest.approx(0, abs=1e-5)
    assert float(scores.std(correction=0)) == pytest.approx(1, abs=1e-4)
    assert not scores.requires_grad
    model.normalise_on(rows([[1]], [[2, 0]]))  # a single one has no deviation
    assert float(model.std) == 1
    with torch.no_grad():
        model.head.weight.fill_(torch.nan)
    with pytest.raises(ValueError, match="not finite"):
        model.score(some)


# --- training --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss_type", ["bt", "margin", "hinge"])
@pytest.mark.parametrize("body", ["model", "encoder"])
def test_it_learns_to_tell_them_apart(build: Callable[..., Reward], loss_type: str, body: str) -> None:
    pairs = [Pair(f"{n} =", f" {n}", f" {'xyz'[n % 3]}{n}") for n in range(40)]
    trainer = build(task=PairTask(pairs), loss_type=loss_type, body=body, steps=40, lr=1e-2, encoder_embd=32)
    before = trainer.evaluate()
    first, *_, last = trainer.train()
    after = trainer.evaluate()
    assert last["loss"] < first["loss"]
    assert last["accuracy"] >= 0.9
    assert after["loss"] < before["loss"]
    assert set(after) == {"accuracy", "margin", "loss", "ece", "length_bias", "pairs"}
    assert last["min_reward"] <= last["mean_reward"] <= last["max_reward"]
    assert len(trainer.samples(3)) == 3


@pytest.mark.parametrize("body", ["model", "encoder"])
def test_resume_is_bit_equal(build: Callable[..., Reward], resume: Any, body: str) -> None:
    for k in (1, 3):
        resume(lambda seed: _reseeded(build, seed, body), k, 4)


def _reseeded(build: Callable[..., Reward], seed: int, body: str) -> Reward:
    """The same run, with another start of the model where `seed` is another."""
    trainer = build(body=body, dropout=0.2, disable_dropout=False, encoder_dropout=0.2)
    if seed:
        with torch.no_grad():
            for parameter in trainer.reward_model.parameters():
                parameter.add_(0.1)
    return trainer


@pytest.mark.parametrize("parts_", [2, 3, 8])
@pytest.mark.parametrize("loss_type", ["bt", "margin"])
def test_the_split_changes_nothing(build: Callable[..., Reward], parts_: int, loss_type: str) -> None:
    whole, pieces = build(loss_type=loss_type), build(loss_type=loss_type, grad_accum_steps=parts_)
    a, b = next(iter(whole.train())), next(iter(pieces.train()))
    for name in ("loss", "grad_norm", "accuracy", "margin", "min_reward", "max_reward"):
        assert a[name] == pytest.approx(b[name], rel=1e-4, abs=1e-6), name
    for one, other in zip(whole.named.values(), pieces.named.values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_margins_of_the_data_count(build: Callable[..., Reward]) -> None:
    pairs = [Pair(f"{n} =", f" {n}", f" {n + 1}", 0.5 * (n % 2)) for n in range(16)]
    plain = build(task=PairTask([Pair(p.prompt, p.chosen, p.rejected) for p in pairs]), batch_size=16)
    margins = build(task=PairTask(pairs), batch_size=16)
    assert next(iter(margins.train()))["loss"] > next(iter(plain.train()))["loss"]
    assert margins._margins([0, 1]).tolist() == [0.0, 0.5]
    hinge = build(task=PairTask([*pairs, Pair("9 =", " 9", " 8")]), loss_type="margin", margin=2.0)
    assert hinge._margins([1, 16]).tolist() == [0.5, 2.0]


def test_evaluation_looks_at_a_bounded_number(build: Callable[..., Reward]) -> None:
    assert build(eval_pairs=5).evaluate()["pairs"] == 5


# --- bad data --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (Pair("1 =", " 1", None), "pair 2: has no rejected"),
        (Pair("1 =", None, " 1"), "pair 2: has no chosen"),
        (Pair(None, " 1", " 2"), "pair 2: has no prompt"),
        (Pair("", " 1", " 2"), "pair 2: its prompt has no tokens"),
        (Pair("1 =", " 1", " 2", float("nan")), "pair 2: margin is nan"),
    ],
)
def test_a_pair_that_lacks_something_is_named(build: Callable[..., Reward], pair: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        build(task=PairTask([Pair("3 =", " 3", " 4"), pair]))


def test_equal_sides_and_long_pairs_are_left_out_and_counted(build: Callable[..., Reward]) -> None:
    pairs = [Pair("1 =", " 1", " 2"), Pair("1 =", " 1", " 1"), Pair("1 =", " 1", " 1" * 40)]
    with pytest.warns(UserWarning, match="left out 1 with equal sides and 1 that do not fit into 64 tokens, of 3"):
        trainer = build(task=PairTask(pairs))
    assert len(trainer.pairs) == 1
    with pytest.raises(DoesNotFit, match="no pair is left of 1"):
        build(task=PairTask(pairs[1:2]))
    with pytest.raises(DoesNotFit, match="no pair is left of 0"):
        build(task=PairTask([]))


def test_an_empty_side_is_a_side(build: Callable[..., Reward]) -> None:
    """An answer of nothing but its end can be preferred, or not."""
    trainer = build(task=PairTask([Pair("1 =", " 1", ""), Pair("2 =", "", " 9")]), batch_size=2)
    assert trainer.pairs.rejected[0] == [0]
    assert all(torch.isfinite(torch.tensor(metrics["loss"])) for metrics in trainer.train())


def test_a_tokenizer_without_an_end_is_refused(build: Callable[..., Reward], parts: Any, tokenizer: Any) -> None:
    endless = type(tokenizer)(eos_id=None)
    with pytest.raises(DoesNotFit, match="has no eos_id"):
        Reward(RewardConfig(), **(parts(PairTask()) | {"tokenizer": endless}))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"loss_type": "mse"}, "loss_type: got 'mse', must be one of bt, margin, hinge"),
        ({"body": "pool"}, "body: got 'pool'"),
        ({"margin": 0.0}, "margin: got 0.0, must be positive"),
        ({"center_rewards_coefficient": -1.0}, "center_rewards_coefficient: got -1.0"),
        ({"encoder_embd": 30}, r"encoder_embd: got 30, must be a multiple of encoder_heads \(4\)"),
        ({"encoder_dropout": 1.0}, "encoder_dropout: got 1.0"),
        ({"batch_size": 2, "grad_accum_steps": 3}, "grad_accum_steps: got 3"),
        ({"reference_pairs": 0}, "reference_pairs: got 0"),
    ],
)
def test_options_that_make_no_sense(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RewardConfig(**wrong)

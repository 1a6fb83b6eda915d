"""Reward models: what they read, what training does, what is on disk, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest
import torch
from torch import nn

from align_scratch.config.reward import RewardConfig
from align_scratch.encoder import Encoder
from align_scratch.errors import DataError, DoesNotFit
from align_scratch.reward import Reward
from align_scratch.reward_model import RewardModel, evaluating, tokenizer_hash
from align_scratch.tasks.problems import Pair
from inference_scratch.score import Sequences, pack

SHAPE = {"vocab_size": 39, "n_layer": 2, "n_head": 2, "n_embd": 16, "max_length": 24, "dropout": 0.1}
SMALL = {"batch_size": 8, "warmup_steps": 0, "encoder_layers": 1, "encoder_heads": 2, "encoder_embd": 16}


class PairTask:
    """Right sums are chosen; the rejected are longer, shorter or as long."""

    def __init__(self, pairs: list[Any] | None = None) -> None:
        self.given = pairs

    def pairs(self, split: str) -> list[Any]:
        if self.given is not None:
            return self.given
        numbers = range(0, 40) if split == "train" else range(40, 60)
        return [Pair(f"{n} =", f" {n}", f" {n + 1}" + (" 0" if n % 3 == 0 else "")) for n in numbers]


class SavedModel(nn.Module):
    """A language model that can be loaded, as those of a host can."""

    vocab_size, max_length = 39, 64

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embed = nn.Embedding(39, 12)
        self.mix = nn.GRU(12, 12, batch_first=True)
        self.out = nn.Linear(12, 39)

    def features(self, ids: torch.Tensor, /, *, lengths: Any = None, cache: Any = None) -> torch.Tensor:
        return self.mix(self.embed(ids))[0]

    def head(self, features: torch.Tensor, /) -> torch.Tensor:
        return self.out(features)

    def save(self, directory: Path, /) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        table = {name: tensor.tolist() for name, tensor in self.state_dict().items()}
        (directory / "weights.json").write_text(json.dumps(table))

    @classmethod
    def load(cls, directory: Path, /) -> Self:
        model = cls()
        table = json.loads((directory / "weights.json").read_text())
        model.load_state_dict({name: torch.tensor(values) for name, values in table.items()})
        return model


class OtherModel(SavedModel):
    pass


@pytest.fixture
def build(parts: Callable[..., dict[str, Any]]) -> Callable[..., Reward]:
    def make(seed: int = 0, task: Any = None, dropout: float = 0.0, **options: Any) -> Reward:
        return Reward(
            RewardConfig(**{"steps": 4, **SMALL, **options}),
            **parts(task or PairTask(), seed=seed, dropout=dropout),
        )

    return make


def rows(prompts: list[list[int]], completions: list[list[int]]) -> Sequences:
    return pack(prompts, completions)


# --- what is read


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


# --- training


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


# --- what is on disk


@pytest.fixture
def run(tmp_path: Path, tokenizer: Any) -> tuple[Path, Reward]:
    """A finished run, as a host leaves it."""
    trainer = Reward(RewardConfig(steps=3, **SMALL), model=SavedModel(), tokenizer=tokenizer, task=PairTask())
    list(trainer.train())
    trainer.reward_model.body.save(tmp_path / "model")
    trainer.save(tmp_path / "trainer")
    return tmp_path, trainer


SOME = rows([[5, 6], [7], [8, 9, 10]], [[4, 0], [3, 2, 1, 0], [11]])


def test_a_loaded_model_scores_as_the_saved_one(run: tuple[Path, Reward], tokenizer: Any) -> None:
    path, trainer = run
    loaded = RewardModel.load(path, SavedModel(seed=9), tokenizer=tokenizer)
    torch.testing.assert_close(loaded.raw_scores(SOME), trainer.reward_model.raw_scores(SOME))
    assert float(loaded.std) != 1
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert not loaded.training
    reference = trainer.pairs.batch(range(40), "cpu")
    assert float(loaded.score(reference).mean()) == pytest.approx(0, abs=1e-4)
    assert {p.name for p in (path / "trainer").iterdir()} == {"reward_model.json", "head.safetensors"}


def test_a_saved_encoder_needs_no_model(tmp_path: Path, tokenizer: Any) -> None:
    trainer = Reward(
        RewardConfig(steps=2, body="encoder", **SMALL), model=SavedModel(), tokenizer=tokenizer, task=PairTask()
    )
    list(trainer.train())
    trainer.save(tmp_path / "trainer")
    loaded = RewardModel.load(tmp_path, OtherModel(), tokenizer=tokenizer)
    torch.testing.assert_close(loaded.raw_scores(SOME), trainer.reward_model.raw_scores(SOME))
    assert trainer.reward_model.max_length == 64  # as much as the model can read


def test_another_tokenizer_or_model_is_refused(run: tuple[Path, Reward], tokenizer: Any) -> None:
    path, _ = run
    other = type(tokenizer)("=+0123456789 abcdefghijklmnopqrstuvwxyz")
    assert tokenizer_hash(other, 39) != tokenizer_hash(tokenizer, 39)
    with pytest.raises(DoesNotFit, match="another tokenizer"):
        RewardModel.load(path, SavedModel(), tokenizer=other)
    with pytest.raises(DoesNotFit, match="made of the model SavedModel"):
        RewardModel.load(path, OtherModel(), tokenizer=tokenizer)
    with pytest.raises(DoesNotFit, match="holds no reward model"):
        RewardModel.load(path / "model", SavedModel(), tokenizer=tokenizer)


def test_another_vocabulary_is_refused(tmp_path: Path, tokenizer: Any) -> None:
    RewardModel.on_encoder(SHAPE, tokenizer).save(tmp_path)
    larger = type(tokenizer)(tokenizer.characters + "-")
    with pytest.raises(DoesNotFit, match=r"another vocabulary \(39, here 40\)"):
        RewardModel.on_encoder({**SHAPE, "vocab_size": 40}, larger).read_head(tmp_path)
    RewardModel.on_encoder(SHAPE, tokenizer).save(tmp_path / "trainer")
    model = SavedModel()
    model.vocab_size = 12  # a tokenizer that could not even read the ids that the reward model knows
    with pytest.raises(DoesNotFit, match=r"another vocabulary \(39, here 12\)"):
        RewardModel.load(tmp_path, model, tokenizer=type(tokenizer)("0123456789 "))


def test_an_adapter_needs_one_of_its_kind(run: tuple[Path, Reward], tokenizer: Any) -> None:
    path, trainer = run

    class Doubling:
        """Loaded, it doubles the features' weights; as an adapter would, it knows its own files."""

        @classmethod
        def load(cls, directory: Path) -> Self:
            assert (directory / "adapter.json").is_file()
            return cls()

        def wrap(self, model: Any) -> None:
            with torch.no_grad():
                model.embed.weight.mul_(2)

    (path / "adapter").mkdir()
    (path / "adapter" / "adapter.json").write_text("{}")
    with pytest.raises(
        DoesNotFit, match="and can only be read in a run with an adapter of that kind; this one has none"
    ):
        RewardModel.load(path, SavedModel(), tokenizer=tokenizer)
    adapter: Any = Doubling()  # makes another body than the head was saved with
    with pytest.raises(DataError, match="does not belong to this body"):
        RewardModel.load(path, SavedModel(), tokenizer=tokenizer, adapter=adapter)
    with torch.no_grad():
        trainer.reward_model.body.embed.weight.mul_(2)
    trainer.save(path / "trainer")
    loaded = RewardModel.load(path, SavedModel(), tokenizer=tokenizer, adapter=adapter)
    torch.testing.assert_close(loaded.raw_scores(SOME), trainer.reward_model.raw_scores(SOME))

    # The run says which one it needs, by the class that was there and by the name that the host knows.
    about = path / "trainer" / "reward_model.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"adapter": "some.adapters:Halving"}))
    with pytest.raises(
        DoesNotFit, match=r"trained with the adapter some\.adapters:Halving, .* this one has .*Doubling:"
    ):
        RewardModel.load(path, SavedModel(), tokenizer=tokenizer, adapter=adapter)
    (path / "run.toml").write_text('[adapter]\nname = "halving"\n')
    for other in (adapter, None):
        with pytest.raises(DoesNotFit, match=r"with the adapter halving, .*: give it --adapter halving, or train"):
            RewardModel.load(path, SavedModel(), tokenizer=tokenizer, adapter=other)
    adapted = Reward(RewardConfig(**SMALL, body="model"), model=SavedModel(), tokenizer=tokenizer, task=PairTask(),
                     adapter=adapter)  # fmt: skip
    recorded = adapted.reward_model.about["adapter"]
    about.write_text(json.dumps(json.loads(about.read_text()) | {"adapter": recorded}))
    RewardModel.load(path, SavedModel(), tokenizer=tokenizer, adapter=adapter)


def test_a_body_that_was_exchanged_is_noticed(run: tuple[Path, Reward], tokenizer: Any) -> None:
    path, _ = run
    SavedModel(seed=7).save(path / "model")
    with pytest.raises(DataError, match="does not belong to this body"):
        RewardModel.load(path, SavedModel(), tokenizer=tokenizer)
    (path / "model" / "weights.json").write_text("{}")
    with pytest.raises(DataError, match="its model cannot be read"):
        RewardModel.load(path, SavedModel(), tokenizer=tokenizer)


def _weights(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Put other tensors in, with the right hash: what is then refused is what is in them."""
    from hashlib import sha256

    from safetensors.torch import save

    raw = save(tensors)
    (path / "trainer" / "head.safetensors").write_bytes(raw)
    about = json.loads((path / "trainer" / "reward_model.json").read_text())
    (path / "trainer" / "reward_model.json").write_text(json.dumps({**about, "weights": sha256(raw).hexdigest()}))


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"weight": torch.zeros(1, 13), "bias": torch.zeros(1)}, r"weight is torch.float32 \(1, 13\), must be"),
        ({"weight": torch.zeros(1, 12, dtype=torch.int64), "bias": torch.zeros(1)}, "weight is torch.int64"),
        ({"weight": torch.full((1, 12), torch.nan), "bias": torch.zeros(1)}, "numbers that are not finite"),
        ({"weight": torch.zeros(1, 12)}, "other tensors than such a model: bias"),
        ({"weight": torch.zeros(1, 12), "bias": torch.zeros(1), "x": torch.zeros(1)}, "other tensors .*: x"),
    ],
)
def test_wrong_tensors_are_refused(
    run: tuple[Path, Reward], tokenizer: Any, tensors: dict[str, torch.Tensor], message: str
) -> None:
    path, _ = run
    _weights(path, tensors)
    with pytest.raises(DataError, match=message):
        RewardModel.load(path, SavedModel(), tokenizer=tokenizer)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "describes no reward model"),
        ({"body": "pickle"}, "describes no reward model"),
        ({"mean": "0"}, "mean is '0', must be a finite number"),
        ({"std": 0}, "std is 0.0, must be positive"),
        ({"std": 1e999}, "std is inf"),
        ({"probe": None}, "probe is None"),
        ({"weights": "0"}, "not what was saved"),
    ],
)
def test_a_wrong_description_is_refused(
    run: tuple[Path, Reward], tokenizer: Any, change: dict[str, Any], message: str
) -> None:
    path, _ = run
    about = path / "trainer" / "reward_model.json"
    about.write_text(json.dumps({**json.loads(about.read_text()), **change}))
    with pytest.raises(DataError, match=message):
        RewardModel.load(path, SavedModel(), tokenizer=tokenizer)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b"\x80\x04N.", b" " * (2**20 + 1)], ids=range(7)
)
def test_damaged_files_are_one_error(run: tuple[Path, Reward], tokenizer: Any, content: bytes) -> None:
    path, _ = run
    kept = (path / "trainer" / "reward_model.json").read_bytes()
    (path / "trainer" / "reward_model.json").write_bytes(content)
    with pytest.raises(DataError):
        RewardModel.load(path, SavedModel(), tokenizer=tokenizer)
    (path / "trainer" / "reward_model.json").write_bytes(kept)
    (path / "trainer" / "head.safetensors").write_bytes(content)
    with pytest.raises(DataError, match="not readable"):
        RewardModel.load(path, SavedModel(), tokenizer=tokenizer)


@pytest.mark.parametrize(
    "shape",
    [{"n_layer": 10**9}, {"n_embd": 17}, {"dropout": 1.0}, {"dropout": "x"}, {"n_head": True}, {"max_length": 0}],
)
def test_a_shape_that_no_encoder_has_is_refused(tmp_path: Path, tokenizer: Any, shape: dict[str, Any]) -> None:
    RewardModel.on_encoder(SHAPE, tokenizer).save(tmp_path / "trainer")
    about = tmp_path / "trainer" / "reward_model.json"
    found = json.loads(about.read_text())
    about.write_text(json.dumps({**found, "encoder": {**found["encoder"], **shape}}))
    with pytest.raises(DataError):
        RewardModel.load(tmp_path, SavedModel(), tokenizer=tokenizer)


# --- bad data


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

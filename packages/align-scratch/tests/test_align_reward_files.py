"""Reward models on disk: what is saved, and what is refused when it is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

import pytest
import torch
from rewarded import SHAPE, SMALL, PairTask, rows
from torch import nn

from align_scratch.config.reward import RewardConfig
from align_scratch.errors import DataError, DoesNotFit
from align_scratch.reward import Reward
from align_scratch.reward_model import RewardModel, tokenizer_hash


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

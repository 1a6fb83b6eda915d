"""The model: shapes, the contract's identities, saving, and files that are damaged."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from embeddings_scratch.config import SkipGramConfig
from embeddings_scratch.errors import VectorsFileError
from embeddings_scratch.model import SkipGram


def build(vocab_size: int = 11, embed_dim: int = 5) -> SkipGram:
    torch.manual_seed(0)
    model = SkipGram(SkipGramConfig(embed_dim=embed_dim), vocab_size=vocab_size)
    torch.nn.init.normal_(model.output.weight)
    return model


def test_logits_are_word_vectors_times_context_vectors():
    model, ids = build(), torch.tensor([[1, 4, 4], [0, 10, 2]])
    logits = model(ids)
    assert logits.shape == (2, 3, 11)
    expected = model.input.weight[ids] @ model.output.weight.T
    torch.testing.assert_close(logits, expected)
    assert torch.equal(model.head(model.features(ids)), logits)
    assert model.features(ids).shape == (2, 3, 5)
    assert model.max_length is None
    assert model.vocab_size == 11


def test_pair_scores_are_entries_of_the_logits():
    model = build()
    centres, contexts = torch.tensor([3, 3, 7]), torch.tensor([[0, 1], [2, 2], [7, 10]])
    expected = model(centres[:, None])[:, 0].gather(1, contexts)
    torch.testing.assert_close(model.pair_scores(centres, contexts), expected)


def test_start_is_that_of_the_c_program():
    model = SkipGram(SkipGramConfig(embed_dim=20), vocab_size=500)
    assert not model.output.weight.any()
    assert model.input.weight.abs().max() <= 0.5 / 20
    assert model.input.weight.abs().max() > 0.49 / 20
    assert abs(float(model.input.weight.detach().mean())) < 0.001


def test_gradients_of_a_pair_touch_its_rows_only():
    model = build()
    model.pair_scores(torch.tensor([3]), torch.tensor([[0, 1]])).sum().backward()
    assert model.input.weight.grad.is_sparse
    assert model.input.weight.grad.coalesce().indices().tolist() == [[3]]
    assert model.output.weight.grad.coalesce().indices().tolist() == [[0, 1]]


def test_logits_reach_both_tables_with_dense_gradients():
    model = build()
    model(torch.arange(11)[None]).square().sum().backward()
    for parameter in model.parameters():
        assert not parameter.grad.is_sparse
        assert parameter.grad.abs().sum(dim=1).gt(0).all()


def test_cache_counts_positions_and_changes_nothing():
    model, ids = build(), torch.tensor([[1, 4, 4, 2], [0, 10, 2, 1]])
    cache = model.new_cache(2, 4)
    first = model(ids[:, :3], lengths=torch.tensor([3, 1]), cache=cache)
    assert cache.lengths.tolist() == [3, 1]
    second = model(ids[:, 3:], cache=cache)
    assert cache.lengths.tolist() == [4, 2]
    torch.testing.assert_close(torch.cat((first, second), dim=1), model(ids))
    assert cache.select(torch.tensor([1, 1, 0])).lengths.tolist() == [2, 2, 4]
    cache.truncate(torch.tensor([3, 9]))
    assert cache.lengths.tolist() == [3, 2]


def test_single_and_all_embeddings():
    model = build()
    table = model.get_all_embeddings()
    assert table.shape == (11, 5)
    assert not table.requires_grad
    assert torch.equal(model.get_word_embedding(7), table[7])
    for idx in (-1, 11):
        with pytest.raises(IndexError, match=f"got {idx}, must be from 0 to 10"):
            model.get_word_embedding(idx)


def test_no_vocabulary_is_refused():
    with pytest.raises(ValueError, match="vocab_size: got 0"):
        SkipGram(SkipGramConfig(), vocab_size=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_saved_model_comes_back_bit_for_bit(tmp_path, dtype):
    model = build().to(dtype)
    model.save(tmp_path / "new" / "folder")
    loaded = SkipGram.load(tmp_path / "new" / "folder")
    assert loaded.config == model.config
    assert loaded.vocab_size == 11
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)


def rewrite_config(folder, **changes):
    path = folder / "config.json"
    description = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in description.items() if v is not None}))


def rewrite_tables(folder, change):
    tables = load_file(folder / "model.safetensors")
    change(tables)
    save_file(tables, folder / "model.safetensors")


def truncate(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-7])


DAMAGE = {
    "no config": (lambda f: (f / "config.json").unlink(), "config.json: cannot be read"),
    "no tables": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors: cannot be read"),
    "no JSON": (lambda f: (f / "config.json").write_text("{"), "config.json: is no JSON"),
    "not UTF-8": (lambda f: (f / "config.json").write_bytes(b"\xff{}"), "config.json: is no JSON"),
    "a list": (lambda f: (f / "config.json").write_text("[]"), "expected an object"),
    "another model": (lambda f: rewrite_config(f, model="gpt"), "expected an object with"),
    "missing field": (lambda f: rewrite_config(f, vocab_size=None), "expected the fields embed_dim, vocab_size"),
    "extra field": (lambda f: rewrite_config(f, colour=3), "found colour"),
    "negative size": (lambda f: rewrite_config(f, vocab_size=-1), "expected a positive integer, found -1"),
    "size as text": (lambda f: rewrite_config(f, embed_dim="5"), "expected a positive integer, found '5'"),
    "huge size": (lambda f: rewrite_config(f, vocab_size=10**15), "says shape .1000000000000000, 5., found .11, 5."),
    "truncated": (truncate, "model.safetensors: cannot be read"),
    "table missing": (lambda f: rewrite_tables(f, lambda t: t.pop("input.weight")), "found output.weight"),
    "NaN": (lambda f: rewrite_tables(f, lambda t: t["input.weight"][4].fill_(torch.nan)), "input.weight: row 4"),
    "integers": (
        lambda f: rewrite_tables(f, lambda t: t.update({"output.weight": torch.zeros(11, 5, dtype=torch.int64)})),
        "expected floating-point numbers",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_files_are_named(tmp_path, kind):
    build().save(tmp_path)
    damage, message = DAMAGE[kind]
    damage(tmp_path)
    with pytest.raises(VectorsFileError, match=message) as caught:
        SkipGram.load(tmp_path)
    assert caught.value.exit_code == 3
    assert str(tmp_path) in str(caught.value)

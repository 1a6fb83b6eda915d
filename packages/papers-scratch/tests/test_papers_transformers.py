"""Model `transformers` against the bare models: logits, gradients, generation, files, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import transformers

from inference_scratch.config import GreedyConfig, MultinomialConfig
from inference_scratch.generate import generate
from inference_scratch.samplers import Greedy, Multinomial
from inference_scratch.score import completion_log_probs, join, pack
from papers_scratch.config.transformers_model import TransformersConfig
from papers_scratch.errors import ModelFileError, ModelNotFound, ModelNotSupported
from papers_scratch.transformers_model import TransformersLM

ARCHITECTURES = ("llama", "qwen2", "gpt2", "mistral", "gpt_neox", "phi", "qwen3", "opt")
SCALED = {
    "gemma2": {"final_logit_softcapping": 3.0},
    "cohere": {"logit_scale": 0.3},
    "granite": {"logits_scaling": 4.0},
}
V = 61


def make(architecture: str, **changed: Any) -> TransformersLM:
    torch.manual_seed(0)
    config = TransformersConfig(architecture=architecture, n_layer=2, n_head=2, n_embd=16, max_length=48, **changed)
    model = TransformersLM(config, vocab_size=V)
    with torch.no_grad():
        for parameter in model.parameters():  # far from uniform, so that errors show
            if parameter.dim() >= 2:
                parameter.mul_(6)
    return model.eval()


def prompts(seed: int = 1) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(0, V, (n,), generator=generator).tolist() for n in (3, 9, 1, 5)]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_and_gradients_are_the_bare_models(architecture: str) -> None:
    model = make(architecture)
    ids = torch.randint(0, V, (3, 12), generator=torch.Generator().manual_seed(2))
    logits = model(ids)
    expected = model.model(input_ids=ids).logits
    assert torch.equal(logits, expected)
    found = torch.autograd.grad(logits.square().sum(), list(model.parameters()), allow_unused=True)
    bare = torch.autograd.grad(expected.square().sum(), list(model.model.parameters()), allow_unused=True)
    for f, b in zip(found, bare, strict=True):
        assert (f is None) == (b is None)
        assert f is None or torch.equal(f, b)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_cached_generation_is_the_bare_models(architecture: str) -> None:
    """Rows of different lengths at once, against transformers' own greedy generation of each row alone."""
    model = make(architecture)
    rows = prompts()
    found = generate(
        model,
        rows,
        sampler=Greedy(GreedyConfig()),
        max_new_tokens=12,
        generator=torch.Generator(),
        eos_id=None,
    ).to_lists()
    for row, tokens in zip(rows, found, strict=True):
        expected = model.model.generate(
            torch.tensor([row]), attention_mask=torch.ones(1, len(row), dtype=torch.int64), max_new_tokens=12,
            min_new_tokens=12, do_sample=False, pad_token_id=0,
        )  # fmt: skip
        assert tokens == expected[0, len(row) :].tolist()


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_what_was_sampled_is_scored_with_the_same_probability(architecture: str) -> None:
    model = make(architecture)
    sampler = Multinomial(MultinomialConfig())
    rows = prompts()
    found = generate(
        model, rows, sampler=sampler, max_new_tokens=10, generator=torch.Generator().manual_seed(3), eos_id=7,
        samples_per_prompt=3,
    )  # fmt: skip
    scored, _ = completion_log_probs(model, join(rows, found), sampler=sampler)
    torch.testing.assert_close(scored, found.log_probs, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("architecture", "settings"), SCALED.items())
def test_what_is_done_to_logits_behind_the_head_is_part_of_the_head(
    architecture: str, settings: dict[str, float], tmp_path: Path
) -> None:
    made = make(architecture, dtype="float32")
    made.model.config.update(settings)
    made.model.save_pretrained(tmp_path)
    model = TransformersLM(TransformersConfig(path=str(tmp_path)), vocab_size=V).eval()
    ids = torch.arange(10)[None]
    assert torch.equal(model(ids), model.model(input_ids=ids).logits)
    plain = model.model.get_output_embeddings()(model.features(ids))
    assert not torch.allclose(plain, model(ids), atol=1e-3)


def test_new_models_have_the_sizes_asked_for() -> None:
    config = TransformersConfig(
        architecture="qwen2", n_layer=3, n_head=4, n_kv_head=2, n_embd=32, n_inner=40, max_length=77
    )
    model = TransformersLM(config, vocab_size=V)
    settings = model.model.config
    assert (settings.num_hidden_layers, settings.num_key_value_heads, settings.intermediate_size) == (3, 2, 40)
    assert (model.max_length, model.vocab_size, settings.vocab_size) == (77, V, V)
    assert model.get_output_embeddings().weight.shape == (V, 32)
    half = TransformersLM(TransformersConfig(n_layer=1, n_embd=16, n_head=2, dtype="bfloat16"), vocab_size=V)
    assert next(half.parameters()).dtype == torch.bfloat16


def test_a_table_larger_than_the_vocabulary_is_never_sampled_from(tmp_path: Path) -> None:
    make("llama").model.save_pretrained(tmp_path)
    model = TransformersLM(TransformersConfig(path=str(tmp_path)), vocab_size=50)
    ids = torch.arange(6)[None]
    assert torch.equal(model(ids), model.model(input_ids=ids).logits[..., :50])
    with pytest.raises(ModelNotSupported, match="has 61 ids, but the tokenizer has 62"):
        TransformersLM(TransformersConfig(path=str(tmp_path)), vocab_size=62)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_saved_is_read_by_both(architecture: str, tmp_path: Path) -> None:
    model = make(architecture)
    model.save(tmp_path)
    ids = torch.arange(20).view(2, 10)
    again = TransformersLM.load(tmp_path).eval()
    assert again.vocab_size == V
    assert torch.equal(again(ids), model(ids))
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert torch.equal(theirs(input_ids=ids).logits, model(ids))


def test_a_sliding_window_limits_the_length(tmp_path: Path) -> None:
    """Within the window attention sees everything, so rows with padding between their positions are exact."""
    made = make("mistral")
    made.model.config.sliding_window = 16
    made.model.save_pretrained(tmp_path)
    model = TransformersLM(TransformersConfig(path=str(tmp_path)), vocab_size=V).eval()
    assert model.max_length == 16
    cache = model.new_cache(2, 16)
    ids = torch.arange(32).view(2, 16)
    first = model(ids[:, :8], lengths=torch.tensor([8, 2]), cache=cache)
    rest = model(torch.stack((ids[0, 8:], ids[1, 2:10])), cache=cache)
    assert torch.allclose(first[0], model(ids[:1, :8])[0], atol=1e-5)
    assert torch.allclose(rest[1], model(ids[1:, :10])[0, 2:], atol=1e-5)
    assert torch.allclose(rest[0], model(ids[:1])[0, 8:], atol=1e-5)


@pytest.mark.parametrize("architecture", ["gpt2", "opt", "llama"])
def test_padding_behind_a_row_that_is_nearly_full_is_at_no_position_that_there_is_not(architecture: str) -> None:
    torch.manual_seed(0)
    sizes = TransformersConfig(architecture=architecture, n_layer=1, n_head=2, n_embd=16, max_length=12)
    model = TransformersLM(sizes, vocab_size=20).eval()
    ids = torch.randint(0, 20, (2, 12))
    cache = model.new_cache(2, 12)
    model(ids[:, :10], lengths=torch.tensor([10, 2]), cache=cache)
    new = torch.stack((torch.nn.functional.pad(ids[0, 10:11], (0, 4)), ids[1, 2:7]))  # (2, 5)
    found = model(new, lengths=torch.tensor([1, 5]), cache=cache)
    assert torch.allclose(found[0, 0], model(ids)[0, 10], atol=1e-5)
    assert torch.allclose(found[1], model(ids)[1, 2:7], atol=1e-5)


def test_forgotten_slots_are_given_back() -> None:
    model = make("llama")
    cache = model.new_cache(2, 40)
    ids = torch.arange(40).view(2, 20)
    model(ids, lengths=torch.tensor([20, 4]), cache=cache)
    cache.truncate(torch.tensor([3, 3]))
    assert cache.lengths.tolist() == [3, 3]
    assert cache.full
    assert cache.slots.get_seq_length() == 3
    cache.truncate(torch.tensor([0, 0]))
    assert cache.slots.get_seq_length() == 0
    assert torch.allclose(model(ids, cache=cache), model(ids), atol=1e-5)
    with pytest.raises(ValueError, match="60 positions, but it was made for 40"):
        model(torch.cat((ids, ids), 1), cache=cache)


def test_slots_keep_what_they_hold_in_every_mode_of_autograd_and_beyond_their_first_memory() -> None:
    model = make("llama")
    ids = torch.randint(0, V, (2, 12), generator=torch.Generator().manual_seed(4))
    cache = model.new_cache(2, 9)
    parts = []
    with torch.inference_mode():
        parts += [model(ids[:, :3], lengths=torch.tensor([3, 1]), cache=cache)]
        parts += [model(ids[:, 3:4], cache=cache)]
    with torch.no_grad():
        parts += [model(ids[:, 4:6], cache=cache)]
    parts += [model(ids[:, 6:7], cache=cache)]
    with torch.inference_mode():
        parts += [model(ids[:, 7:9], cache=cache)]
        half = cache.select(torch.tensor([1]))
        parts += [torch.cat((torch.zeros(1, 2, V), model(ids[1:, 9:11], cache=half)))]  # two slots are padding
        found = torch.cat(parts, 1)
    assert half.lengths.tolist() == [9]
    assert torch.allclose(found[0, :9], model(ids[:1, :9])[0], atol=1e-5)
    second = torch.cat((ids[1, :1], ids[1, 3:11]))[None]
    assert torch.allclose(torch.cat((found[1, :1], found[1, 3:])), model(second)[0], atol=1e-5)


def test_models_that_do_not_keep_the_contract_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelNotSupported, match="'nonsense' cannot be made"):
        TransformersLM(TransformersConfig(architecture="nonsense"), vocab_size=V)
    with pytest.raises(ModelNotSupported, match="'vit' cannot be made: Unrecognized"):
        TransformersLM(TransformersConfig(architecture="vit"), vocab_size=V)
    for recurrent in ("mamba", "rwkv"):
        with pytest.raises(ModelNotSupported):
            TransformersLM(TransformersConfig(architecture=recurrent, n_layer=1), vocab_size=V)
    original = transformers.LlamaForCausalLM.forward

    def scaled(self: Any, *args: Any, **rest: Any) -> Any:
        output = original(self, *args, **rest)
        output.logits = output.logits * 2
        return output

    monkeypatch.setattr(transformers.LlamaForCausalLM, "forward", scaled)
    with pytest.raises(ModelNotSupported, match="not its head applied"):
        TransformersLM(TransformersConfig(n_layer=1), vocab_size=V)


def test_files_that_are_missing_or_damaged_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def open_at(path: Path | str, **changed: Any) -> str:
        with pytest.raises((ModelFileError, ModelNotFound, ModelNotSupported)) as error:
            TransformersLM(TransformersConfig(path=str(path), **changed), vocab_size=V)
        return f"{error.value.exit_code} {error.value}"  # type: ignore[attr-defined]

    assert open_at(tmp_path).startswith(f"5 {tmp_path}: has no config.json")
    assert open_at("nobody/nothing", local_only=True).startswith("4 nobody/nothing: no such directory")
    good = tmp_path / "good"
    make("llama").save(good)
    pickled = tmp_path / "pickled"
    shutil.copytree(good, pickled)
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    assert open_at(pickled).startswith("5 ")
    damaged = tmp_path / "damaged"
    shutil.copytree(good, damaged)
    raw = (damaged / "model.safetensors").read_bytes()
    (damaged / "model.safetensors").write_bytes(raw[: len(raw) // 2])
    assert open_at(damaged).startswith("5 ")
    for architecture, lost in (
        ("llama", "model.layers.0.mlp.down_proj.weight"),
        ("gpt2", "transformer.h.0.mlp.c_fc.weight"),
    ):
        partial = tmp_path / f"partial-{architecture}"
        make(architecture).save(partial)
        tensors = safetensors.torch.load_file(partial / "model.safetensors")
        del tensors[lost]
        safetensors.torch.save_file(tensors, partial / "model.safetensors", metadata={"format": "pt"})
        assert open_at(partial).startswith(f"5 {partial}: has no {lost}")
    unknown = tmp_path / "unknown"
    shutil.copytree(good, unknown)
    settings = json.loads((unknown / "config.json").read_text())
    (unknown / "config.json").write_text(json.dumps(settings | {"model_type": "nonsense"}))
    assert open_at(unknown).startswith("2 ")
    (good / "scratch_model.json").write_text("{}")
    with pytest.raises(ModelFileError, match="missing or damaged"):
        TransformersLM.load(good)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"n_layer": 0}, "n_layer: got 0"),
        ({"dtype": "int8"}, "dtype: got 'int8'"),
        ({"n_embd": 20, "n_head": 3}, "n_embd: got 20"),
        ({"n_head": 4, "n_kv_head": 3}, "n_kv_head: got 3"),
        ({"path": ""}, "path: got ''"),
        ({"attention": "flash"}, "attention: got 'flash'"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        TransformersConfig(**options)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_prompt_computed_once_for_its_group_gives_the_gradients_of_rows_of_their_own(architecture: str) -> None:
    model = make(architecture)
    generator = torch.Generator().manual_seed(4)
    parts = torch.randint(0, V, (4, 9), generator=generator), torch.randint(0, V, (7, 6), generator=generator)
    prompt_of, prompt_lengths = torch.tensor([0, 0, 1, 3, 2, 2, 1]), torch.tensor([9, 3, 1, 5])
    lengths = torch.tensor([6, 2, 0, 5, 6, 1, 4])
    together = model.features_after(*parts, prompt_of, prompt_lengths=prompt_lengths, lengths=lengths)
    assert together is not None
    shared = together[1]
    loss, expected = torch.zeros(()), torch.zeros(())
    for row, prompt in enumerate(prompt_of.tolist()):
        start, length = int(prompt_lengths[prompt]), int(lengths[row])
        ids = torch.cat((parts[0][prompt, :start], parts[1][row, :length]))
        alone = model.features(ids[None])[0, start:]
        torch.testing.assert_close(shared[row, :length], alone, rtol=1e-4, atol=1e-4)
        loss, expected = loss + shared[row, :length].sin().sum(), expected + alone.sin().sum()
    found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    wanted = torch.autograd.grad(expected, list(model.parameters()), allow_unused=True)
    for f, w in zip(found, wanted, strict=True):
        assert (f is None) == (w is None)
        if f is not None and w is not None:
            torch.testing.assert_close(f, w, rtol=1e-3, atol=max(1e-5, 1e-3 * float(w.abs().max())))


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of transformers, about its own arguments
def test_under_gradient_checkpointing_every_row_has_a_prompt_of_its_own() -> None:
    """transformers then drops its cache with a warning, and a completion would not see its prompt."""
    model = make("llama")
    rows = prompts()
    found = generate(
        model, rows, sampler=Multinomial(MultinomialConfig()), max_new_tokens=6,
        generator=torch.Generator().manual_seed(3), samples_per_prompt=3,
    )  # fmt: skip
    model.model.gradient_checkpointing_enable()
    model.train()
    scored, _ = completion_log_probs(model, join(rows, found))
    torch.testing.assert_close(scored, found.log_probs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("architecture", ["gpt2", "mistral", "llama"])
def test_padding_between_prompt_and_completion_never_reaches_beyond_the_context(
    architecture: str, tmp_path: Path
) -> None:
    """A long prompt and a long completion of a short one: 15 slots where the longest row has 9 of 10."""
    made = make(architecture)
    if architecture == "mistral":
        made.model.config.sliding_window = 10
    made.model.config.max_position_embeddings = 10
    if architecture == "gpt2":
        made.model.transformer.wpe.weight = torch.nn.Parameter(made.model.transformer.wpe.weight[:10].clone())
    made.model.save_pretrained(tmp_path)
    model = TransformersLM(TransformersConfig(path=str(tmp_path)), vocab_size=V).eval()
    assert model.max_length == 10
    short, long = [1], [1, 2, 3, 4, 5, 6, 7, 8]
    rows = pack([short, short, long, long], [[3, 4, 5, 6, 7, 8, 9, 1], [2, 3, 2, 3, 2, 3, 2, 3], [1], [2]])
    alone, _ = completion_log_probs(model, rows)
    together, _ = completion_log_probs(model, replace(rows, prompt_of=torch.tensor([0, 0, 1, 1])))
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)

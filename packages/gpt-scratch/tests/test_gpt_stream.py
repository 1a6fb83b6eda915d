"""Documents to tokens, and held-out figures that are exactly what their definitions say."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pytest
import torch

from gpt_scratch.bigram import Bigram
from gpt_scratch.config import BigramConfig, GPTConfig
from gpt_scratch.continuations import continuations
from gpt_scratch.errors import CorpusError
from gpt_scratch.evaluation import evaluate, evaluating
from gpt_scratch.model import GPT
from gpt_scratch.stream import HeldOut, fingerprint, held_out, token_stream

CPU = torch.device("cpu")


class Bytes:
    """UTF-8 bytes in groups of `size`: a stand-in tokenizer whose tokens have a known number of bytes."""

    def __init__(self, size: int = 1, eos: bool = True) -> None:
        self.size = size
        self.table: dict[bytes, int] = {}
        self.vocab_size = 400
        self.eos_id = 399 if eos else None

    def encode(self, text: str) -> list[int]:
        data = text.encode()
        groups = [data[i : i + self.size] for i in range(0, len(data), self.size)]
        return [self.table.setdefault(group, len(self.table)) for group in groups]

    def decode(self, ids: Iterable[int]) -> str:
        groups = {index: group for group, index in self.table.items()}
        return b"".join(groups.get(index, b"") for index in ids).decode(errors="replace")


def test_documents_end_with_eos_where_there_is_one() -> None:
    assert token_stream(["ab", "", "c"], Bytes()).tolist() == [0, 1, 399, 399, 2, 399]
    assert token_stream(["ab", "", "c"], Bytes(eos=False)).tolist() == [0, 1, 2]
    assert token_stream([], Bytes()).dtype == torch.int64


def test_fingerprint_tells_streams_apart() -> None:
    one, two = torch.tensor([1, 2]), torch.tensor([2, 1])
    assert fingerprint(one) == fingerprint(one.clone()) != fingerprint(two)


def test_held_out_keeps_whole_documents_and_cuts_the_last() -> None:
    documents = ["äb", "cde", "fghijklmno"]
    everything = held_out(documents, Bytes(), 1000)
    assert everything.num_bytes == sum(len(d.encode()) for d in documents)
    assert everything.is_text.sum() == everything.num_bytes
    assert len(everything.ids) == everything.num_bytes + 4
    assert everything.ids[0] == 399
    cut = held_out(documents, Bytes(), 14)
    assert cut.num_bytes == 3 + 3 + 5  # 9 slots are taken, 5 are left
    assert cut.is_text.tolist() == [True] * 3 + [False] + [True] * 3 + [False] + [True] * 5 + [False]
    bare = held_out(documents, Bytes(eos=False), 1000)
    assert bare.is_text.all()
    assert len(bare.is_text) == len(bare.ids) - 1 == bare.num_bytes - 1


@pytest.mark.parametrize("texts", [[], [""], ["", ""]])
def test_nothing_held_out_is_a_data_error(texts: list[str]) -> None:
    with pytest.raises(CorpusError, match="held-out text has"):
        held_out(texts, Bytes(), 100)


class Scripted(torch.nn.Module):
    """Gives each target the probability that a table says, whatever the context."""

    max_length = None

    def __init__(self, log_probs: torch.Tensor) -> None:
        super().__init__()
        self.vocab_size = len(log_probs)
        self.register_buffer("log_probs", log_probs)

    def features(self, ids: torch.Tensor, **_: object) -> torch.Tensor:
        return ids.unsqueeze(-1)

    def head(self, features: torch.Tensor) -> torch.Tensor:
        return self.get_buffer("log_probs").expand(*features.shape[:-1], -1)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_scorer_of_256_to_the_minus_bytes_has_8_bits_per_byte(size: int) -> None:
    """With any tokenizer, as long as documents divide into full groups; the rest of the probability is elsewhere."""
    tokenizer = Bytes(size)
    text = held_out(["abcdef", "ghijkl" * 7, "äöüéèà"], tokenizer, 10_000)
    log_probs = torch.full((400,), -size * math.log(256))
    others = len(tokenizer.table)
    spare = 1 - others * 256.0**-size
    log_probs[others:] = math.log(spare / (400 - others))
    scores = evaluate(Scripted(log_probs), text, 5, CPU)
    assert scores["bits_per_byte"] == pytest.approx(8.0, rel=1e-5)


@pytest.mark.parametrize("context", [1, 4, 7, 1000])
def test_figures_recomputed_from_logits(context: int) -> None:
    torch.manual_seed(0)
    model = Bigram(BigramConfig(init_std=2.0), vocab_size=400)  # its predictions do not depend on the rows' borders
    tokenizer = Bytes()
    text = held_out(["the cat", "sat on", "the mat."], tokenizer, 1000)
    scores = evaluate(model, text, context, CPU)
    log_probs = torch.log_softmax(model(text.ids[None, :-1])[0].detach(), -1)
    nats = [-float(log_probs[i, target]) for i, target in enumerate(text.ids[1:].tolist())]
    assert scores["loss"] == pytest.approx(sum(nats) / len(nats), rel=1e-6)
    assert scores["perplexity"] == pytest.approx(math.exp(sum(nats) / len(nats)), rel=1e-6)
    bits = sum(n for n, target in zip(nats, text.ids[1:].tolist(), strict=True) if target != 399) / math.log(2)
    assert scores["bits_per_byte"] == pytest.approx(bits / len("the catsat onthe mat."), rel=1e-6)


def test_evaluation_leaves_modes_and_random_states_alone() -> None:
    torch.manual_seed(0)
    model = GPT(GPTConfig(n_layer=1, n_head=1, n_embd=8, block_size=8, dropout=0.5), vocab_size=400).train()
    model.h[0].eval()
    text = held_out(["the cat sat on the mat"], Bytes(), 100)
    before = torch.get_rng_state()
    first, second = evaluate(model, text, 8, CPU), evaluate(model, text, 8, CPU)
    assert first == second
    assert torch.equal(before, torch.get_rng_state())
    assert model.training
    assert not model.h[0].mlp.training
    with evaluating(model):
        assert not model.training
        assert not torch.is_grad_enabled()
    assert model.training
    with pytest.raises(ZeroDivisionError), evaluating(model):
        1 / 0  # noqa: B018
    assert model.training


class Stops:
    """A sampler that draws EOS third."""

    def __init__(self) -> None:
        self.calls = 0

    def sample(self, logits: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        self.calls += 1
        assert logits.shape == (2, 400)
        return torch.full((2,), 399 if self.calls == 3 else 1)


def test_continuations() -> None:
    torch.manual_seed(0)
    tokenizer = Bytes()
    text = held_out(["the cat sat on the mat, and nothing else happened"], tokenizer, 100)
    model = GPT(GPTConfig(n_layer=1, n_head=1, n_embd=8, block_size=16), vocab_size=400).train()
    before = torch.get_rng_state()
    first = continuations(model, tokenizer, text.ids, 3, sampler=None, device=CPU)
    assert first == continuations(model, tokenizer, text.ids, 3, sampler=None, device=CPU)
    assert torch.equal(before, torch.get_rng_state())
    assert model.training
    assert [row["prompt"] for row in first] == ["the cat", "at, and ", "appened"]
    two = continuations(model, tokenizer, text.ids, 2, sampler=Stops(), device=CPU)
    assert [row["completion"] for row in two] == ["hh", "hh"]
    assert continuations(model, tokenizer, text.ids, 0, sampler=None, device=CPU) == []
    narrow = GPT(GPTConfig(n_layer=1, n_head=1, n_embd=8, block_size=1), vocab_size=400)
    assert continuations(narrow, tokenizer, text.ids[:1], 1, sampler=None, device=CPU)[0]["completion"] == ""
    tiny = HeldOut(torch.tensor([1, 2]), torch.tensor([True]), 2)
    assert len(continuations(model, tokenizer, tiny.ids, 4, sampler=None, device=CPU)) == 4

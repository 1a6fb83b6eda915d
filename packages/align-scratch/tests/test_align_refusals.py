"""What is refused, or must not become a silent NaN: shapes that would broadcast, seeds, other encodings."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from align_scratch.config.tasks import AddConfig, CorpusConfig, ReverseConfig, SortConfig
from align_scratch.errors import DataError
from align_scratch.losses import clipped, clipped_surrogate, kl_penalty, weighted_sum
from align_scratch.tasks.addition import Add
from align_scratch.tasks.corpus import Corpus

B, T = 4, 3


@pytest.mark.parametrize("log_ratio", [torch.zeros(B), torch.zeros(B, T, 1)], ids=["row", "cube"])
@pytest.mark.parametrize("term", [clipped_surrogate, clipped])
def test_log_ratios_of_another_rank_do_not_broadcast(term, log_ratio: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="must be"):
        term(log_ratio, torch.zeros(B), 0.2, 0.2)


@pytest.mark.parametrize("shape", [(B, 1), (1,), (T,)])
def test_one_advantage_and_one_weight_a_row(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="advantages"):
        clipped_surrogate(torch.zeros(B, T), torch.zeros(shape), 0.2, 0.2)
    with pytest.raises(ValueError, match="weights"):
        weighted_sum(torch.zeros(B, T), torch.ones(B, T, dtype=torch.bool), torch.zeros(shape))


def test_a_mask_and_a_reference_have_the_shape_of_what_they_belong_to() -> None:
    with pytest.raises(ValueError, match="mask"):
        weighted_sum(torch.zeros(B, T), torch.ones(B, 1, dtype=torch.bool), torch.ones(B))
    with pytest.raises(ValueError, match="reference"):
        kl_penalty(torch.zeros(B, T), torch.zeros(B, 1))


def test_without_an_advantage_even_an_infinite_ratio_adds_nothing() -> None:
    log_ratio = torch.tensor([[200.0, 0.1], [5.0, 0.1]], requires_grad=True)
    terms = clipped_surrogate(log_ratio, torch.tensor([0.0, 1.0]), 0.2, 0.2)
    terms.sum().backward()
    assert terms[0].tolist() == [0, 0]
    assert log_ratio.grad is not None
    assert log_ratio.grad[0].tolist() == [0, 0]
    assert log_ratio.grad[1].tolist() == pytest.approx([0, -torch.tensor(0.1).exp().item()])


@pytest.mark.parametrize("config", [SortConfig, AddConfig, ReverseConfig])
@pytest.mark.parametrize("seed", [-1, 2**63])
def test_seeds_are_bounded(config, seed: int) -> None:
    with pytest.raises(ValueError, match="seed"):
        config(seed=seed)


def test_a_sum_and_its_turn_stand_on_one_side() -> None:
    task = Add(AddConfig(digits=2, n_train=8000, n_held_out=800))

    def problems(split: str) -> set[tuple[str, ...]]:
        return {tuple(sorted(e.prompt.removesuffix(" =").split(" + "))) for e in task.examples(split)}

    assert len(problems("held_out")) > 300
    assert not problems("train") & problems("held_out")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_utf_16_is_named(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "text.txt"
    mark = b"\xfe\xff" if encoding == "utf-16-be" else b""
    file.write_bytes(mark + "some text".encode(encoding))
    with pytest.raises(DataError, match="UTF-16; convert the file to UTF-8") as error:
        Corpus(CorpusConfig(path=str(file)))
    assert str(file) in str(error.value)


def test_a_path_that_no_file_can_have() -> None:
    with pytest.raises(DataError, match="cannot be read") as error:
        Corpus(CorpusConfig(path="a\0b"))
    assert error.value.exit_code == 3

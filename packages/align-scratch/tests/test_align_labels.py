"""What is learned of a row: spans from lengths, the end of every reply, and one pass over a conversation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from align_scratch.demonstrations import encode_rows, fit_rows
from align_scratch.errors import DataError, DoesNotFit
from align_scratch.labels import (
    TokenBatch,
    collate,
    cut_row,
    make_row,
    masked_mean,
    masked_normalize,
    tokenize_prompt_and_output,
)
from align_scratch.records.fields import Message
from align_scratch.sft_losses import labelled_loss
from align_scratch.tasks.problems import Example
from align_scratch.templates import template

EOS = 0


def learned(row: Any) -> list[tuple[int, int]]:
    """(position, target) of what the row teaches."""
    return [(t, row.predicts[t]) for start, stop in row.spans for t in range(start, stop)]


def test_a_prompt_is_read_and_a_completion_learned_with_its_end() -> None:
    row = make_row((([5, 6], False), ([7, 8], True)), [EOS])
    assert row.reads == [5, 6, 7, 8]
    assert learned(row) == [(1, 7), (2, 8), (3, EOS)]
    assert (row.learned, row.length) == (3, 5)


def test_everything() -> None:
    row = make_row((([5, 6], False), ([7], True)), [EOS], everything=True)
    assert learned(row) == [(0, 6), (1, 7), (2, EOS)]


def test_every_reply_ends_by_the_end_mark_whatever_follows_it() -> None:
    pieces = (([5], False), ([6, 7], True), ([8, 9], False), ([10], True))
    row = make_row(pieces, [EOS])
    assert row.reads == [5, 6, 7, 8, 9, 10]
    assert learned(row) == [(0, 6), (1, 7), (2, EOS), (4, 10), (5, EOS)]


def test_odd_rows() -> None:
    assert learned(make_row((([], False), ([7, 8], True)), [EOS])) == [(0, 8), (1, EOS)]  # nothing precedes 7
    assert learned(make_row((([5], False), ([7, 8], True)), [])) == [(0, 7), (1, 8)]
    assert learned(make_row((([5], False), ([], True)), [EOS])) == []
    assert make_row((([5], False),), []).spans == ()


def test_cutting_loses_the_end_first() -> None:
    row = make_row((([5, 6], False), ([7, 8], True)), [EOS])
    assert learned(cut_row(row, 5)) == learned(row)
    assert learned(cut_row(row, 4)) == [(1, 7), (2, 8)]
    assert cut_row(row, 4).length == 4
    assert learned(cut_row(row, 3)) == [(1, 7)]
    assert cut_row(row, 2).learned == 0


def test_the_end_is_learned_where_padding_has_its_id() -> None:
    batch = collate([make_row((([5], False), ([6], True)), [EOS]), make_row((([5], False), ([6, 7, 8], True)), [EOS])])
    assert batch.ids.tolist() == [[5, 6, 0, 0], [5, 6, 7, 8]]
    assert batch.targets.tolist() == [[6, 0, 0, 0], [6, 7, 8, 0]]
    assert batch.mask.tolist() == [[True, True, False, False], [True] * 4]
    assert batch.lengths.tolist() == [2, 4]
    assert batch.select(torch.tensor([0])).trimmed().ids.tolist() == [[5, 6]]


class Talk:
    """An example of a conversation."""

    answer = ""

    def __init__(self, context: list[Message], reply: str) -> None:
        chat = template("chat")
        self.prompt, self.demonstration, self.pieces = chat.prompt(context), reply, chat.pieces(context, reply)


class Bytes:
    eos_id = EOS

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        return [[1 + b for b in text.encode()] for text in texts]

    def decode_batch(self, rows: Any) -> list[str]:
        return [bytes(i - 1 for i in row if i).decode() for row in rows]


def sum_of_terms(model: Any, batch: TokenBatch) -> torch.Tensor:
    return labelled_loss(model, batch, torch.ones(batch.ids.shape))[0]


def test_one_pass_over_a_conversation_is_one_example_for_each_reply(toy_model: Any) -> None:
    turns = [Message("user", "ab"), Message("assistant", "cd"), Message("user", "e"), Message("assistant", "fgh"),
             Message("user", "ij")]  # fmt: skip
    torch.manual_seed(0)
    model = toy_model(257, max_length=None)
    whole = encode_rows(Bytes(), [Talk(turns, "k")], assistant_only=True)
    single = encode_rows(Bytes(), [Talk(turns[:1], "cd"), Talk(turns[:3], "fgh"), Talk(turns, "k")])
    assert whole[0].learned == sum(row.learned for row in single) == 3 + 4 + 2
    losses, gradients = [], []
    for rows in (whole, single):
        model.zero_grad()
        loss = sum_of_terms(model, collate(rows))
        loss.backward()
        losses.append(loss.item())
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-5)


def test_without_assistant_only_the_last_reply_is_learned() -> None:
    turns = [Message("user", "ab"), Message("assistant", "cd"), Message("user", "e")]
    (row,) = encode_rows(Bytes(), [Talk(turns, "xyz")])
    assert [i for _, i in learned(row)] == [1 + ord("x"), 1 + ord("y"), 1 + ord("z"), EOS]


def test_the_loss_is_cross_entropy_that_ignores_what_is_not_learned(toy_model: Any) -> None:
    torch.manual_seed(0)
    model = toy_model(40)
    rows = [
        make_row((([5, 6, 7], False), ([8, 9], True)), [EOS]),
        make_row((([5], False), ([8, 9, 10, 11], True)), [EOS]),
        make_row((([5], False), ([8], True), ([4, 4], False), ([9], True)), [EOS]),
    ]
    batch = collate(rows)
    labels = torch.full(batch.ids.shape, -100)
    for i, row in enumerate(rows):
        for t, target in learned(row):
            labels[i, t] = target
    logits = model(batch.ids, lengths=batch.lengths)
    expected = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="sum")
    torch.testing.assert_close(sum_of_terms(model, batch), expected, rtol=1e-6, atol=1e-6)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.lists(st.integers(1, 30), max_size=5), st.booleans()), min_size=1, max_size=5),
    st.sampled_from([[], [EOS]]),
    st.integers(2, 30),
)
def test_rows_hold_what_they_should(pieces: list[tuple[list[int], bool]], end: list[int], limit: int) -> None:
    row = make_row(pieces, end)
    ids = [i for piece, _ in pieces for i in piece] + end
    assert row.reads == ids[:-1]
    flags = [reply for piece, reply in pieces for _ in piece]
    wanted = []
    for t in range(len(row.reads)):
        follows = t + 1 < len(flags) and flags[t + 1]
        if follows:
            wanted.append((t, ids[t + 1]))
        elif flags[t] and end:
            wanted.append((t, EOS))
    assert learned(row) == wanted
    assert row.learned == len(wanted)
    short = cut_row(row, limit)
    assert short.length <= max(limit, row.length)
    assert learned(short) == [(t, i) for t, i in learned(row) if t < limit - 1]


# --- what does not fit ---------------------------------------------------------------------------------------------


def test_too_long_is_an_error_that_names_the_example_or_a_counted_loss(tokenizer: Any) -> None:
    examples = [Example("1 =", "2", "2"), Example("1 2 3 =", "4 5 6", "4 5 6"), Example("1 2 3 4 5 6 7 =", "8", "8")]
    rows = encode_rows(tokenizer, examples)
    assert [row.length for row in rows] == [5, 13, 17]
    with pytest.raises(
        DoesNotFit, match=r"training example 2, '1 2 3 =', has 13 tokens, but a row has 12 at most: rai"
    ):
        fit_rows(rows, examples, 12, "error")
    assert fit_rows(rows, examples, None, "error") == (rows, examples)
    assert fit_rows(rows, examples, 12, "skip") == (rows[:1], examples[:1])
    cut, kept = fit_rows(rows, examples, 12, "cut")
    assert [row.length for row in cut] == [5, 12]  # of the third, nothing that is learned is left
    assert kept == examples[:2]
    with pytest.raises(DoesNotFit, match="none of 3 training examples has anything to learn within 4 tokens a row"):
        fit_rows(rows, examples, 4, "skip")


def test_an_example_without_demonstration_is_an_error(tokenizer: Any) -> None:
    with pytest.raises(DataError, match=r"training example 2, 'ab', has no demonstration to imitate; sft needs data"):
        encode_rows(tokenizer, [Example("a", "b", "b"), Example("ab", "", "")])


# --- the pieces for one's own loop ---------------------------------------------------------------------------------


def test_tokenize_prompt_and_output(tokenizer: Any) -> None:
    batch = tokenize_prompt_and_output(["1 =", "1 2 ="], ["2", "3 4"], tokenizer)
    joined = [[*tokenizer.encode_batch(["1 =2"])[0], EOS], [*tokenizer.encode_batch(["1 2 =3 4"])[0], EOS]]
    width = max(map(len, joined)) - 1
    assert {name: tensor.shape for name, tensor in batch.items()} == {
        "input_ids": (2, width), "labels": (2, width), "response_mask": (2, width),
    }  # fmt: skip
    assert batch["input_ids"][1].tolist() == joined[1][:-1]
    assert batch["labels"][1].tolist() == joined[1][1:]
    assert batch["labels"][batch["response_mask"]].tolist() == [*joined[0][3:], *joined[1][5:]]
    assert tokenize_prompt_and_output(["1"], ["2"], tokenizer, append_eos=False)["labels"].shape == (1, 1)
    with pytest.raises(ValueError, match="outputs: got 1, must be 2"):
        tokenize_prompt_and_output(["a", "b"], ["c"], tokenizer)


def test_masked_mean_and_normalize() -> None:
    values = torch.tensor([[1.0, 2.0, torch.nan], [3.0, torch.nan, torch.nan]], requires_grad=True)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    assert masked_mean(values, mask).item() == 2.0
    assert masked_mean(values, mask, dim=1).tolist() == [1.5, 3.0]
    assert masked_normalize(values, mask, 4.0, dim=1).tolist() == [0.75, 0.75]
    masked_normalize(values, mask, 4.0).backward()
    assert values.grad is not None
    assert values.grad.tolist() == [[0.25, 0.25, 0.0], [0.25, 0.0, 0.0]]
    assert masked_mean(values, torch.zeros_like(mask)).item() == 0.0
    with pytest.raises(ValueError, match=r"mask: got shape \(3,\), must be \(2, 3\)"):
        masked_mean(values, torch.ones(3, dtype=torch.bool))

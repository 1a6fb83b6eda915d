"""SDPO's contexts, teachers and training step, each against its definition."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from align_scratch.config.tasks import SortConfig
from align_scratch.errors import CheckerFailed, DoesNotFit
from align_scratch.scoring import completion_logits
from align_scratch.tasks.problems import Example, Score
from align_scratch.tasks.sorting import Sort
from inference_scratch.config import MultinomialConfig
from inference_scratch.samplers import Multinomial
from inference_scratch.score import pack
from papers_scratch.config.frames import LoRAXSConfig, TinyLoRAConfig
from papers_scratch.config.lora import LoRAConfig
from papers_scratch.config.sdpo import HintedSFTConfig, SDPOConfig
from papers_scratch.config.transformers_model import TransformersConfig
from papers_scratch.lora import LoRA
from papers_scratch.lora_xs import LoRAXS
from papers_scratch.sdpo.hints import Hinted, HintedSFT
from papers_scratch.sdpo.policy import Teacher
from papers_scratch.sdpo.reprompting import fill, reprompt, strip_thinking, teacher_prompt
from papers_scratch.sdpo.self_distillation import divergence
from papers_scratch.sdpo.trainer import SDPO
from papers_scratch.tinylora import TinyLoRA
from papers_scratch.transformers_model import TransformersLM


class Characters:
    """A tokenizer: the end mark is id 0."""

    alphabet = " 0123456789=abcdefghijklmnopqrstuvwxyz:'\n."
    eos_id, vocab_size = 0, 1 + len(alphabet)

    def encode_batch(self, texts: Sequence[str], /) -> list[list[int]]:
        return [[1 + self.alphabet.index(c) if c in self.alphabet else 1 for c in text] for text in texts]

    def decode_batch(self, rows: Iterable[Iterable[int]], /) -> list[str]:
        return ["".join(self.alphabet[i - 1] for i in row if i > 0) for row in rows]


class Toy:
    """Eight prompts; `reward` and `explain` judge a completion in any way that a test needs."""

    def __init__(self, reward: Any, explain: Any = lambda text: "") -> None:
        self.reward, self.explain = reward, explain

    def examples(self, split: str) -> list[Example]:
        return [Example(prompt=f"{split[0]}{i} =", answer=" abc", demonstration=" abc") for i in range(8)]

    def check(self, example: Example, completion: str) -> Score:
        reward = self.reward(completion)
        return Score(reward=reward, correct=reward == 1.0, parts={"toy": reward}, explanation=self.explain(completion))


def parts(task: Any = None, *, seed: int = 0, max_length: int = 96, **changed: Any) -> dict[str, Any]:
    torch.manual_seed(seed)
    config = TransformersConfig(architecture="gpt2", n_layer=1, n_head=2, n_embd=16, max_length=max_length)
    made = {
        "model": TransformersLM(config, vocab_size=Characters.vocab_size),
        "tokenizer": Characters(),
        "task": Sort(SortConfig(length=3, n_train=64, n_held_out=16)) if task is None else task,
        "sampler": Multinomial(MultinomialConfig()),
        "seed": seed,
    }
    return made | changed


SMALL = {"steps": 3, "prompts_per_step": 4, "group_size": 4, "minibatches": 2, "warmup_steps": 0, "max_new_tokens": 6}


def often(text: str) -> float:
    """A reward that some random completions earn, and in some groups none."""
    return float(bool(text) and text[0] in " 0123456")


# --- what the teacher is shown

N = None
FIRST, SECOND, BOTH = "first", "second", "both"


@pytest.mark.parametrize(
    ("rewards", "options", "expected"),
    [
        ([0, 0, 0, 0], {}, [N, N, N, N]),
        ([0, 1, 0, 0], {}, [1, N, 1, 1]),  # a lone success has no teacher, its siblings do
        ([0, 1, 0, 0], {"exclude_own_success": False}, [1, 1, 1, 1]),
        ([0, 1, 0, 1], {}, [1, 3, 1, 1]),
        ([1, 1, 1, 1], {}, [1, 0, 0, 0]),
        ([math.nan, 0.5, 0.9, 1.0], {"success_threshold": 0.5}, [1, 2, 1, 1]),
        ([math.nan, 0.5, 0.9, 1.0], {}, [3, 3, 3, N]),
    ],
)
def test_demonstrations_come_from_successful_siblings(rewards: Any, options: Any, expected: Any) -> None:
    config = SDPOConfig(**options)
    both = torch.tensor([rewards, [0.0] * 4])  # a second prompt without any success borrows none
    found = reprompt(
        config,
        prompts=["p", "q"],
        texts=[f"text {i}" for i in range(8)],
        rewards=both,
        explanations=[""] * 8,
        rng=random.Random(0),
    )
    assert [context.demonstration for context in found] == expected + [N] * 4
    for context in found:
        if context.demonstration is None:
            assert context.text is None
        else:
            assert context.text == f"ptext {context.demonstration}\np"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"include_feedback": True}, ["pgood\np", "pgood\np", "pno\np", None]),
        (
            {"include_feedback": True, "feedback_only_without_solution": False},
            ["pgood\npno\np", "pgood\np", "pno\np", None],
        ),
        ({}, ["pgood\np", "pgood\np", None, None]),
        ({"include_feedback": True, "max_feedback_chars": 1}, ["pgood\np", "pgood\np", "pn\np", None]),
    ],
)
def test_feedback_stands_in_where_there_is_no_demonstration(options: Any, expected: Any) -> None:
    """Rows: failed beside a success, failed beside it without feedback, failed alone with feedback, and without."""
    found = reprompt(
        SDPOConfig(**options),
        prompts=["p", "p"],
        texts=["bad", "bad", "good", "bad", "bad", "bad"],
        rewards=torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]),
        explanations=[" no ", "", "", " no ", " \n", ""],
        rng=random.Random(0),
    )
    assert [found[i].text for i in (0, 1, 3, 4)] == expected
    assert found[2].text is None  # the lone success


def test_templates_are_filled_once_and_by_name() -> None:
    assert fill("{a}{b}{c}", a="{b}", b="{a}") == "{b}{a}{c}"
    nasty = "{solution} {0} {prompt.__class__} }{"
    config = SDPOConfig(style="sentences")
    text = teacher_prompt(config, nasty, solution=nasty, feedback=nasty)
    assert text.count(nasty) == 3
    assert text.startswith(nasty)
    assert text.endswith("Correctly solve the original question.\n")
    assert teacher_prompt(config, "p") == "p"
    own = SDPOConfig(solution_template="<{successful_previous_attempt}>", reprompt_template="{prompt}|{solution}")
    assert teacher_prompt(own, "p", solution="s") == "p|<s>"
    for wrong, said in (
        ({"reprompt_template": "{prompt} {solutoin}"}, "{solutoin} is none of them"),
        ({"reprompt_template": "{prompt.__class__}"}, "is none of them"),
        ({"reprompt_template": "{solution}"}, "text with {prompt} in it"),
        ({"solution_template": "{prompt}"}, "text with {successful_previous_attempt} in it"),
    ):
        with pytest.raises(ValueError, match=said):
            SDPOConfig(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>because</think> 42", " 42"),
        ("42", "42"),
        ("<think>because</think>  ", None),
        ("<think>because 42", None),
        ("<think>a<think>b</think>c</think> 42", None),
        ("<think>a</think>1<think>b</think>2", None),
        ("a</think>42", None),
        ("", None),
    ],
)
def test_thinking_is_left_out_of_demonstrations(text: str, expected: str | None) -> None:
    assert strip_thinking(text) == expected
    kept = reprompt(
        SDPOConfig(remove_thinking=False),
        prompts=["p"], texts=[text, "x"], rewards=torch.tensor([[1.0, 0.0]]), explanations=["", ""],
        rng=random.Random(0),
    )  # fmt: skip
    assert (kept[1].demonstration == 0) == bool(text.strip())


# --- teachers


def moved(named: Any, seed: int) -> None:
    torch.manual_seed(seed)
    with torch.no_grad():
        for p in named.values():
            p.add_(0.3 * torch.randn(p.shape))


ADAPTERS: Any = {
    "none": None,
    "lora": (LoRA, LoRAConfig(r=2)),
    "lora-xs": (LoRAXS, LoRAXSConfig(r=2)),
    "tinylora": (TinyLoRA, TinyLoRAConfig(r=2, u=2, n_tie=2)),
}


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_the_moving_average_is_its_recurrence_over_the_trainables(adapter: str) -> None:
    model = parts()["model"].eval()
    if ADAPTERS[adapter] is not None:
        cls, config = ADAPTERS[adapter]
        cls(config).wrap(model)
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    teacher = Teacher(model, named, kind="ema", rate=0.3, mix="logit")
    start = {name: p.detach().clone() for name, p in named.items()}
    history = []
    for step in range(4):
        moved(named, step)
        history.append({name: p.detach().clone() for name, p in named.items()})
        teacher.update()
    for name, weight in teacher.weights.items():
        expected = 0.7**4 * start[name]
        for s, theta in enumerate(history, start=1):
            expected = expected + 0.3 * 0.7 ** (4 - s) * theta[name]
        torch.testing.assert_close(weight, expected, rtol=1e-6, atol=1e-7)
    rows = pack([[3, 4, 5], [6]], [[7, 8], [9]])
    found = teacher.log_probs(rows, Multinomial(MultinomialConfig()))
    assert all(torch.equal(p, history[-1][name]) for name, p in named.items())  # put back
    with torch.no_grad():
        for name, p in named.items():
            p.copy_(teacher.weights[name])
    expected = completion_logits(model, rows)[0].detach().log_softmax(-1)
    assert torch.equal(found, expected)


def test_a_half_precision_teacher_follows_as_far_as_its_average_does() -> None:
    """A 20th of a difference of 5 % is less than bfloat16 can tell from nothing."""
    model = parts()["model"].bfloat16()
    named = dict(model.named_parameters())
    with torch.no_grad():
        for p in named.values():
            p.fill_(1.0)
    teacher = Teacher(model, named, kind="ema", rate=0.05, mix="logit")
    with torch.no_grad():
        for p in named.values():
            p.fill_(1.0625)
    for _ in range(20):
        teacher.update()
    again = Teacher(model, named, kind="ema", rate=0.05, mix="logit")
    again.load_state_dict(teacher.state_dict())
    for _ in range(20):
        teacher.update()
        again.update()
    for name, weight in teacher.weights.items():
        assert weight.dtype == torch.bfloat16
        torch.testing.assert_close(weight, torch.full_like(weight, 1.0625 - 0.0625 * 0.95**40), rtol=0, atol=2**-7)
        assert bool((weight > 1.04).all())
        assert torch.equal(weight, again.weights[name])
    state = {name: weight.flatten()[:1] for name, weight in teacher.state_dict().items()}
    with pytest.raises(ValueError, match=r"teacher: .* has shape \(1,\) in the state"):
        again.load_state_dict(state)


def test_the_other_teachers() -> None:
    model = parts()["model"].eval()
    named = dict(model.named_parameters())
    sampler = Multinomial(MultinomialConfig(temperature=0.7))
    rows = pack([[3, 4, 5], [6]], [[7, 8], [9]])
    kinds = [("frozen", "logit"), ("live", "logit"), ("trust_region", "logit"), ("trust_region", "prob")]
    frozen, live, logit, prob = (Teacher(model, named, kind=k, rate=0.2, mix=m) for k, m in kinds)
    start = completion_logits(model, rows)[0].detach()
    moved(named, 1)
    for teacher in (frozen, live, logit, prob):
        teacher.update()
    now = completion_logits(model, rows)[0].detach()
    assert torch.equal(frozen.log_probs(rows, sampler), sampler.log_probs(start))
    assert torch.equal(live.log_probs(rows, sampler), sampler.log_probs(now))
    assert torch.equal(logit.log_probs(rows, sampler), sampler.log_probs((1 - 0.2) * start + 0.2 * now))
    mixed = (0.8 * sampler.log_probs(start).exp() + 0.2 * sampler.log_probs(now).exp()).log()
    torch.testing.assert_close(prob.log_probs(rows, sampler), mixed)
    assert live.distance() == 0.0
    assert frozen.distance() > 0.1
    for rate, expected in ((0.0, start), (1.0, now)):
        edge = copy.copy(prob)
        edge.rate = rate
        torch.testing.assert_close(edge.log_probs(rows, sampler), sampler.log_probs(expected))


# --- the step


def test_the_first_update_is_the_gradient_of_the_stated_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recomputed row by row, alone and unpadded: 1/N sum_i 1/|o_i| sum_t D, left-out rows counting 0."""
    built = parts(Toy(often, lambda text: "too odd"))
    config = SDPOConfig(**{**SMALL, "steps": 1, "minibatches": 1}, alpha=0.5, lr=1e-9)
    trainer = SDPO(config, **built)
    before = copy.deepcopy(built["model"]).eval()  # its dropout would act otherwise
    grads: dict[str, Tensor] = {}

    def keep(optimizer: Any, named: Any, **rest: Any) -> float:
        grads.update({name: p.grad.clone() for name, p in named.items() if p.grad is not None})
        optimizer.zero_grad()
        return 0.0

    monkeypatch.setattr("papers_scratch.sdpo.trainer.update", keep)
    (metrics,) = trainer.train()
    rows = trainer.last_rollouts()
    taught = [row for row in rows if row["teacher_prompt"] is not None]
    assert 0 < len(taught) < len(rows)
    tokenizer, sampler = built["tokenizer"], built["sampler"]
    total = torch.zeros(())
    last = trainer._last
    assert last is not None
    for row, ids in zip(rows, last[1].generation.to_lists(), strict=True):
        if row["teacher_prompt"] is None:
            continue
        prompt, shown = tokenizer.encode_batch([row["prompt"], row["teacher_prompt"]])
        student = sampler.log_probs(completion_logits(before, pack([prompt], [ids]))[0])
        teacher = sampler.log_probs(completion_logits(before, pack([shown], [ids]))[0])
        total = total + divergence(student, teacher, 0.5).mean() / len(rows)
    total.backward()
    assert metrics["loss"] == pytest.approx(float(total.detach()), rel=1e-5)
    assert metrics["self_distillation/reprompt_sample_fraction"] == len(taught) / len(rows)
    expected = {name: p.grad for name, p in before.named_parameters() if p.grad is not None}
    assert grads.keys() == expected.keys()
    for name, grad in grads.items():
        torch.testing.assert_close(grad, expected[name], rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize(
    "changed",
    [
        {"alpha": 0.0},
        {"distillation": "topk", "top_k": 4},
        {"distillation": "topk", "top_k": 4, "add_tail": False},
        {"distillation": "sampled"},
        {"is_clip": 0.5},
        {"loss_norm": "tokens"},
        {"teacher": "ema"},
        {"teacher": "live"},
        {"teacher": "trust_region"},
        {"teacher": "trust_region", "mix": "prob"},
        {"teacher": "ema", "teacher_update_rate": 0.5},
        {"success_threshold": 0.0},
        {"exclude_own_success": False},
        {"demonstration": "random"},
        {"include_feedback": True},
        {"include_feedback": True, "feedback_only_without_solution": False},
        {"max_reprompt_tokens": 8},
        {"max_reprompt_tokens": 8, "reprompt_truncation": "left"},
        {"style": "sentences"},
        {"policy_weight": 0.5},
        {"kl_coef": 0.1},
        {"distillation_weight": 0.5},
        {"rehearsal": 1.0},
    ],
)
def test_no_option_is_dead(changed: dict[str, Any]) -> None:
    def weights(**options: Any) -> list[Tensor]:
        built = parts(Toy(often, lambda text: "too odd: " + text))
        config = SDPOConfig(**{**SMALL, "lr": 1e-2, "epochs_per_batch": 2, "max_new_tokens": 6, **options})
        list(SDPO(config, **built).train())
        return [p.detach().clone() for p in built["model"].parameters()]

    plain, other = weights(), weights(**changed)
    assert all(bool(p.isfinite().all()) for p in other)
    if len(changed) == 2 and "teacher" in changed:
        plain = weights(teacher=changed["teacher"])
    if "feedback_only_without_solution" in changed:
        plain = weights(include_feedback=True)
    if changed.get("reprompt_truncation"):
        plain = weights(max_reprompt_tokens=8)
    if changed.get("add_tail") is False:
        plain = weights(distillation="topk", top_k=4)
    assert any(not torch.equal(p, o) for p, o in zip(plain, other, strict=True))


def test_without_success_or_feedback_nothing_moves_and_the_user_is_told() -> None:
    built = parts(Toy(lambda text: 0.0))
    before = copy.deepcopy(built["model"].state_dict())
    trainer = SDPO(SDPOConfig(**{**SMALL, "steps": 11}, weight_decay=0.1), **built)
    with pytest.warns(UserWarning, match="nothing to distil for 10 steps"):
        metrics = list(trainer.train())
    assert all(torch.equal(value, before[name]) for name, value in built["model"].state_dict().items())
    assert trainer.teacher.distance() == 0.0
    assert {m["self_distillation/reprompt_sample_fraction"] for m in metrics} == {0.0}
    assert {m["loss"] for m in metrics} == {None}


def test_the_user_is_told_if_room_is_what_is_missing() -> None:
    built = parts(Toy(lambda text: 1.0), max_length=10)
    with pytest.warns(UserWarning, match=r"16 teacher's prompts do not fit into the context of 10 tokens"):
        list(SDPO(SDPOConfig(**{**SMALL, "steps": 10, "max_new_tokens": 5}), **built).train())


@pytest.mark.parametrize("said", [None, 3, ["too odd"]])
def test_feedback_that_is_no_text_is_refused_where_it_is_asked_for(said: Any) -> None:
    config = {**SMALL, "steps": 1}
    list(SDPO(SDPOConfig(**config), **parts(Toy(lambda text: 0.0, lambda text: said))).train())
    with pytest.raises(CheckerFailed, match=r"task: gave the explanation .* give a str"):
        list(
            SDPO(SDPOConfig(**config, include_feedback=True), **parts(Toy(lambda text: 0.0, lambda text: said))).train()
        )


def test_long_feedback_is_cut_and_counted() -> None:
    built = parts(Toy(lambda text: 0.0, lambda text: "too odd " * 100))
    trainer = SDPO(SDPOConfig(**{**SMALL, "steps": 1}, include_feedback=True, max_feedback_chars=9), **built)
    (metrics,) = trainer.train()
    assert metrics["self_distillation/feedback_cut"] == 16
    assert all(row["teacher_prompt"].count("too odd t\n") == 1 for row in trainer.last_rollouts())
    (metrics,) = SDPO(SDPOConfig(**{**SMALL, "steps": 1}), **parts(Toy(often))).train()
    assert metrics["self_distillation/feedback_cut"] == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_step_in_half_and_in_double_precision(dtype: torch.dtype) -> None:
    built = parts(Toy(often))
    built["model"].to(dtype)
    before = [p.detach().clone() for p in built["model"].parameters()]
    list(SDPO(SDPOConfig(**{**SMALL, "steps": 1}, lr=1e-2), **built).train())
    assert any(not torch.equal(p, b) for p, b in zip(built["model"].parameters(), before, strict=True))
    assert all(bool(p.isfinite().all()) for p in built["model"].parameters())


def test_feedback_alone_teaches_where_no_group_succeeds() -> None:
    built = parts(Toy(lambda text: 0.0, lambda text: "too odd"))
    trainer = SDPO(SDPOConfig(**SMALL, lr=1e-2, include_feedback=True), **built)
    before = copy.deepcopy(built["model"].state_dict())
    metrics = list(trainer.train())
    assert metrics[0]["self_distillation/feedback_used_fraction"] == 1.0
    assert any(not torch.equal(value, before[name]) for name, value in built["model"].state_dict().items())


def test_a_teachers_prompt_without_room_leaves_the_completion_out() -> None:
    """Never a cut completion: the sample is counted and masked."""
    built = parts(Toy(lambda text: 1.0), max_length=12)
    trainer = SDPO(SDPOConfig(**{**SMALL, "steps": 1}), **built)
    (metrics,) = trainer.train()
    overflow = metrics["self_distillation/reprompt_overflow"]
    assert isinstance(overflow, int)
    assert overflow > 0
    assert metrics["self_distillation/reprompt_sample_fraction"] == 1 - overflow / 16
    with pytest.raises(DoesNotFit, match=r"a teacher's prompt has \d+ tokens, at most 5"):
        list(SDPO(SDPOConfig(**SMALL, max_reprompt_tokens=5, reprompt_truncation="error"), **built).train())


@pytest.mark.parametrize("adapter", ["lora", "lora-xs", "tinylora"])
def test_only_the_adapter_learns(adapter: str) -> None:
    built = parts(Toy(often, lambda text: "too odd"))
    cls, config = ADAPTERS[adapter]
    made = cls(config)
    made.wrap(built["model"])
    base = {n: p.detach().clone() for n, p in built["model"].named_parameters() if not p.requires_grad}
    trainer = SDPO(SDPOConfig(**SMALL, lr=1e-2), **built, adapter=made)
    assert trainer.teacher.weights.keys() == made.trainable_parameters().keys()
    list(trainer.train())
    after = dict(built["model"].named_parameters())
    assert all(torch.equal(after[name], value) for name, value in base.items())
    assert trainer.teacher.distance() > 0


def test_long_logits_are_read_in_parts_without_changing_the_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    def weights(most: int) -> list[Tensor]:
        monkeypatch.setattr("papers_scratch.sdpo.trainer.MOST_LOGITS", most)
        built = parts(Toy(often, lambda text: "too odd"))
        list(SDPO(SDPOConfig(**{**SMALL, "steps": 1}, lr=1e-2, policy_weight=0.5, kl_coef=0.1), **built).train())
        return [p.detach().clone() for p in built["model"].parameters()]

    for a, b in zip(weights(2**24), weights(200), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=2e-5)


# --- the warm start


def test_a_share_of_the_prompts_shows_what_a_teacher_would_see() -> None:
    task = Sort(SortConfig(length=4, n_train=400, n_held_out=20))
    config = HintedSFTConfig(hints=0.5, feedback=0.25)
    hinted = Hinted(task, config, seed=3)
    plain, shown = task.examples("train"), hinted.examples("train")
    kinds = {"plain": 0, "solution": 0, "feedback": 0}
    for before, after in zip(plain, shown, strict=True):
        assert (after.answer, after.demonstration) == (before.answer, before.demonstration)
        if after.prompt == before.prompt:
            kinds["plain"] += 1
        elif after.prompt == f"{before.prompt}{before.demonstration}\n{before.prompt}":
            kinds["solution"] += 1
        else:
            assert after.prompt.endswith(before.prompt)
            assert "position" in after.prompt
            kinds["feedback"] += 1
    assert 0.4 < kinds["solution"] / 400 < 0.6
    assert 0.15 < kinds["feedback"] / 400 < 0.35
    assert hinted.examples("held_out") == task.examples("held_out")
    assert [e.prompt for e in Hinted(task, config, seed=3).examples("train")] == [e.prompt for e in shown]


class Thinking:
    """Demonstrations that think first."""

    def examples(self, split: str) -> list[Example]:
        return [Example(prompt=f"{n} =", answer="b", demonstration="<think>a</think>b") for n in range(4)]


@pytest.mark.parametrize(("remove", "expected"), [(True, "b"), (False, "<think>a</think>b")])
def test_hints_leave_thinking_out_as_a_teachers_demonstrations_do(remove: bool, expected: str) -> None:
    task: Any = Thinking()
    config = HintedSFTConfig(hints=1.0, remove_thinking=remove)
    for plain, hinted in zip(task.examples("train"), Hinted(task, config, 0).examples("train"), strict=True):
        assert hinted.prompt == f"{plain.prompt}{expected}\n{plain.prompt}"
        assert hinted.demonstration == plain.demonstration


def test_answers_can_be_imitated_where_demonstrations_show_something_else() -> None:
    task = Sort(SortConfig(length=4, n_train=100, n_held_out=20))
    assert any(not task.check(e, e.demonstration).correct for e in task.examples("train"))
    config = HintedSFTConfig(imitate="answer", hints=0.5)
    for plain, found in zip(task.examples("train"), Hinted(task, config, 0).examples("train"), strict=True):
        assert found.demonstration == plain.answer
        assert task.check(plain, found.demonstration).correct
        assert found.prompt in (plain.prompt, f"{plain.prompt}{plain.answer}\n{plain.prompt}")
    untouched = Hinted(task, HintedSFTConfig(hints=0.0), 0).examples("train")
    assert all(a is b for a, b in zip(untouched, task.examples("train"), strict=True))  # with all that they hold


def test_accuracy_is_that_of_prompts_without_hints() -> None:
    built = parts()
    trainer = HintedSFT(HintedSFTConfig(steps=1, batch_size=8), **built)
    assert trainer.prompts.examples == built["task"].examples("train")
    assert [len(row.reads) for row in trainer.rows] != [len(ids) for ids in trainer.prompts.ids]


class TwoWays:
    """A third of the demonstrations say `b`, the others `a`, and nothing seen tells which; the reward wants `b`."""

    def examples(self, split: str) -> list[Example]:
        numbers = range(64) if split == "train" else range(64, 99)
        return [Example(prompt=f"{n} =", answer="b", demonstration="aab"[n % 3]) for n in numbers]

    def check(self, example: Example, completion: str) -> Score:
        right = completion == example.answer
        return Score(reward=float(right), correct=right, parts={}, explanation="" if right else "the other way")


def test_sdpo_selects_what_its_reward_wants_out_of_what_was_shown() -> None:
    torch.manual_seed(1)
    config = TransformersConfig(n_layer=2, n_head=2, n_embd=32, max_length=96)
    built = parts(TwoWays(), seed=1, model=TransformersLM(config, vocab_size=Characters.vocab_size))
    list(HintedSFT(HintedSFTConfig(steps=200, batch_size=64, lr=5e-3), **built).train())
    trainer = SDPO(SDPOConfig(steps=15, prompts_per_step=16, group_size=4, minibatches=4, lr=2e-3), **built)
    before = trainer.evaluate()["sampled"]
    list(trainer.train())
    after = trainer.evaluate()["sampled"]
    assert isinstance(before, float)
    assert isinstance(after, float)
    assert before < 0.6
    assert after > 0.9

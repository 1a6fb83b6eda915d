"""The command `eval` on the problems of a task: what it estimates, what it draws, what it writes and refuses."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scratch_cli.evaluation.estimates import majority, pass_at_k, wilson
from scratch_cli.main import main
from scratch_cli.testing import standin_registry

torch = pytest.importorskip("torch", reason="evaluation completes with torch models")

from scratch_cli.commands.generate import stream  # noqa: E402
from scratch_cli.evaluation.completing import complete, log_likelihoods  # noqa: E402
from scratch_cli.evaluation.judging import Evaluation, Wanted, final_answer  # noqa: E402

# --- estimates -------------------------------------------------------------------------------------------------------


def test_wilson_equals_scipy() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy is the oracle")
    for n in (1, 2, 7, 100, 1319):
        for c in {0, 1, n // 3, n - 1, n}:
            expected = stats.binomtest(c, n).proportion_ci(0.95, method="wilson")
            assert wilson(c, n) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert wilson(0, 10)[0] == 0.0 < wilson(0, 10)[1]
    assert wilson(10, 10)[0] < wilson(10, 10)[1] == 1.0
    with pytest.raises(ValueError, match="got 3 of 2"):
        wilson(3, 2)


@pytest.mark.parametrize("n", [1, 2, 5, 7])
def test_pass_at_k_is_the_share_of_subsets_with_a_right_one(n: int) -> None:
    for c in range(n + 1):
        marks = [True] * c + [False] * (n - c)
        for k in range(1, n + 1):
            subsets = list(itertools.combinations(marks, k))
            assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, subsets)) / len(subsets), abs=1e-12)
    for c, k in ((n + 1, 1), (0, 0), (0, n + 1)):
        with pytest.raises(ValueError, match="must be"):
            pass_at_k(n, c, k)


def test_pass_at_k_is_unbiased() -> None:
    """Its mean over draws of 6 is 1 - (1 - p)^k; the mean over one draw of k would be that too, but noisier."""
    rng = random.Random(0)
    for p in (0.1, 0.5):
        mean = sum(pass_at_k(6, sum(rng.random() < p for _ in range(6)), 4) for _ in range(20_000)) / 20_000
        assert mean == pytest.approx(1 - (1 - p) ** 4, abs=0.01)


def test_majority_and_its_ties() -> None:
    right = {"7": True, "8": False, "9": False}

    def vote(*answers: str | None) -> float | None:
        return majority(answers, [right.get(str(answer), False) for answer in answers])

    assert vote("7", "8", "7") == 1.0
    assert vote("8", "8", "7") == 0.0
    assert vote("8", "7") == vote("7", "8") == 0.5
    assert vote("9", "8", "7") == pytest.approx(1 / 3)
    assert vote("7", None, None, None) == 1.0  # what has no answer has no vote
    assert vote(None, None) is None
    assert majority(["7", "7"], [True, False]) == 0.5  # a checker that also looks at the form


def test_equal_answers_are_equal_texts() -> None:
    assert final_answer(object(), "  3 2\n 1 ") == "3 2 1"
    assert final_answer(object(), " \n") is None
    task = SimpleNamespace(final_answer=lambda text: None if "?" in text else text[-1])
    assert [final_answer(task, text) for text in ("it is 7", "?")] == ["7", None]


# --- completions -----------------------------------------------------------------------------------------------------


def tiny_model(context: int = 48) -> Any:
    torch.manual_seed(0)
    part = standin_registry().find("model", "tiny-lm")
    model = part.load()(part.load_config()(context=context, n_embd=16), vocab_size=40)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0)  # decided enough for completions to differ
    return model.eval()


PROMPTS = [[5, 6, 7], [9], [4, 4, 8, 30, 2, 11], [31, 5]]


@pytest.mark.parametrize("limit", [1, 2, 9])
def test_batches_give_what_single_rows_give(limit: int) -> None:
    model = tiny_model()
    greedy = SimpleNamespace(sample=lambda logits, generator: logits.argmax(-1))
    [first], *_ = complete(model, PROMPTS, lambda logits: logits.argmax(-1), limit=9, eos_id=None)
    eos = first.ids[3]  # so that some rows end early
    for group, prompt in zip(
        complete(model, PROMPTS, lambda logits: logits.argmax(-1), limit=limit, eos_id=eos, samples=2),
        PROMPTS,
        strict=True,
    ):
        alone = list(stream(model, prompt, greedy, limit, eos, torch.Generator()))
        assert [completion.ids for completion in group] == [alone, alone]
        assert all(completion.finished == (len(alone) < limit) for completion in group)


def test_completions_end_where_the_model_does() -> None:
    model = tiny_model(context=8)
    groups = complete(model, PROMPTS, lambda logits: logits.argmax(-1), limit=20, eos_id=None)
    assert [len(group[0].ids) for group in groups] == [5, 7, 2, 6]
    assert not any(group[0].finished for group in groups)


def test_draws_have_the_probabilities_that_the_model_gives() -> None:
    model, draws = tiny_model(), 4000
    generator = torch.Generator().manual_seed(1)

    def draw(logits: Any) -> Any:
        return torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]

    [group] = complete(model, [[5, 6]], draw, limit=1, eos_id=None, samples=draws)
    counts = Counter(completion.ids[0] for completion in group)
    expected = model(torch.tensor([[5, 6]]))[0, -1].softmax(-1)
    for token, p in enumerate(expected.tolist()):
        assert counts[token] / draws == pytest.approx(p, abs=4 * (p * (1 - p) / draws) ** 0.5 + 1e-3)


def test_likelihoods_are_sums_of_log_probabilities() -> None:
    model = tiny_model()
    choices = [[7], [9, 9, 10], [30, 4]]
    for choice, value in zip(choices, log_likelihoods(model, [5, 6, 7], choices), strict=True):
        row = torch.tensor([[5, 6, 7, *choice]])
        log_probs = model(row)[0].log_softmax(-1).detach()
        assert value == pytest.approx(sum(float(log_probs[2 + i, token]) for i, token in enumerate(choice)), abs=1e-4)


# --- marks -----------------------------------------------------------------------------------------------------------


class Digits:
    """Ids are digits; 10 is EOS."""

    eos_id = 10

    def encode(self, text: str) -> list[int]:
        return [int(c) for c in text if c.isdigit()]

    def decode(self, ids: Any) -> str:
        return "".join(map(str, ids))


class Scripted(torch.nn.Module):
    """Writes one digit, drawn with probabilities that the last digit of the prompt decides, then EOS."""

    max_length = 4
    vocab_size = 11

    def __init__(self, table: Any) -> None:
        super().__init__()
        self.table = torch.nn.Parameter(table.log(), requires_grad=False)  # (10, 10)

    def features(self, ids: Any, *, lengths: Any = None, cache: Any = None) -> Any:
        out = torch.nn.functional.one_hot(ids, 11).float()  # (B, T, 11)
        fresh = cache is None or not cache.begun
        if cache is not None:
            cache.begun = True
        return torch.cat((out, torch.full((*ids.shape, 1), float(fresh))), -1)

    def head(self, features: Any) -> Any:
        prompted = features[..., -1:].bool()
        logits = torch.full((*features.shape[:-1], 11), -1e9)
        first = torch.cat((features[..., :10] @ self.table.clamp(min=-1e9), torch.full_like(logits[..., :1], -1e9)), -1)
        ended = logits.clone()
        ended[..., 10] = 0.0
        return torch.where(prompted, first, ended)

    def new_cache(self, batch_size: int, max_length: int) -> Any:
        cache = SimpleNamespace(begun=False)
        cache.select = lambda rows: cache
        return cache


class Last:
    """The answer is the prompt's last digit; a completion of 9 breaks the checker, 8 has no final answer."""

    def check(self, example: Any, completion: str) -> Any:
        if completion == "9":
            raise ValueError("nine")
        correct = completion == example.answer
        return SimpleNamespace(reward=float(correct), correct=correct, parts={}, explanation="")

    def final_answer(self, completion: str) -> str | None:
        return None if completion == "8" else completion

    def choices(self, example: Any) -> list[str]:
        return ["0", "1", "22"]


def example(prompt: str, subject: str | None = None) -> Any:
    return SimpleNamespace(prompt=prompt, answer=prompt[-1], demonstration=prompt[-1], subject=subject)


def scripted(task: Any, examples: list[Any], **wanted: Any) -> tuple[dict[str, Any], list[Any]]:
    table = torch.zeros(10, 10)
    table[0, 0], table[0, 1] = 0.75, 0.25
    table[1, 1], table[1, 8] = 0.25, 0.75
    table[2, 9] = 1.0
    sampler = SimpleNamespace(
        sample=lambda logits, generator: torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
    )
    model = Scripted(table.clamp(min=1e-30)).train()
    outputs: list[Any] = []
    evaluation = Evaluation(model=model, tokenizer=Digits(), sampler=sampler, task=task, examples=examples)
    result = evaluation.run(
        Wanted(max_new_tokens=2, **wanted), write=lambda row: outputs.append(row), tick=lambda *_: None
    )
    assert model.training  # as it was
    return result, outputs


def test_marks_are_what_the_probabilities_say() -> None:
    problems = [example("40", "a"), example("41", "a"), example("32", "b"), example("12340", "b")]
    result, outputs = scripted(Last(), problems, samples=200, k=(1, 4), batch=300)
    assert result["problems"] == 4
    assert (result["prompts_too_long"], result["choices_too_long"]) == (1, 1)
    assert result["greedy"]["accuracy"] == 0.25  # 40 -> 0; 41 -> 8; 32 breaks the checker; the last cannot be read
    assert result["greedy"]["errors"] == 1
    assert result["sampled"]["errors"] == 200
    assert result["sampled"]["accuracy"] == pytest.approx((0.75 + 0.25) / 4, abs=0.03)
    assert result["pass_at"]["1"]["accuracy"] == pytest.approx(result["sampled"]["accuracy"])
    assert result["pass_at"]["4"]["accuracy"] == pytest.approx((2 - 0.25**4 - 0.75**4) / 4, abs=0.04)
    assert result["majority"]["accuracy"] == 0.5  # 41: most draws have no answer, the others are right
    assert result["majority"]["without_an_answer"] == 2
    assert result["sampled"]["interval"] == pytest.approx(wilson(4 * result["sampled"]["accuracy"], 4))
    assert result["subjects"]["a"]["greedy"] == 0.5
    assert result["subjects"]["b"] == {
        "problems": 2, "greedy": 0.0, "sampled": 0.0, "majority": 0.0,
        "likelihood_whole": 0.0, "likelihood_per_byte": 0.0,
    }  # fmt: skip
    assert result["mean_of_subjects"]["greedy"] == 0.25
    assert result["likelihood_whole"]["accuracy"] == 0.5  # 40 -> 0 and 41 -> 1, which is likelier than 0 and 22
    modes = Counter((row["mode"], row["problem"]) for row in outputs)
    assert modes[("greedy", 0)] == modes[("likelihood", 0)] == 1
    assert modes[("sampled", 2)] == 200
    [broken] = [row for row in outputs if row["mode"] == "greedy" and row["problem"] == 2]
    assert broken["explanation"] == "ValueError: nine"


def test_likelihood_a_byte_does_not_favour_short_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scratch_cli.evaluation.judging.log_likelihoods", lambda *_: [-1.0, -3.0, -1.5])  # of 0, 1, 22
    result, _ = scripted(Last(), [example("40")], samples=0)
    assert result["likelihood_whole"]["accuracy"] == 1.0
    assert result["likelihood_per_byte"]["accuracy"] == 0.0


def test_the_same_seed_gives_the_same_draws_and_temperature_flattens_them() -> None:
    problems = [example("40")]
    first, second = (scripted(Last(), problems, samples=50, seed=3)[1] for _ in range(2))
    assert first == second
    assert scripted(Last(), problems, samples=50, seed=4)[1] != first
    cold = scripted(Last(), problems, samples=50, temperature=0.01)[0]
    assert cold["sampled"]["accuracy"] == 1.0


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of stand-in parts."""
    path = tmp_path_factory.mktemp("eval")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        assert tiny("run", "--trainer", "tiny", "--steps", 30, "--out", "a", "-q") == 0
    return path


@pytest.fixture(autouse=True)
def _in_folder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "command" in request.node.name:
        monkeypatch.chdir(request.getfixturevalue("folder"))


def tiny(*args: object) -> int:
    return main([str(arg) for arg in args], registry=standin_registry())


def test_command_measures_and_writes(capsys: pytest.CaptureFixture[str]) -> None:
    assert tiny("eval", "a", "--samples", 4, "--k", "4,1", "--out", "out/first", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result == json.loads(Path("out/first/eval.json").read_text())
    assert result["problems"] == 16
    assert (result["split"], result["samples"], list(result["pass_at"])) == ("held_out", 4, ["1", "4"])
    rows = [json.loads(line) for line in Path("out/first/outputs.jsonl").read_text().splitlines()]
    assert Counter(row["mode"] for row in rows) == {"greedy": 16, "sampled": 64}
    for key in ("prompt", "completion", "answer", "correct", "reward", "rewards", "final_answer", "truncated"):
        assert key in rows[0]
    assert tiny("eval", "a", "--samples", 4, "--k", "4,1", "--out", "out/second", "-q") == 0
    assert Path("out/first/outputs.jsonl").read_bytes() == Path("out/second/outputs.jsonl").read_bytes()
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith("task tiny, held_out, finished: 16 problems, 4 draws each at temperature 1\n  greedy ")
    for word in ("sampled", "pass@1", "pass@4", "majority", "%  ("):
        assert word in out


def test_command_takes_other_problems(capsys: pytest.CaptureFixture[str]) -> None:
    for problems, args in (
        (3, ["--limit", 3]),
        (48, ["--split", "train", "--samples", 0]),
        (7, ["--set", "task.letters=abc"]),
        (16, ["--task", "tiny"]),
    ):
        assert tiny("eval", "a", *args, "--json") == 0
        result = json.loads(capsys.readouterr().out)
        assert result["problems"] == problems
    assert "sampled" in result
    assert tiny("eval", "a", "--samples", 0, "--json") == 0
    assert not {"sampled", "majority", "pass_at"} & set(json.loads(capsys.readouterr().out))


def test_command_leaves_room_for_answers_as_training_did(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the longest one to learn from, or of another task's problems; which of them are judged changes nothing."""
    from scratch_cli.testing.standin_text import TinyExample, TinyTask

    def examples(self: Any, split: str, /) -> list[TinyExample]:
        return [TinyExample(f"{n}>", "a" * n, "a" * (n if split == "held_out" else 4 + n)) for n in (1, 2, 5)]

    monkeypatch.setattr(TinyTask, "examples", examples)
    for room, args in (
        (10, []), (10, ["--limit", 1]), (10, ["--set", "task.seed=3"]), (6, ["--task", "tiny"]),
        (6, ["--task", "tiny", "--limit", 1]), (3, ["--max-new-tokens", 3]),
    ):  # fmt: skip
        assert tiny("eval", "a", "--samples", 0, *args, "--json") == 0
        assert json.loads(capsys.readouterr().out)["max_new_tokens"] == room


def test_command_without_questions_asks_the_trainer(capsys: pytest.CaptureFixture[str]) -> None:
    assert tiny("eval", "a", "--json") == 0
    assert "values" in json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("code", "text", "args"),
    [
        (2, "--seed: nothing is drawn with --samples 0", ["--samples", 0, "--seed", 3]),
        (2, "--temperature: nothing is drawn", ["--samples", 0, "--temperature", 0.5]),
        (2, "--k 8: needs at least as many samples, got --samples 4", ["--k", "1,8", "--samples", 4]),
        (2, "got '1,x', must be numbers of at least 1", ["--k", "1,x"]),
        (2, "got '0', must be numbers", ["--k", "0"]),
        (2, "--temperature", ["--temperature", "0"]),
        (2, "there is no task 'tinny', did you mean 'tiny'?", ["--task", "tinny"]),
        (2, "--data x: task 'tiny'", ["--data", "x"]),
        (2, "only options of the task can be set here", ["--set", "model.n_embd=4"]),
        (2, "task.leters: there is no such option, did you mean 'letters'?", ["--set", "task.leters=ab"]),
        (2, "--out a: is not empty", ["--out", "a"]),
        (2, "is not the directory of a run", ["--limit", 2, "RUN"]),
    ],
)
def test_command_refuses_in_one_line(code: int, text: str, args: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    run = "a"
    if args[-1] == "RUN":
        run, args = ".", args[:-1]
    before = sorted(Path().rglob("*"))
    assert tiny("eval", run, *args) == code
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert text in err
    assert sorted(Path().rglob("*")) == before

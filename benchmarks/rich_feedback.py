"""Where most groups fail: what do a reward, the successes, and feedback on failures teach?

    python benchmarks/rich_feedback.py --seeds 1 2 3 --out benchmarks/results

Task `cipher`: letters become digits in a secret key, another for each seed. A guess is right once in 256 times, so that
3 groups of 8 in a hundred have a success. The warm start knows nothing of the key: each of its demonstrations follows a
key of its own. What it learns is the form, and to read what a prompt shows, by rows with a solution (15 %) or feedback
(70 %), of all five degrees alike:

    place           position 3: got '2'
    symbol          position 3: got '2', expected '0'
    so_far          position 3: got '2', after 3 1
    so_far_symbol   position 3: got '2', expected '0', after 3 1
    answer          expected 3 1 0 2

From its weights: SDPO with each of these, GRPO and expert iteration, each with its own defaults and as many rollouts.
Controls that could take SDPO's place or show that its gain is none:

- GRPO with four times the rollouts, and GRPO that is paid for every symbol at the right place (`partial=1`), also
  with options that were tuned for that;
- SDPO without feedback, and SDPO with feedback on another problem, which is as long and says nothing;
- imitation of what the teacher writes itself when it is shown the feedback, all of it or what is right (STaR's hints);
- imitation of right answers, as many as others sample: what could be had if they were known.

Held-out words share none with training, but the key's letters: that is what there is to learn. Prints Markdown tables;
`--out` also gets the numbers as JSON, where what is not measured again stays, and curves over rollouts as SVG. 4 CPU
minutes a seed.
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pygal
import torch
from align_card import Run, drive, trainers

from align_scratch.config.drawn_tasks import CipherConfig
from align_scratch.rollouts import Prompts, Rollouts, longest_answer, roll_out
from align_scratch.scoring import completion_logits
from align_scratch.tasks.cipher import Cipher
from align_scratch.tasks.problems import hash_unit
from gpt_scratch.config import GPTConfig
from gpt_scratch.model import GPT
from inference_scratch.config import MultinomialConfig
from inference_scratch.generate import Generation
from inference_scratch.samplers import Multinomial
from inference_scratch.score import join, pack
from papers_scratch.config.sdpo import SDPOConfig
from papers_scratch.sdpo.reprompting import feedback_on, reprompt, teacher_prompt
from tokenizers_scratch.bpe import BPETokenizer
from tokenizers_scratch.config import BPEConfig

STEPS = 100  # of 64 prompts x 8 completions: 51,200 rollouts
WARM_START = {"steps": 480, "hints": 0.15, "feedback": 0.7, "attempt": "changed"}
TUNED = {"steps": STEPS, "minibatches": 8, "entropy_coef": 0.03}  # for `paid`, on seed 1: the best of 7 tried
DEGREES = ("place", "symbol", "so_far", "so_far_symbol", "answer")


@dataclass(frozen=True, kw_only=True)
class Arm:
    trainer: str
    options: Mapping[str, Any]
    feedback: str = "symbol"
    task: str = "own"
    """own = the task as it is, paid = with partial rewards, other = with feedback on another problem."""
    teacher_writes: bool = False


def _sdpo(feedback: str, **rest: Any) -> Arm:
    return Arm(trainer="sdpo", options={"steps": STEPS, "include_feedback": True}, feedback=feedback, **rest)


def _written(**options: Any) -> Arm:
    return Arm(
        trainer="expert-iteration",
        options={"steps": STEPS, "prompts_per_step": 64, "group_size": 8, **options},
        feedback="so_far_symbol",
        teacher_writes=True,
    )


ARMS: Mapping[str, Arm] = {
    "GRPO": Arm(trainer="grpo", options={"steps": STEPS}),
    "GRPO, 4 x the rollouts": Arm(trainer="grpo", options={"steps": 4 * STEPS}),
    "GRPO, paid for right places": Arm(trainer="grpo", options={"steps": STEPS}, task="paid"),
    "GRPO, tuned": Arm(trainer="grpo", options=TUNED),
    "GRPO, tuned, paid for right places": Arm(trainer="grpo", options=TUNED, task="paid"),
    "expert iteration (own successes)": Arm(trainer="expert-iteration", options={"steps": STEPS // 4}),
    "expert iteration, 4 epochs": Arm(trainer="expert-iteration", options={"steps": STEPS // 4, "epochs": 4}),
    "SDPO without feedback": Arm(trainer="sdpo", options={"steps": STEPS}),
    "SDPO, feedback on another problem": _sdpo("so_far_symbol", task="other"),
    **{f"SDPO, {degree}": _sdpo(degree) for degree in DEGREES},
    "imitation of all the teacher writes, so_far_symbol": _written(min_reward=0.0),
    "imitation of what is right of it, so_far_symbol": _written(),
    "imitation of right answers": Arm(
        trainer="hinted-sft", options={"steps": 4 * STEPS, "hints": 0.0, "imitate": "answer"}
    ),
}


class EveryDegree:
    """The task of the warm start: the degree of feedback is drawn for each problem."""

    def __init__(self, tasks: Mapping[str, Cipher]) -> None:
        self.tasks = tasks

    def examples(self, split: str) -> Sequence[Any]:
        return self.tasks["symbol"].examples(split)

    def check(self, example: Any, completion: str) -> Any:
        degree = DEGREES[int(hash_unit(example.prompt, "degree") * len(DEGREES))]
        return self.tasks[degree].check(example, completion)


class OnAnother:
    """A task whose feedback is what would be said if the answer of another problem had been asked for."""

    def __init__(self, task: Cipher) -> None:
        self.task, self.examples = task, task.examples
        self.others = task.examples("train")

    def check(self, example: Any, completion: str) -> Any:
        other = self.others[int(hash_unit(example.prompt, "another") * len(self.others))]
        score = self.task.check(example, completion)
        return score if score.correct else replace(score, explanation=self.task.check(other, completion).explanation)


class TeacherWrites:
    """Rollouts that the teacher has written: the start, shown what SDPO's teacher is shown. Successes stay."""

    def __init__(self, source: Any, seed: int) -> None:
        self.source, self.evaluation, self.device = source, source.evaluation, source.device
        self.generator = source.generator
        self.teacher = copy.deepcopy(source.model).eval()
        self.config = SDPOConfig(include_feedback=True)
        self.seed = seed

    def sample(self, step: int) -> Rollouts:
        own: Rollouts = self.source.sample(step)
        contexts = reprompt(
            self.config,
            prompts=[example.prompt for example in own.examples],
            texts=own.completions,
            rewards=own.rewards,
            explanations=[feedback_on(self.config, score) for score in own.scores],
            rng=None,  # type: ignore[arg-type]  # the first success is shown
        )
        examples = [example for example in own.examples for _ in range(own.group_size)]
        asked = [shown.text or example.prompt for shown, example in zip(contexts, examples, strict=True)]
        tokenizer = self.source.tokenizer
        taught = roll_out(
            self.teacher,
            tokenizer,
            self.source.task,
            examples,
            tokenizer.encode_batch(asked),
            sampler=self.source.sampler,
            max_new_tokens=self.source.max_new_tokens,
            generator=self.generator,
        )
        good = torch.tensor([score.correct for score in own.scores])  # (N,)
        generation = _choose(good, own.generation, taught.generation)
        return replace(
            own,
            completions=tokenizer.decode_batch(generation.to_lists()),
            scores=[a if a.correct else b for a, b in zip(own.scores, taught.scores, strict=True)],
            generation=generation,
            sequences=join(tokenizer.encode_batch([example.prompt for example in examples]), generation),
            rewards=torch.where(good, own.rewards.flatten(), taught.rewards.flatten()).view(own.rewards.shape),
        )


def _choose(first: torch.Tensor, a: Generation, b: Generation) -> Generation:
    """Rows of `a` where `first`, else of `b`."""
    width = max(a.tokens.shape[1], b.tokens.shape[1])

    def rows(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        if x.dim() == 1:
            return torch.where(first, x, y)
        wide = [torch.nn.functional.pad(part, (0, width - part.shape[1])) for part in (x, y)]
        return torch.where(first[:, None], *wide)

    names = ("tokens", "lengths", "log_probs", "finished")
    return Generation(**{name: rows(getattr(a, name), getattr(b, name)) for name in names})


class Bench:
    """One seed and key: the warm start, and everything from its weights."""

    def __init__(self, seed: int, symbols: int) -> None:
        self.seed = seed
        self.sampler = Multinomial(MultinomialConfig())
        self.tasks = {d: Cipher(CipherConfig(seed=seed, symbols=symbols, feedback=d)) for d in DEGREES}  # type: ignore[arg-type]
        self.paid = Cipher(CipherConfig(seed=seed, symbols=symbols, partial=1.0))
        mixed = EveryDegree(self.tasks)
        examples = mixed.examples("train")
        said = [mixed.check(example, other.demonstration).explanation for example, other in pairwise(examples)]
        texts = [*self.tasks["symbol"].texts("train"), *said[:4000]]
        self.tokenizer = BPETokenizer.train(texts, BPEConfig())
        torch.manual_seed(seed)
        self.model = GPT(GPTConfig(), vocab_size=self.tokenizer.vocab_size)
        warm_start = self._build("hinted-sft", WARM_START, mixed)
        self.warm_start = drive(warm_start, Run("cipher", seed, "warm start", ""), most_rollouts=None, points=1)
        self.start = copy.deepcopy(self.model.state_dict())

    def _build(self, name: str, options: Mapping[str, Any], task: Any) -> Any:
        target, rest = trainers()[name]
        return resolve_name(target)(
            resolve_name(rest["config"])(**options),
            model=self.model,
            tokenizer=self.tokenizer,
            task=task,
            sampler=self.sampler,
            seed=self.seed,
        )

    def run(self, label: str) -> Run:
        arm = ARMS[label]
        task: Any = self.paid if arm.task == "paid" else self.tasks[arm.feedback]
        if arm.task == "other":
            task = OnAnother(task)
        self.model.load_state_dict(self.start)
        trainer = self._build(arm.trainer, arm.options, task)
        if arm.teacher_writes:
            trainer.source = TeacherWrites(trainer.source, self.seed)
        return drive(trainer, Run("cipher", self.seed, label, ""), most_rollouts=None, points=10)

    def reading(self, n: int = 512) -> dict[str, float]:
        """What the start makes of each degree, on its own failures at training problems.

        By degree, the mean probability of the right symbol where the first error is; `without` feedback, and the shares
        of completions and groups of 8 that are right.
        """
        examples = self.tasks["symbol"].examples("train")[:n]
        prompts = Prompts(self.tokenizer, examples)
        self.model.load_state_dict(self.start)
        self.model.eval()
        rollouts = roll_out(
            self.model,
            self.tokenizer,
            self.tasks["symbol"],
            examples,
            prompts.ids,
            sampler=self.sampler,
            group_size=8,
            max_new_tokens=longest_answer(self.tokenizer, examples),
            generator=torch.Generator().manual_seed(self.seed),
        )
        right = rollouts.rewards == 1
        found = {"completions": float(right.double().mean()), "groups": float(right.any(1).double().mean())}
        completions = rollouts.generation.to_lists()[::8]
        wanted = [[*ids, self.tokenizer.eos_id] for ids in self.tokenizer.encode_batch([e.answer for e in examples])]
        for degree in ("without", *DEGREES):
            shown = []
            for example, text in zip(examples, rollouts.completions[::8], strict=True):
                said = "" if degree == "without" else self.tasks[degree].check(example, text).explanation
                shown.append(teacher_prompt(SDPOConfig(), example.prompt, feedback=said or None))
            rows = pack(self.tokenizer.encode_batch(shown), completions)
            with torch.no_grad():
                probs = completion_logits(self.model, rows)[0].softmax(-1)  # (M, V)
            start, values = 0, []
            for got, want in zip(completions, wanted, strict=True):
                at = next((i for i, (g, w) in enumerate(zip(got, want)) if g != w), None)  # noqa: B905
                if at is not None:
                    values.append(float(probs[start + at, want[at]]))
                start += len(got)
            found[degree] = statistics.mean(values)
        return found


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def table(runs: Sequence[Run]) -> str:
    lines = ["| from one warm start | sampled | greedy | rollouts | to 0.9 sampled | seconds |", "|---" * 6 + "|"]
    for label in dict.fromkeys(run.trainer for run in runs):
        of = [run for run in runs if run.trainer == label]
        rollouts, seconds = (statistics.mean(getattr(run, name) for run in of) for name in ("rollouts", "seconds"))
        cells = [label, _spread([run.sampled for run in of]), _spread([run.greedy for run in of])]
        reached = [next((n for _, n, _, sampled in run.curve if sampled >= 0.9), None) for run in of]
        there = [f"{n:,}" if n is not None else "never" for n in reached] if any(reached) else ["never"]
        cells += [f"{rollouts:,.0f}", " / ".join(there) if rollouts else "", f"{seconds:.1f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def reading_table(readings: Mapping[int, Mapping[str, float]]) -> str:
    names = list(next(iter(readings.values())))
    cells = [_spread([reading[name] for reading in readings.values()]) for name in names]
    return "\n".join(f"| {' | '.join(row)} |" for row in (names, ["---"] * len(names), cells))


def chart(runs: Sequence[Run]) -> pygal.XY:
    """Sampled accuracy over rollouts, the mean over seeds."""
    chart = pygal.XY(
        title="Sampled accuracy on held-out words of task cipher, mean over seeds",
        x_title="rollouts (the student's)", range=(0, 1), xrange=(0, 512 * STEPS), width=1000, height=560,
        dots_size=1, js=(), disable_xml_declaration=True, truncate_legend=-1,
    )  # fmt: skip
    for label in dict.fromkeys(run.trainer for run in runs):
        curves = [run.curve for run in runs if run.trainer == label]
        if label == "warm start" or ARMS[label].trainer == "hinted-sft":
            continue
        points = []
        for at in zip(*curves, strict=True):
            rollouts = at[0][1] / (2 if ARMS[label].teacher_writes else 1)
            if rollouts <= 512 * STEPS:
                points.append((rollouts, statistics.mean(sampled for *_, sampled in at)))
        chart.add(label, points)
    return chart


def _read(path: Path) -> tuple[list[Run], dict[int, dict[str, float]]]:
    if not path.exists():
        return [], {}
    found = json.loads(path.read_text("utf-8"))
    return [Run(**run) for run in found["runs"]], {int(seed): reading for seed, reading in found["reading"].items()}


def _write(path: Path, runs: Sequence[Run], readings: Mapping[int, Mapping[str, float]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    versions = {"python": platform.python_version(), "torch": torch.__version__, "machine": platform.machine()}
    head = {"versions": versions, "reading": readings}
    rounded = json.loads(json.dumps([head, *map(asdict, runs)]), parse_float=lambda text: round(float(text), 4))
    lines = ",\n".join(json.dumps(run) for run in rounded[1:])
    path.write_text(f'{json.dumps(rounded[0])[:-1]}, "runs": [\n{lines}\n]}}\n', "utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--symbols", type=int, default=4, help="of the cipher: the fewer, the more groups succeed")
    parser.add_argument(
        "--arms", nargs="+", choices=list(ARMS), default=list(ARMS), metavar="ARM", help="as in a table"
    )
    parser.add_argument("--name", default="rich_feedback", help="of the files in --out")
    parser.add_argument("--out", type=Path, help="directory for the numbers as JSON and a chart")
    args = parser.parse_args()
    torch.set_num_threads(1)
    runs, readings = _read(args.out / f"{args.name}.json") if args.out else ([], {})
    for seed in args.seeds:
        bench = Bench(seed, args.symbols)
        readings[seed] = bench.reading()
        print(
            f"seed {seed} reading: { ({name: round(value, 3) for name, value in readings[seed].items()}) }", flush=True
        )
        for label in ("warm start", *args.arms):
            run = bench.warm_start if label == "warm start" else bench.run(label)
            runs = [old for old in runs if (old.seed, old.trainer) != (seed, label)] + [run]
            print(
                f"seed {run.seed} {run.trainer}: sampled {run.sampled:.3f} greedy {run.greedy:.3f} after {run.steps} "
                f"steps, {run.rollouts:,} rollouts, {run.seconds:.1f} s, best {max(s for *_, s in run.curve):.3f}",
                flush=True,
            )
            if args.out:
                _write(args.out / f"{args.name}.json", runs, readings)
    order = ["warm start", *ARMS]
    runs.sort(key=lambda run: (order.index(run.trainer), run.seed))
    print("\nprobability of the right symbol at the first error, by feedback: mean over seeds (lowest to highest)\n")
    print(reading_table(readings))
    print("\nheld-out accuracy: mean over seeds (lowest to highest)\n")
    print(table(runs))
    if args.out:
        _write(args.out / f"{args.name}.json", runs, readings)
        chart(runs).render_to_file(str(args.out / f"{args.name}.svg"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

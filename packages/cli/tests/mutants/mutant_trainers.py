"""Trainers that each break one rule. The class's name says how."""

from __future__ import annotations

import random
import time

import torch

from scratch_cli.testing.standin_trainer import TinyTrainer


class _Altered(TinyTrainer):
    """Metrics pass through `altered`."""

    def train(self):
        for metrics in super().train():
            yield self.altered(dict(metrics))

    def altered(self, metrics):
        return metrics


class NaNMetric(_Altered):
    def altered(self, metrics):
        return {**metrics, "kl": float("nan")}


class NestedMetric(_Altered):
    def altered(self, metrics):
        return {**metrics, "rewards": {"exact": 1.0}}


class TensorMetric(_Altered):
    def altered(self, metrics):
        return {**metrics, "kl": torch.tensor(1.0)}


class CountsFromZero(_Altered):
    def altered(self, metrics):
        return {**metrics, "step": metrics["step"] - 1}


class NeverEnds(TinyTrainer):
    def train(self):
        while True:
            for metrics in super().train():
                yield metrics
            self.step += 1
            yield {**metrics, "step": self.step}


class StartsOver(TinyTrainer):
    def train(self):
        self.step = 0
        yield from super().train()


class EndsAtOnce(TinyTrainer):
    def train(self):
        for metrics in super().train():
            yield metrics
            return


class NoStep(TinyTrainer):
    def __init__(self, config, **wired):
        super().__init__(config, **wired)
        self.optimizer.step = lambda: None


class Diverges(TinyTrainer):
    def train(self):
        for metrics in super().train():
            with torch.no_grad():
                self.model.unembed.bias.fill_(float("inf"))
            yield {**metrics, "loss": 0.0, "grad_norm": 0.0}


class Unseeded(TinyTrainer):
    def __init__(self, config, **wired):
        super().__init__(config, **wired)
        self.generator.seed()


class ReportsTime(_Altered):
    def altered(self, metrics):
        return {**metrics, "seconds": time.perf_counter()}


class _Partial(TinyTrainer):
    """The state lacks `left_out`, and loading keeps what is there."""

    left_out = ""

    def load_state_dict(self, state):
        mine = self.state_dict()
        super().load_state_dict({**state, self.left_out: mine[self.left_out]})


class LeavesOutWeights(_Partial):
    left_out = "model"


class LeavesOutOptimizer(TinyTrainer):
    def load_state_dict(self, state):
        super().load_state_dict(state)
        self.optimizer.state.clear()


class LeavesOutGenerator(_Partial):
    left_out = "generator"


class LeavesOutTorch(_Partial):
    """Dropout then differs."""

    left_out = "torch"


class LeavesOutTokens(_Partial):
    left_out = "num_tokens"


class LeavesOutStep(_Partial):
    left_out = "step"


class StateDraws(TinyTrainer):
    def state_dict(self):
        torch.rand(1, generator=self.generator)
        return super().state_dict()


class StateOfTuples(TinyTrainer):
    def state_dict(self):
        return {**super().state_dict(), "betas": (0.9, 0.95)}


class StateOfNumbers(TinyTrainer):
    def state_dict(self):
        return {**super().state_dict(), "seen": {1: 2}}


class LeavesOutAdapter(TinyTrainer):
    """Loads only what has the name of a base weight."""

    def load_state_dict(self, state):
        mine = {name: p.detach().clone() for name, p in self.parameters.items() if name.endswith((".up", ".down"))}
        super().load_state_dict({**state, "model": {**state["model"], **mine}})


class SharesState(TinyTrainer):
    def load_state_dict(self, state):
        super().load_state_dict(state)
        for name, parameter in self.parameters.items():
            parameter.data = state["model"][name]


class JudgesInPlace(TinyTrainer):
    def evaluate(self):
        values = super().evaluate()
        with torch.no_grad():
            self.model.mix.bias += 1e-6
        return values


class LeavesEvalMode(TinyTrainer):
    def evaluate(self):
        values = super().evaluate()
        self.model.eval()
        return values


class JudgesWithTorch(TinyTrainer):
    def evaluate(self):
        torch.rand(1)
        return super().evaluate()


class JudgesWithPython(TinyTrainer):
    def evaluate(self):
        random.random()
        return super().evaluate()


class JudgesOnOtherExamples(TinyTrainer):
    calls = 0

    def evaluate(self):
        self.calls += 1
        return {**super().evaluate(), "loss": float(self.calls)}


class JudgesBeyondOne(TinyTrainer):
    def evaluate(self):
        return {**super().evaluate(), "greedy": 95.0}


class HidesWhatJudgingChanges(TinyTrainer):
    """A schedule that reacts to evaluations, and is in no state."""

    judged = 0

    def evaluate(self):
        self.judged += 1
        return super().evaluate()

    def train(self):
        for metrics in super().train():
            for group in self.optimizer.param_groups:
                group["lr"] = self.config.lr / (1 + self.judged)
            yield metrics


class ThawsAll(TinyTrainer):
    def __init__(self, config, *, model, **wired):
        model.requires_grad_(True)
        super().__init__(config, model=model, **wired)


class DecaysAll(TinyTrainer):
    def train(self):
        for metrics in super().train():
            with torch.no_grad():
                for parameter in self.model.parameters():
                    parameter *= 0.999
            yield metrics


class TrainsNothing(TinyTrainer):
    """With frozen parameters it gives up silently."""

    def train(self):
        if all(p.requires_grad for p in self.model.parameters()):
            yield from super().train()
        while self.step < self.config.steps:
            self.step += 1
            yield {"step": self.step, "loss": 0.0}


class MeansOfMeans(TinyTrainer):
    """Divides each part by its own count of tokens. The rows are made unequal, so that it matters."""

    def _rows(self, examples):
        ids, lengths = super()._rows(examples)
        lengths[: len(lengths) // 2] -= 3
        return ids, lengths

    def _loss(self, ids, lengths):
        if not self.model.training:
            return super()._loss(ids, lengths)
        return super()._loss(ids, lengths) / int((lengths - 1).sum()) * 40


class SamplesWithoutText(TinyTrainer):
    def samples(self, n):
        return [{"prompt": s["prompt"]} for s in super().samples(n)]


class SamplesTooMany(TinyTrainer):
    def samples(self, n):
        return super().samples(n + 1)


class SamplesWithTorch(TinyTrainer):
    def samples(self, n):
        torch.rand(1)
        return super().samples(n)


class RolloutsOfTensors(TinyTrainer):
    def last_rollouts(self):
        return [{"prompt": "a", "ids": torch.zeros(2)}]


class NoRollouts(TinyTrainer):
    def last_rollouts(self):
        return []


class _WithFiles(TinyTrainer):
    """Learns a number besides the model, by which it judges."""

    def evaluate(self):
        return {**super().evaluate(), "margin": float(self.step)}

    def save(self, directory):
        (directory / "head.json").write_text(str(self.step), encoding="utf-8")

    def load(self, directory):
        self.step = int((directory / "head.json").read_text(encoding="utf-8"))


class SavesPickledFiles(_WithFiles):
    def save(self, directory):
        super().save(directory)
        (directory / "head.pt").write_bytes(b"anything")


class SavingDraws(_WithFiles):
    def save(self, directory):
        super().save(directory)
        torch.rand(())


class LoadsNothing(_WithFiles):
    def load(self, directory):
        pass

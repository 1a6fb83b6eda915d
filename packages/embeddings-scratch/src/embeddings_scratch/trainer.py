"""word2vec: skip-gram with negative sampling over the ids of any tokenizer.

Mikolov et al., "Distributed Representations of Words and Phrases and their Compositionality" (2013). For each centre
word w and each word c near it, the score v_w . u_c is pushed up, and the scores of a few random words are pushed down.

Departures: batches of pairs with row-wise AdaGrad instead of SGD on one pair at a time (`optimizer.py` says why); a run
is a number of steps, not of epochs, and goes on with the next epoch when one ends; no races between threads, so that a
run repeats to the bit. Left out: hierarchical softmax, CBOW, phrases, n-grams.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from embeddings_scratch.config import Word2VecConfig
from embeddings_scratch.corpus import Corpus, encode_corpus
from embeddings_scratch.errors import CorpusError, DivergedError
from embeddings_scratch.noise import NoiseTable
from embeddings_scratch.objective import negative_sampling_loss
from embeddings_scratch.optimizer import RowAdagrad
from embeddings_scratch.pairs import PairStream, keep_probabilities, seeded
from embeddings_scratch.protocols import TextTask, Tokenizer, WordVectorModel
from embeddings_scratch.queries import VectorIndex

Metrics = dict[str, float | int | None]


def known_ids(counts: Tensor, config: Word2VecConfig) -> Tensor:
    """Which ids are learnt: (V,), bool: those counted at least `min_count` times. CorpusError if they are too few."""
    known = counts >= config.min_count  # (V,)
    n, tokens, distinct = int(known.sum()), int(counts.sum()), int((counts > 0).sum())
    said = f"the training texts have {tokens} tokens with {distinct} distinct ids"
    if not n:
        raise CorpusError(f"{said}; none occurs trainer.min_count={config.min_count} times: lower it or give more text")
    if n < 2:
        raise CorpusError(
            f"{said}; {n} of them occurs at least trainer.min_count={config.min_count} times: two are needed"
        )
    if n <= config.negative:
        raise CorpusError(
            f"{said}; {n} of them can be learnt, which is too few for trainer.negative={config.negative} negatives: "
            f"set it to {n - 1} or less, or give more text"
        )
    return known


class Word2Vec:
    """Trains any model with the capability `word-vectors`.

    Raises CorpusError (exit code 3) while it is built if nothing can be learnt from the task's training texts. It has
    no use for `sampler`; an `adapter` has frozen what it wants frozen already.
    """

    def __init__(
        self,
        config: Word2VecConfig,
        *,
        model: WordVectorModel,
        tokenizer: Tokenizer,
        task: TextTask,
        sampler: object = None,
        adapter: object = None,
        seed: int = 0,
    ) -> None:
        self.config = config
        self.model = model
        self.tokenizer = tokenizer
        self.trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if not self.trainable:
            raise ValueError("model: every parameter is frozen, so there is nothing to train")
        self.device = next(iter(self.trainable.values())).device

        corpus = self._encode(task, "train")
        self.counts = corpus.counts(model.vocab_size)  # (V,)
        self.known = known_ids(self.counts, config)  # (V,)
        corpus = corpus.only(self.known)
        if int(corpus.lengths.max()) < 2:
            raise CorpusError(
                f"none of the {len(corpus.lengths)} {config.unit}s in the training texts has two tokens that occur at "
                f"least trainer.min_count={config.min_count} times, so no pairs: lower it or give longer texts"
            )
        self.held_out = self._encode(task, "held_out")
        known_counts = self.counts * self.known
        self.keep = keep_probabilities(known_counts, config.subsample)  # (V,)
        self.noise = NoiseTable(known_counts, config.ns_exponent)
        self.pairs = self._stream(corpus, seed)
        self.optimizer = RowAdagrad(self.trainable)
        self.generator = seeded(seed, "negatives")
        self.step = 0
        self._held_out_sample: tuple[Tensor, Tensor, Tensor] | None = None

    def train(self) -> Iterator[Metrics]:
        """One optimizer step at a time, to `config.steps`. Metrics: step, loss (nats a pair, before the update), lr,
        pairs and num_tokens (both from the start of the run), epoch (passes over the training texts)."""
        config = self.config
        while self.step < config.steps:
            self.model.train()
            lr = config.lr + (config.min_lr - config.lr) * self.step / config.steps
            centres, positives = self.pairs.take(config.batch_size)  # (B,), (B,)
            negatives = self.noise.draw((config.batch_size, config.negative), self.generator)  # (B, K)
            self.optimizer.zero_grad()
            loss = 0.0
            # Drawn for the whole batch and divided by its size: the gradient does not depend on the split.
            for c, p, n in self._micro_batches(centres, positives, negatives):
                total = self._losses(c, p, n).sum() / config.batch_size
                total.backward()  # type: ignore[no-untyped-call]
                loss += float(total.detach())
            if not math.isfinite(loss):
                raise DivergedError(
                    f"step {self.step + 1}: the loss is {loss}: try a lower trainer.lr than {config.lr}"
                )
            self.optimizer.step(lr)
            self.step += 1
            tokens = self.pairs.tokens
            yield {
                "step": self.step,
                "loss": loss,
                "lr": lr,
                "pairs": self.step * config.batch_size,
                "num_tokens": tokens,
                "epoch": tokens / len(self.pairs.corpus.ids),
            }

    @torch.no_grad()
    def evaluate(self) -> Metrics:
        """Judge the model on held-out pairs with negatives that are always the same.

        - `loss`: mean of the training loss over pairs, nats. Untrained: (negatives + 1) log 2 a pair.
        - `auc`: how often a true pair scores above the same centre with a random context from the noise distribution,
          ties counting half: 0.5 is chance.
        - `pairs`: how many were looked at. `coverage`: share of held-out tokens that were learnt at all; others are
          left out, so a good loss with a low coverage says little.

        `loss` and `auc` are None if the held-out texts have no pair of known tokens.
        """
        centres, positives, negatives = self._held_out_pairs()
        known = int(self.known[self.held_out.ids.long()].sum())
        metrics: Metrics = {
            "loss": None,
            "auc": None,
            "pairs": len(centres),
            "coverage": known / len(self.held_out.ids) if len(self.held_out.ids) else None,
        }
        if not len(centres):
            return metrics
        was_training = self.model.training
        self.model.train(False)
        loss, won, compared = 0.0, 0.0, 0
        for i in range(0, len(centres), self.config.batch_size):
            rows = slice(i, i + self.config.batch_size)
            c, p, n = centres[rows], positives[rows], negatives[rows]
            scores = self._scores(c, p, n).double()  # (b, 1 + K)
            other = (n != p[:, None]).to(self.device)  # (b, K)
            loss += float(negative_sampling_loss(scores, other.double()).sum())
            gap = scores[:, :1] - scores[:, 1:]  # (b, K)
            won += float((((gap > 0).double() + 0.5 * (gap == 0)) * other).sum())
            compared += int(other.sum())
        self.model.train(was_training)
        return metrics | {"loss": loss / len(centres), "auc": won / compared if compared else None}

    def samples(self, n: int) -> list[dict[str, str]]:
        """`n` frequent tokens with their five nearest neighbours; whole words of four letters or more first."""
        learnt = self.known.nonzero().squeeze(1).tolist()
        texts = {i: self.tokenizer.decode([i]) for i in learnt}
        shown = sorted(
            learnt, key=lambda i: (len(texts[i].strip()) < 4 or not texts[i].strip().isalpha(), -int(self.counts[i]), i)
        )[:n]
        index = VectorIndex(self.model.get_all_embeddings(), answers=learnt)
        return [
            {"prompt": texts[i], "completion": ", ".join(texts[j].strip() or repr(texts[j]) for j, _ in neighbours)}
            for i, neighbours in zip(shown, index.most_similar_batch([([i], []) for i in shown], topn=5), strict=True)
        ]

    def state_dict(self) -> dict[str, Any]:
        trained = {name: p.detach().clone() for name, p in self.trainable.items()}
        return {
            "step": self.step,
            "position": self.pairs.state_dict(),
            "model": trained | {name: b.clone() for name, b in self._buffers().items()},
            "optimizer": self.optimizer.state_dict(),
            "rng": {
                "negatives": self.generator.get_state(),
                "torch": torch.get_rng_state(),
                "cuda": torch.cuda.get_rng_state_all() if self.device.type == "cuda" else [],
            },
        }

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue as if never interrupted. ValueError if the state belongs to other parameters."""
        mine = self.trainable | self._buffers()
        saved = state["model"]
        if saved.keys() != mine.keys() or any(saved[name].shape != mine[name].shape for name in mine):
            found = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in saved.items())
            expected = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in mine.items())
            raise ValueError(f"state: the saved parameters are {found}, but the model has {expected}")
        for name, tensor in mine.items():
            tensor.copy_(saved[name])
        self.step = int(state["step"])
        self.pairs.load_state_dict(state["position"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["rng"]["negatives"].cpu())
        torch.set_rng_state(state["rng"]["torch"].cpu())
        if self.device.type == "cuda":
            torch.cuda.set_rng_state_all([rng.cpu() for rng in state["rng"]["cuda"]])

    def _encode(self, task: TextTask, split: str) -> Corpus:
        corpus = encode_corpus(task.texts(split), self.tokenizer, unit=self.config.unit)
        highest = int(corpus.ids.max()) if len(corpus.ids) else 0
        if highest >= self.model.vocab_size:
            raise ValueError(
                f"tokenizer: gave id {highest}, but the model has rows for 0 to {self.model.vocab_size - 1} only: "
                "they do not belong together"
            )
        return corpus

    def _stream(self, corpus: Corpus, seed: int | str) -> PairStream:
        config = self.config
        return PairStream(corpus, self.keep, window=config.window, shrink_windows=config.shrink_windows, seed=seed)

    def _micro_batches(self, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
        return zip(*(t.tensor_split(self.config.grad_accum_steps) for t in tensors), strict=True)

    def _scores(self, centres: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
        contexts = torch.cat((positives[:, None], negatives), dim=1)  # (B, 1 + K)
        return self.model.pair_scores(centres.to(self.device), contexts.to(self.device))

    def _losses(self, centres: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
        scores = self._scores(centres, positives, negatives)  # (B, 1 + K)
        weights = (negatives != positives[:, None]).to(
            scores
        )  # (B, K): a negative that is the true context is left out
        return negative_sampling_loss(scores, weights)  # (B,)

    def _held_out_pairs(self) -> tuple[Tensor, Tensor, Tensor]:
        """Centres (P,), contexts (P,) and negatives (P, K): the same at every evaluation, whatever the run's seed."""
        if self._held_out_sample is None:
            corpus = self.held_out.only(self.known)
            pairs = torch.empty(2, 0, dtype=torch.int64)
            if len(corpus.ids):
                for block in self._stream(corpus, "held out").rest_of_epoch():
                    pairs = torch.cat((pairs, block), dim=1)[:, : self.config.eval_pairs]
                    if pairs.shape[1] == self.config.eval_pairs:
                        break
            negatives = self.noise.draw((pairs.shape[1], self.config.negative), seeded("held out negatives"))
            self._held_out_sample = (pairs[0], pairs[1], negatives)
        return self._held_out_sample

    def _buffers(self) -> dict[str, Tensor]:
        parameters = {name for name, _ in self.model.named_parameters()}
        return {name: t for name, t in self.model.state_dict().items() if name not in parameters}

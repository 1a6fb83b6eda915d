"""Models, samplers and adapters that each break one rule. The class's name says how."""

from __future__ import annotations

from contextlib import contextmanager

import torch
from torch import nn

from scratch_cli.testing.standin_model import TinyCache, TinyLM, TinyVectors
from scratch_cli.testing.standin_parts import TinyAdapter, TinySampler

# --- models


class OddLimit(TinyLM):
    def __init__(self, config, *, vocab_size):
        super().__init__(config, vocab_size=vocab_size)
        self.max_length = 0


class SeedsItself(TinyLM):
    def __init__(self, config, *, vocab_size):
        super().__init__(config, vocab_size=vocab_size)
        generator = torch.Generator()
        generator.seed()
        nn.init.normal_(self.mix.weight, generator=generator)


class OneStart(TinyLM):
    def __init__(self, config, *, vocab_size):
        super().__init__(config, vocab_size=vocab_size)
        torch.manual_seed(0)
        for parameter in self.parameters():
            nn.init.normal_(parameter)


class LosesAWeight(TinyLM):
    @classmethod
    def load(cls, directory):
        model = super().load(directory)
        nn.init.normal_(model.mix.bias)
        return model


class RoundsWeights(TinyLM):
    @classmethod
    def load(cls, directory):
        return super().load(directory).bfloat16().float()


class SavesAPickle(TinyLM):
    def save(self, directory):
        super().save(directory)
        torch.save(self.state_dict(), directory / "weights.pt")


class UnusedParameter(TinyLM):
    def __init__(self, config, *, vocab_size):
        super().__init__(config, vocab_size=vocab_size)
        self.unused = nn.Linear(2, 2)


class DetachedPart(TinyLM):
    def features(self, ids, *, lengths=None, cache=None):
        return super().features(ids, lengths=lengths, cache=cache).detach()


class DetachedVectors(TinyVectors):
    def pair_scores(self, centres, contexts):
        return super().pair_scores(centres, contexts) + 0 * self.input(centres).sum(-1, keepdim=True)

    def __init__(self, config, *, vocab_size):
        super().__init__(config, vocab_size=vocab_size)
        self.extra = nn.Embedding(vocab_size, 2)


class LastOnly(TinyLM):
    def forward(self, ids, *, lengths=None, cache=None):
        return super().forward(ids, lengths=lengths, cache=cache)[:, -1:]


class ScaledForward(TinyLM):
    def forward(self, ids, *, lengths=None, cache=None):
        return 2 * super().forward(ids, lengths=lengths, cache=cache)


class RigidHead(TinyLM):
    def head(self, features):
        return super().head(features.transpose(-2, -1).transpose(-2, -1)) if features.dim() == 3 else features


class Constant(TinyLM):
    def features(self, ids, *, lengths=None, cache=None):
        return super().features(torch.zeros_like(ids), lengths=lengths, cache=cache)


class LooksAhead(TinyLM):
    def _causal(self, rows):
        x = super()._causal(rows)
        return x + 0.01 * x.roll(-1, 1)


class MixesRows(TinyLM):
    def _causal(self, rows):
        x = super()._causal(rows)
        return x + 0.01 * x.mean(0, keepdim=True)


class SeesPadding(TinyLM):
    """Depends on how wide the batch is."""

    def _causal(self, rows):
        return super()._causal(rows) * (1 + 0.01 * rows.shape[1])


class AlwaysDrops(TinyLM):
    def train(self, mode=True):
        return super().train(True)


class CountsCalls(TinyLM):
    def __init__(self, config, *, vocab_size):
        super().__init__(config, vocab_size=vocab_size)
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, ids, *, lengths=None, cache=None):
        self.calls += 1
        return super().forward(ids, lengths=lengths, cache=cache)


class NoLinear(TinyLM):
    def modules(self):
        return (module for module in super().modules() if not isinstance(module, nn.Linear))


class CacheIgnoresLengths(TinyLM):
    def features(self, ids, *, lengths=None, cache=None):
        return super().features(ids, lengths=lengths if cache is None else None, cache=cache)


class CacheForgets(TinyLM):
    """Every call with a cache starts over, but counts."""

    def features(self, ids, *, lengths=None, cache=None):
        if cache is None:
            return super().features(ids, lengths=lengths)
        cache.lengths = cache.lengths + (ids.shape[1] if lengths is None else lengths)
        return super().features(ids, lengths=lengths)


class CacheOfThePositions(TinyLM):
    """Puts each chunk behind the longest row."""

    def features(self, ids, *, lengths=None, cache=None):
        if cache is None:
            return super().features(ids, lengths=lengths)
        kept = cache.lengths
        cache.lengths = torch.full_like(kept, int(kept.max()))
        out = super().features(ids, lengths=lengths, cache=cache)
        cache.lengths = kept + (ids.shape[1] if lengths is None else lengths)
        return out


class CacheKeepsPadding(TinyLM):
    """A later call sees what stood at the padded positions of the first."""

    def features(self, ids, *, lengths=None, cache=None):
        out = super().features(ids, lengths=lengths, cache=cache)
        if cache is not None:
            out = out + 0.01 * getattr(cache, "sum", torch.zeros(len(ids)))[:, None, None]
            cache.sum = ids.sum(1).float()
        return out


class CacheLengthsOfOneType(TinyLM):
    def new_cache(self, batch_size, max_length):
        cache = super().new_cache(batch_size, max_length)
        cache.lengths = cache.lengths.int()
        return cache


class _SharingCache(TinyCache):
    def select(self, rows):
        self.ids, self.lengths = self.ids[rows], self.lengths[rows]
        return self


class SelectChangesTheOld(TinyLM):
    def new_cache(self, batch_size, max_length):
        cache = super().new_cache(batch_size, max_length)
        return _SharingCache(cache.ids, cache.lengths)


class _SortingCache(TinyCache):
    def select(self, rows):
        return super().select(rows.sort().values)


class SelectSorts(TinyLM):
    def new_cache(self, batch_size, max_length):
        cache = super().new_cache(batch_size, max_length)
        return _SortingCache(cache.ids, cache.lengths)


class _LongCache(TinyCache):
    def truncate(self, lengths):
        pass


class TruncateDoesNothing(TinyLM):
    def new_cache(self, batch_size, max_length):
        cache = super().new_cache(batch_size, max_length)
        return _LongCache(cache.ids, cache.lengths)


class _EqualCache(TinyCache):
    def truncate(self, lengths):
        self.lengths = torch.full_like(self.lengths, int(lengths.max()))


class TruncateToTheLongest(TinyLM):
    def new_cache(self, batch_size, max_length):
        cache = super().new_cache(batch_size, max_length)
        return _EqualCache(cache.ids, cache.lengths)


# --- samplers


class Unnormalized(TinySampler):
    def log_probs(self, logits):
        return logits


class InPlace(TinySampler):
    def log_probs(self, logits):
        logits -= logits.max()
        return super().log_probs(logits)


class WholeBatch(TinySampler):
    """Normalizes over all rows at once."""

    def log_probs(self, logits):
        return super().log_probs(logits.reshape(-1)).reshape(logits.shape)


class KeepsADimension(TinySampler):
    def sample(self, logits, generator):
        return super().sample(logits, generator=generator)[:, None]


class ShortIds(TinySampler):
    def sample(self, logits, generator):
        return super().sample(logits, generator=generator).int()


class GlobalRandom(TinySampler):
    def sample(self, logits, generator):
        return torch.multinomial(self.log_probs(logits).exp(), 1).squeeze(1)


class OwnSeed(TinySampler):
    def sample(self, logits, generator):
        return super().sample(logits, generator=torch.Generator().manual_seed(0))


class Remembers(TinySampler):
    calls = 0

    def sample(self, logits, generator):
        self.calls += 1
        return super().sample(logits / self.calls, generator=generator)


class ClonesTheGenerator(TinySampler):
    def sample(self, logits, generator):
        other = torch.Generator()
        other.set_state(generator.get_state())
        return super().sample(logits, generator=other)


class Hotter(TinySampler):
    def sample(self, logits, generator):
        return super().sample(logits / 1.1, generator=generator)


class SkipsTheLast(TinySampler):
    def sample(self, logits, generator):
        ids = super().sample(logits, generator=generator)
        return ids.clamp(max=logits.shape[1] - 2)


class FirstRowForAll(TinySampler):
    def sample(self, logits, generator):
        return super().sample(logits[:1].expand_as(logits), generator=generator)


class SmoothsMasks(TinySampler):
    def log_probs(self, logits):
        return super().log_probs(logits.clamp(min=-4))


class NaNMasks(TinySampler):
    def log_probs(self, logits):
        p = logits.softmax(-1)
        return (p * p.log()).sum(-1, keepdim=True) * 0 + super().log_probs(logits)


class TopTwo(TinySampler):
    def log_probs(self, logits):
        return super().log_probs(logits.masked_fill(logits < logits.topk(2).values[..., -1:], -torch.inf))


class Overflows(TinySampler):
    def log_probs(self, logits):
        return (logits.exp() / logits.exp().sum(-1, keepdim=True)).log()


class NoGradient(TinySampler):
    def log_probs(self, logits):
        return super().log_probs(logits.detach()).requires_grad_()


class NaNGradient(TinySampler):
    def log_probs(self, logits):
        zero = logits - logits
        return super().log_probs(logits) + zero.sqrt() * 0


# --- adapters


class StartsMoved(TinyAdapter):
    def wrap(self, model):
        super().wrap(model)
        for name, parameter in self.trainable_parameters().items():
            if name.endswith("up"):
                nn.init.normal_(parameter)


class StartsTraining(TinyAdapter):
    def wrap(self, model):
        super().wrap(model)
        model.train()


class LeavesBaseTrainable(TinyAdapter):
    def wrap(self, model):
        super().wrap(model)
        model.requires_grad_(True)


class HidesHalf(TinyAdapter):
    def trainable_parameters(self):
        return {name: p for name, p in super().trainable_parameters().items() if name.endswith("up")}


class NothingTrainable(TinyAdapter):
    def trainable_parameters(self):
        return {}


class DetachesHalf(TinyAdapter):
    def added(self, layer, x, y):
        return y + (x @ layer.down.detach().T) @ layer.up.T


class MergesDouble(TinyAdapter):
    def merge(self):
        super().merge()
        for layer in self._layers.values():
            layer.weight.data += (layer.up @ layer.down).detach()


class MergesAgain(TinyAdapter):
    def merge(self):
        self._originals = {}
        super().merge()


class MovedHasNoEffect(TinyAdapter):
    def added(self, layer, x, y):
        return y


class Subtracts(TinyAdapter):
    """Un-merges by subtraction, which rounds."""

    def unmerge(self):
        for layer in self._layers.values() if self._originals else ():
            layer.weight.data -= (layer.up @ layer.down).detach()
        self._originals = {}


class StaysOn(TinyAdapter):
    @contextmanager
    def disabled(self):
        yield


class StaysOffAfterAnError(TinyAdapter):
    @contextmanager
    def disabled(self):
        self.on = False
        yield
        self.on = True


class FreezesAfterwards(TinyAdapter):
    @contextmanager
    def disabled(self):
        with super().disabled():
            yield
        for parameter in self.trainable_parameters().values():
            parameter.requires_grad_(False)


class SavesTheBase(TinyAdapter):
    def save(self, directory):
        super().save(directory)
        with (directory / "base.safetensors").open("wb") as file:
            for layer in self._layers.values():
                file.write(bytes(layer.weight.detach().contiguous().view(torch.uint8).flatten().tolist()))


class LoadsHalf(TinyAdapter):
    @classmethod
    def load(cls, directory):
        adapter = super().load(directory)
        adapter._saved = {k: v * (0 if k.endswith("up") else 1) for k, v in adapter._saved.items()}
        return adapter


class WrapsAgain(TinyAdapter):
    def wrap(self, model):
        self._layers = {}
        super().wrap(model)

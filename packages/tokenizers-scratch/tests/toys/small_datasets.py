"""A tokenizer of numbers, texts for it, and a writer that is killed on its way."""

from __future__ import annotations

import pytest

from tokenizers_scratch.dataset.prepare import prepare

TEXTS = [f"text {i}: the cat sat on the mat {'again ' * (i % 5)}👍" for i in range(60)]


def content(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


class Numbers:
    """A tokenizer of any size: a text is one number."""

    vocab_size, eos_id = 70_000, None

    def save(self, directory):
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "size").write_text(str(self.vocab_size))

    @classmethod
    def load(cls, directory):
        return cls()

    def encode(self, text):
        return [int(part) for part in text.split()]

    def encode_batch(self, texts):
        return [self.encode(text) for text in texts]

    def encode_iterable(self, chunks):
        return self.encode("".join(chunks))


class Killed(Exception):
    pass


def interrupted(bpe, sources, directory, after):
    def stop(progress):
        if progress.shards == after:
            raise Killed

    with pytest.raises(Killed):
        prepare(bpe, sources, directory, shard_bytes=1000, progress=stop)

"""The byte tokenizer: ids are bytes after the special tokens."""

from __future__ import annotations

from tokenizers_scratch.byte import ByteTokenizer
from tokenizers_scratch.config import ByteConfig


def test_ids_are_bytes_after_the_special_tokens():
    tokenizer = ByteTokenizer.train([], ByteConfig())
    assert tokenizer.vocab_size == 260
    assert tokenizer.encode("aé") == [97 + 4, 0xC3 + 4, 0xA9 + 4]
    assert ByteTokenizer.train([], ByteConfig(special_tokens=("<S>",))).encode("a") == [97 + 5]


def test_training_reads_no_text():
    def never():
        raise AssertionError("read")
        yield ""

    ByteTokenizer.train(never(), ByteConfig())


def test_ids_that_are_no_text():
    tokenizer = ByteTokenizer()
    assert tokenizer.decode([0xC3 + 4, 97 + 4]) == "\ufffda"
    assert tokenizer.decode_bytes([0xC3 + 4, 97 + 4]) == b"\xc3a"
    # Special tokens that are skipped do not cut a character.
    assert tokenizer.decode([0xC3 + 4, 3, 0xA9 + 4]) == "é"
    assert tokenizer.decode([0xC3 + 4, 3, 0xA9 + 4], skip_special=False) == "\ufffd<EOS>\ufffd"

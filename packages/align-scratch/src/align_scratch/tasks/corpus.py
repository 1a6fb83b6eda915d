"""Task `corpus`: English prose and verse to model, or any UTF-8 file of the user's.

The text is cut into passages at paragraph, line or word ends; a passage is held out or trained on as a whole, and two
equal passages never stand on different sides.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from align_scratch.config.tasks import CorpusConfig
from align_scratch.errors import DataError
from align_scratch.tasks.problems import SPLITS, hash_unit

BUILT_IN = ("alice.txt", "paradise_lost.txt")


class Corpus:
    """Texts without prompts or answers. Built-in: Carroll 1865 and Milton 1667, both in the public domain."""

    def __init__(self, config: CorpusConfig) -> None:
        self.config = config
        if config.path is not None:
            self.lesson = f"Read {config.path}."
            documents = [read_text(Path(config.path))]
        else:
            self.lesson = "Read Alice's Adventures in Wonderland (Carroll, 1865) and Paradise Lost (Milton, 1667)."
            data = files("align_scratch") / "data"
            documents = [(data / name).read_text("utf-8") for name in BUILT_IN]
        longest = min(config.passage_chars, max(sum(map(len, documents)) // 10, 1))  # a small file still has passages
        passages = [passage for document in documents for passage in cut(document, longest)]
        distinct = sorted(set(passages), key=lambda passage: (hash_unit(passage, "scratch split"), passage))
        if len(distinct) < 2:
            raise DataError(f"{config.path}: byte 0: too little text to split into training and held-out parts")
        held_out = set(distinct[: max(1, int(config.held_out * len(distinct)))])
        self._texts = {
            "train": tuple(p for p in passages if p not in held_out),
            "held_out": tuple(p for p in dict.fromkeys(passages) if p in held_out),
        }

    def texts(self, split: str = "train", /) -> Iterator[str]:
        """Passages of "train" or "held_out", in the order of the text."""
        if split not in SPLITS:
            raise ValueError(f"split: got {split!r}, must be one of {', '.join(SPLITS)}")
        return iter(self._texts[split])


def read_text(path: Path) -> str:
    """The text of a UTF-8 file with line ends as \\n. Raises DataError naming the file and the byte that is wrong."""
    try:
        raw = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        what = "is a directory, not a text file" if path.is_dir() else f"cannot be read: {reason}"
        raise DataError(f"{path}: {what}") from error
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path}: byte 0: this is UTF-16; convert the file to UTF-8")
    raw_start = 3 if raw.startswith(b"\xef\xbb\xbf") else 0  # a byte-order mark is no text
    if (zero := raw.find(b"\0")) >= 0:
        raise DataError(f"{path}: byte {zero}: a NUL byte, so this is binary data; a UTF-8 text file is needed")
    try:
        text = raw[raw_start:].decode("utf-8")
    except UnicodeDecodeError as error:
        at = raw_start + error.start
        raise DataError(f"{path}: byte {at}: 0x{raw[at]:02x} is not UTF-8; convert the file to UTF-8") from error
    if not text.strip():
        raise DataError(f"{path}: byte {len(raw)}: the file is empty or holds white space only")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def cut(text: str, longest: int) -> Iterator[str]:
    """Passages of at most `longest` characters: up to the last paragraph, line or word end that fits, whichever first.

    Nothing but white space around the cuts is lost.
    """
    text = text.strip("\n")
    start = 0
    while start < len(text):
        end = min(start + longest, len(text))
        if end < len(text):
            for separator in ("\n\n", "\n", " "):
                at = text.rfind(separator, start + longest // 2, end)
                if at > start:
                    end = at
                    break
        passage = text[start:end].strip("\n")
        if passage.strip():
            yield passage
        start = end

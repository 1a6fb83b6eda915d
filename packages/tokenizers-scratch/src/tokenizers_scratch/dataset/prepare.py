"""Text files to a data set of token ids: `prepare`.

Shards are divided before anything is encoded (`survey.py`) and each is written by one process, so their content does
not depend on how many processes there are. A journal notes every finished shard; the same call after an interruption
keeps those whose files still have the noted hash, and writes the rest. The manifest comes last.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, get_args

from tokenizers_scratch.dataset.locking import LOCK, locked
from tokenizers_scratch.dataset.manifest import (
    FILE_NAME,
    DatasetError,
    Job,
    Manifest,
    Part,
    Shard,
    dtype_for,
    ends_name,
    hash_of_file,
    hash_of_tokenizer,
    ids_name,
    job_from,
    shard_from,
)
from tokenizers_scratch.dataset.processes import in_processes
from tokenizers_scratch.dataset.shard import Encoder, write_shard
from tokenizers_scratch.dataset.survey import Unit, divide, survey
from tokenizers_scratch.errors import EmptyCorpusError
from tokenizers_scratch.sources import Layout

JOURNAL = "unfinished.jsonl"
SHARD_BYTES = 2**26
"""Bytes of source files that make a shard, if nobody says otherwise: about 16 million ids of English."""

_SIDES: tuple[Part, Part] = ("validation", "train")
_OURS = re.compile(r"shard-\d{5,}\.(?:bin|ends)(?:(?:\.\d+)?\.part)?|dataset\.json(?:\.part)?|unfinished\.jsonl")


@dataclass(frozen=True)
class Progress:
    """How far it is: at the start, and after every shard."""

    shards: int
    of: int
    tokens: int
    """In the shards that are finished."""
    kept: int
    """How many of the shards were there before."""


def prepare(
    tokenizer: Encoder,
    sources: Sequence[Path | str],
    directory: Path | str,
    /,
    *,
    field: str = "text",
    separator: str | None = None,
    append_eos: bool = True,
    shard_bytes: int = SHARD_BYTES,
    workers: int = 1,
    overwrite: bool = False,
    part: Part = "all",
    validation_share: float = 0.0,
    progress: Callable[[Progress], None] | None = None,
) -> Manifest:
    """Encode the documents of text, JSON-lines and gzip files (`sources.py`) into `directory`; return its manifest.

    `field`: where the text is in JSON lines. `separator`: what stands between the documents of a text file.
    `append_eos`: put the tokenizer's `eos_id`, if it has one, behind every document. `workers`: processes; each loads
    the tokenizer from what it saved. `overwrite`: replace a data set that is there. `part`: only the documents of this
    side of a split (`prepare_split`).

    Special tokens in the documents are text. A directory that holds this very data set is only checked; one that holds
    the beginning of it is completed; any other with something in it is a DatasetError, and so is one that another
    process is writing. SourceError names the file and
    the place of what cannot be read; EmptyCorpusError: there is no document.
    """
    for name, value in (("shard_bytes", shard_bytes), ("workers", workers)):
        if type(value) is not int or value < 1:
            raise ValueError(f"{name}: got {value!r}, must be a whole number from 1 up: it is a count")
    if isinstance(sources, str) or not sources:
        raise ValueError(f"sources: got {sources!r}, must be a list of files: there is nothing to read")
    if part not in get_args(Part) or (part == "all") != (validation_share == 0) or not 0 <= validation_share < 1:
        raise ValueError(
            f"validation_share: got {validation_share!r} for the part {part!r}, must be above 0 and below 1 for train "
            "and validation, and 0 for all: it is the share of documents that are held out"
        )
    folder = Path(directory)
    layout = Layout(field=field, separator=separator)
    look = partial(survey, layout=layout, part_bytes=shard_bytes)
    with ThreadPoolExecutor(workers) as pool:  # hashing leaves Python's lock, so threads do
        surveys = list(pool.map(look, [str(path) for path in sources]))
    units = divide((part for found in surveys for part in found.parts), shard_bytes)
    job = Job(
        dtype=dtype_for(tokenizer.vocab_size),
        vocab_size=tokenizer.vocab_size,
        tokenizer_sha256=hash_of_tokenizer(tokenizer),
        eos_id=tokenizer.eos_id if append_eos else None,
        field=field,
        separator=separator,
        shard_bytes=shard_bytes,
        part=part,
        validation_share=validation_share,
        sources=tuple(found.source for found in surveys),
    )
    _make(folder)
    with locked(folder):
        return _written(tokenizer, folder, job, units, workers, overwrite, progress)


def prepare_split(
    tokenizer: Encoder,
    sources: Sequence[Path | str],
    directory: Path | str,
    /,
    *,
    validation_share: float,
    **options: Any,
) -> tuple[Manifest, Manifest]:
    """`prepare` twice: documents to train on in `directory/train`, others to validate with in `directory/validation`.

    A document is on the side that its hash says (`shard.is_held_out`), so no document is on both sides, not even if
    it is there twice, and about `validation_share` of them are held out. `options` are those of `prepare`. Raises as
    `prepare`, and EmptyCorpusError if one side has no document.
    """
    folder = Path(directory)
    if (folder / FILE_NAME).exists() or (folder / JOURNAL).exists():
        raise DatasetError(folder, "holds a data set that is not split")
    held_out, train = (
        prepare(tokenizer, sources, folder / part, part=part, validation_share=validation_share, **options)
        for part in _SIDES
    )
    return train, held_out


def _written(
    tokenizer: Encoder,
    folder: Path,
    job: Job,
    units: Sequence[Unit],
    workers: int,
    overwrite: bool,
    progress: Callable[[Progress], None] | None,
) -> Manifest:
    """What is missing of a data set, written."""
    shards = _found(folder, job, overwrite)
    kept = len(shards)
    if not (folder / FILE_NAME).exists():
        tokenizer.save(folder / "tokenizer")

    def tell() -> None:
        if progress is not None:
            progress(Progress(len(shards), len(units), sum(shard.tokens for shard in shards.values()), kept))

    tell()
    todo = [(number, unit) for number, unit in enumerate(units) if number not in shards]
    if todo:
        with _journal(folder, job, shards) as journal:
            work = partial(_work, type(tokenizer), folder, job)
            for number, shard in in_processes(work, todo, min(workers, len(todo))):
                shards[number] = shard
                _note(journal, {"number": number, **dataclasses.asdict(shard)})
                tell()
    manifest = Manifest(job=job, shards=tuple(shards[number] for number in range(len(units))))
    if not manifest.documents:
        _remove(folder)
        where = ", ".join(source.path for source in job.sources)
        if job.part != "all":
            raise EmptyCorpusError(f"no document in {where} is for {job.part} if {job.validation_share} are held out")
        raise EmptyCorpusError(f"there is no document in {where}")
    manifest.write(folder)
    for path in folder.iterdir():
        if path.name == JOURNAL or (path.suffix == ".part" and _OURS.fullmatch(path.name)):
            path.unlink()
    return manifest


def _work(kind: type[Any], folder: Path, job: Job, task: tuple[int, Unit]) -> tuple[int, Shard]:
    """One shard, in whatever process."""
    number, unit = task
    tokenizer = _loaded(kind.load, folder / "tokenizer", job.tokenizer_sha256)
    layout = Layout(field=job.field, separator=job.separator)
    shard = write_shard(
        tokenizer, unit, layout, folder, number, eos_id=job.eos_id, dtype=job.dtype,
        part=job.part, validation_share=job.validation_share,
    )  # fmt: skip
    return number, shard


@lru_cache(maxsize=1)
def _loaded(load: Callable[[Path], Encoder], folder: Path, sha256: str) -> Encoder:
    """The tokenizer, read once a process; with its hash, so that another one in the same place is read again."""
    return load(folder)


# --- what is there already -----------------------------------------------------------------------------------------


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatasetError(folder, error.strerror or str(error)) from None


def _found(folder: Path, job: Job, overwrite: bool) -> dict[int, Shard]:
    """The intact shards of exactly this job. Raises DatasetError if the directory holds something else."""
    if overwrite:
        _remove(folder)
    there = sorted(path.name for path in folder.iterdir() if path.name != LOCK)
    if FILE_NAME in there:
        manifest = Manifest.read(folder)
        if manifest.job != job:
            raise DatasetError(folder, f"holds another data set ({_difference(manifest.job, job)})")
        shards = dict(enumerate(manifest.shards))
    elif JOURNAL in there:
        noted, shards = _read_journal(folder / JOURNAL)
        if noted != job:
            raise DatasetError(folder, f"holds the beginning of another data set ({_difference(noted, job)})")
    elif there and there != ["tokenizer"] and not overwrite:
        raise DatasetError(folder, f"is not empty: there is {there[0]!r}")
    else:
        shards = {}
    intact = {number: shard for number, shard in shards.items() if _intact(folder, number, shard)}
    if FILE_NAME in there and len(intact) < len(shards):
        (folder / FILE_NAME).unlink()  # it says that the data set is complete, and it is not
    return intact


def _intact(folder: Path, number: int, shard: Shard) -> bool:
    pairs = (ids_name(number), shard.sha256), (ends_name(number), shard.ends_sha256)
    return all((folder / name).is_file() and hash_of_file(folder / name) == sha256 for name, sha256 in pairs)


def _difference(theirs: Job, ours: Job) -> str:
    """The first thing in which they differ, in words."""
    for field in dataclasses.fields(Job):
        old, new = getattr(theirs, field.name), getattr(ours, field.name)
        if old != new and field.name == "sources":
            changed = [b.path for a, b in zip(old, new, strict=False) if a != b]
            return f"the sources differ: {changed[0] if changed else f'{len(old)} files, now {len(new)}'}"
        if old != new:
            return f"{field.name}: {old!r}, now {new!r}"
    return "no difference"


def _remove(folder: Path) -> None:
    """Delete the files of a data set, the manifest first, and nothing else."""
    for path in sorted(folder.iterdir(), key=lambda path: path.name != FILE_NAME):
        if path.is_file() and _OURS.fullmatch(path.name):
            path.unlink()


# --- the journal ---------------------------------------------------------------------------------------------------


def _journal(folder: Path, job: Job, shards: dict[int, Shard]) -> Any:
    """The open journal, written anew: a line for the job, and one for each shard that is kept."""
    unfinished = folder / (JOURNAL + ".part")
    with unfinished.open("w", encoding="ascii", newline="\n") as file:
        _note(file, dataclasses.asdict(job))
        for number, shard in sorted(shards.items()):
            _note(file, {"number": number, **dataclasses.asdict(shard)})
    os.replace(unfinished, folder / JOURNAL)
    return (folder / JOURNAL).open("a", encoding="ascii", newline="\n")


def _note(journal: Any, content: dict[str, Any]) -> None:
    journal.write(json.dumps(content) + "\n")
    journal.flush()
    os.fsync(journal.fileno())


def _read_journal(path: Path) -> tuple[Job, dict[int, Shard]]:
    """The job and the shards that are noted. A line that was not finished counts as not written."""
    lines = path.read_bytes().split(b"\n")[:-1]
    try:
        contents = [json.loads(line) for line in lines]
    except (ValueError, RecursionError):
        raise DatasetError(path, "is damaged; overwrite the data set to start anew") from None
    if not contents:
        raise DatasetError(path, "is empty; overwrite the data set to start anew")
    shards = {}
    for i, content in enumerate(contents[1:], 2):
        number = content.pop("number", None) if isinstance(content, dict) else None
        if type(number) is not int:
            raise DatasetError(path, f"line {i} notes no shard")
        shards[number] = shard_from(path, f"line {i}: ", content)
    return job_from(path, contents[0]), shards

"""Data files: every format gives the same rows, and every fault is named with its file and line."""

from __future__ import annotations

import gzip
import json
import os
import sys
import tracemalloc
from collections import Counter
from pathlib import Path
from time import process_time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from align_scratch.errors import DataError, NotAvailable
from align_scratch.records import lines
from align_scratch.records.fields import Message, Row, read_rows, worked_solution
from align_scratch.records.reading import parse_line, read_records

EXAMPLES = int(os.environ.get("SCRATCH_EXAMPLES", "60"))


def write(path: Path, *records: Any) -> Path:
    """Text as it is, anything else as JSON; one a line."""
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in records), encoding="utf-8")
    return path


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, str]:
    return {"role": "assistant", "content": text}


ASKED = (Message("user", "q"),)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"text": "once"}, {"text": "once"}),
        ({"prompt": "q"}, {"context": ASKED}),
        ({"prompt": "q", "completion": "a"}, {"context": ASKED, "completion": "a"}),
        ({"prompt": "q", "completion": "a b", "answer": "b"}, {"context": ASKED, "completion": "a b", "answer": "b"}),
        ({"prompt": "q", "answer": "a"}, {"context": ASKED, "answer": "a"}),
        ({"prompt": "q", "completion": "a", "label": False}, {"context": ASKED, "completion": "a", "label": False}),
        ({"prompt": "q", "chosen": "a", "rejected": "b"}, {"context": ASKED, "chosen": "a", "rejected": "b"}),
        (
            {"prompt": "q", "chosen": "a", "rejected": "b", "margin": 2},
            {"context": ASKED, "chosen": "a", "rejected": "b", "margin": 2.0},
        ),
        (
            {"question": "q", "answer": "half of 4 is <<4/2=2>>2\n#### 2"},
            {"context": ASKED, "completion": "half of 4 is 2\n#### 2", "answer": "2"},
        ),
        ({"messages": [user("q"), assistant("a")]}, {"context": ASKED, "completion": "a", "conversational": True}),
        (
            {"prompt": [{"role": "system", "content": "s"}, user("q")], "completion": [assistant("a")]},
            {"context": (Message("system", "s"), *ASKED), "completion": "a", "conversational": True},
        ),
        ({"prompt": [user("q")], "chosen": [assistant("a")], "rejected": "b"},
         {"context": ASKED, "chosen": "a", "rejected": "b", "conversational": True}),
        ({"chosen": [user("q"), assistant("a")], "rejected": [user("q"), assistant("b")]},
         {"context": ASKED, "chosen": "a", "rejected": "b", "conversational": True}),
        ({"chosen": "\n\nHuman: q\n\nAssistant: a: Human: x\n", "rejected": "\n\nHuman: q\n\nAssistant: b"},
         {"context": ASKED, "chosen": "a: Human: x", "rejected": "b", "conversational": True}),
        ({"prompt": "q", "completion": "a", "id": 7, "source": None}, {"context": ASKED, "completion": "a"}),
        ({"prompt": "q", "completion": "a", "answer": None}, {"context": ASKED, "completion": "a"}),
    ],
)  # fmt: skip
def test_fields(tmp_path: Path, record: dict[str, Any], expected: dict[str, Any]) -> None:
    path = write(tmp_path / "data.jsonl", record)
    assert list(read_rows(path)) == [Row(f"{path}, line 1", **expected)]


def test_a_name_that_stands_twice_among_many_is_found_at_once() -> None:
    line = "{" + ", ".join(f'"k{i}": 1' for i in range(50_000)) + ', "k49999": 2}'
    started = process_time()
    with pytest.raises(DataError, match="the field 'k49999' stands twice"):
        parse_line(line, "line 1")
    assert process_time() - started < 2  # milliseconds; comparing each name with each other took seconds


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ('{"prompt": "a", "completion": "b"', r"line 2, column 34: not JSON: expecting ',' delimiter near"),
        ("[1, 2]", r"line 2: holds a JSON array, must hold an object such as"),
        ("[", r"line 2: the file is one JSON array over many lines; write one object a line"),
        ('"text"', r"line 2: holds a JSON str, must hold an object"),
        ('{"prompt": NaN}', r"line 2: NaN is no JSON value; write null"),
        ('{"prompt": "a", "prompt": "b"}', r"line 2: the field 'prompt' stands twice"),
        ('{"prompt": ' + "9" * 5000 + "}", r"line 2: Exceeds the limit"),
        ("[" * 100_000, r"line 2: is nested too deeply|line 2, column"),
        ({"prompt": "a"}, r"line 2: has no `completion`, which the first record \(.*line 1\) has"),
        ({"prompt": "a", "completion": None}, r"line 2: has no `completion`"),
        ({"text": "a"}, r"line 2: has no `prompt`, `completion`"),
        ({"prompt": 3, "completion": "b"}, r'line 2: `prompt` is 3, must be text: write "3" in quotes'),
        ({"prompt": "a", "completion": True}, r"line 2: `completion` is True, must be text; correct or remove"),
        ({"prompt": "a", "completion": ""}, r"line 2: `completion` is empty"),
        ({"prompt": " \n", "completion": "b"}, r"line 2: `prompt` is empty"),
        ('{"prompt": "a", "completion": "\\ud800"}', r"line 2: `completion` holds half of a character, U\+D800"),
        ({"prompt": {}, "completion": "b"}, r"line 2: `prompt` is a dict, must be text"),
        ({"prompt": [], "completion": "b"}, r"line 2: `prompt` is empty"),
        ({"prompt": [assistant("a")], "completion": "b"}, r"line 2: `prompt` ends with a message of the assistant"),
        ({"prompt": "a", "completion": [user("b")]}, r"line 2: `completion` must be text or one message of the assist"),
        ({"prompt": [{"role": "user"}], "completion": "b"}, r"line 2: message 1 of `prompt` must be an object with"),
        (
            {"prompt": [{"role": "tool", "content": "x"}], "completion": "b"},
            r"line 2: message 1 of `prompt` has the role 'tool', must be one of system, user, assistant",
        ),
        (
            {"prompt": [user("a"), {"role": "system", "content": "x"}, user("b")], "completion": "b"},
            r"line 2: message 2 of `prompt` has the role 'system', which only the first",
        ),
    ],
)
def test_faults_are_named(tmp_path: Path, record: Any, message: str) -> None:
    path = write(tmp_path / "data.jsonl", {"prompt": "q", "completion": "a"}, record)
    with pytest.raises(DataError, match=message) as caught:
        list(read_rows(path))
    assert str(caught.value).startswith(str(path))
    assert caught.value.exit_code == 3
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"prompt": "q", "chosen": "a", "rejected": "a"}, "`chosen` and `rejected` are the same"),
        ({"prompt": "q", "chosen": "a", "rejected": "b", "margin": "2"}, "`margin` is '2', must be a number"),
        ({"prompt": "q", "chosen": "a", "rejected": "b", "margin": True}, "`margin` is True, must be a number"),
        ('{"prompt": "q", "chosen": "a", "rejected": "b", "margin": 1e999}', "`margin` is inf, must be finite"),
        (
            {"prompt": "q", "chosen": "a"},
            "line 1: has `chosen` and no `rejected`, but a preference has both: add the other",
        ),
        ({"prompt": "q", "rejected": "a", "chosen": None}, "line 1: has `rejected` and no `chosen`"),
        ({"chosen": "a", "rejected": "b"}, "without `prompt`, `chosen` must be a list of messages, or a text of"),
        (
            {"chosen": "Human: q\n\nAssistant: a", "rejected": "Human: p\n\nAssistant: b"},
            "without `prompt`, `chosen` and `rejected` must be one conversation up to a last message",
        ),
        ({"chosen": "Human: q\n\nAssistant: a", "rejected": "Human: q\n\nHuman: b"}, "must be one conversation"),
        ({"chosen": [assistant("a")], "rejected": [assistant("b")]}, "must be one conversation up to a last message"),
        ({"chosen": "Human: q\n\nAssistant: a", "rejected": "Human: q\n\nAssistant: a"}, "are the same, so nothing"),
        ({"chosen": "Human: q\n\nAssistant:", "rejected": "Human: q\n\nAssistant: a"}, "a turn of `chosen` is empty"),
        ({"prompt": "q", "completion": "a", "label": 1}, "`label` is 1, must be true or false"),
        ({"prompt": "q", "completion": "a", "label": "true"}, "`label` is 'true', must be true or false"),
        ({"messages": [user("q")]}, "`messages` must end with a message of the assistant"),
        ({"messages": [assistant("q")]}, "`messages` begins with the assistant"),
        ({"messages": "q"}, "`messages` is 'q', must be a list of messages"),
        ({"messages": []}, "`messages` is empty"),
        ({"promt": "q"}, "has the fields `promt`, must have one of these sets: text; prompt; messages"),
        ({}, "has no field with a value"),
    ],
)
def test_faults_of_other_shapes(tmp_path: Path, record: Any, message: str) -> None:
    path = write(tmp_path / "data.jsonl", record)
    with pytest.raises(DataError, match=message):
        list(read_rows(path))


def test_a_broken_line_far_down_is_found_by_its_number(tmp_path: Path) -> None:
    good = json.dumps({"prompt": "q", "completion": "a"})
    path = tmp_path / "data.jsonl"
    path.write_text("\n".join([good] * 39_999 + ['{"prompt": "q", "comp'] + [good] * 10) + "\n")
    with pytest.raises(DataError, match=r"data\.jsonl, line 40000, column 17: not JSON: unterminated string"):
        list(read_rows(path))


def test_faults_of_meaning_can_be_skipped_and_are_counted(tmp_path: Path) -> None:
    pair = {"prompt": "q", "chosen": "a", "rejected": "b"}
    path = write(
        tmp_path / "d.jsonl", pair, {**pair, "rejected": "a"}, {**pair, "chosen": " "}, pair, {**pair, "chosen": ""}
    )
    skipped: Counter[str] = Counter()
    assert [row.where[-6:] for row in read_rows(path, skipped=skipped)] == ["line 1", "line 4"]
    assert skipped == {"chosen equals rejected": 1, "empty": 2}
    with path.open("a") as file:
        file.write("{broken\n")
    with pytest.raises(DataError, match="line 6, column 2: not JSON"):
        list(read_rows(path, skipped=Counter()))


def test_text_lines_blank_lines_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_bytes(b"\xef\xbb\xbfemma\r\n\r\nava\nmi\xc3\xa9\x0b")
    assert [(r.values["text"], r.where[-6:]) for r in read_records(path)] == [
        ("emma", "line 1"), ("ava", "line 3"), ("mi\xe9\x0b", "line 4"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text".encode("utf-16"), "line 1: this is UTF-16; convert the file to UTF-8"),
        ("text".encode("utf-16-le"), "line 1: byte 1 is NUL"),
        (b"fine\ncaf\xe9\n", "line 2: byte 3, 0xe9, is not UTF-8"),
        (b"fine\n\0\n", "line 2: byte 0 is NUL"),
        (b"", "holds no record"),
        (b"\n \n", "holds no record"),
        (b"fine\n" + b"x" * 101, r"line 2: is longer than 100 bytes, which no record is"),
    ],
)
def test_bytes_that_are_no_text(tmp_path: Path, content: bytes, message: str, monkeypatch: Any) -> None:
    monkeypatch.setattr(lines.read_lines, "__kwdefaults__", {"max_line": 100})
    path = tmp_path / "data.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(read_rows(path))


def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(lines.read_lines, "__kwdefaults__", {"max_line": 1 << 16})
    path = tmp_path / "data.jsonl"
    path.write_bytes(b"x" * (1 << 24))
    tracemalloc.start()
    with pytest.raises(DataError, match="line 1: is longer than 65,536 bytes"):
        list(read_rows(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 21


def test_gzip(tmp_path: Path) -> None:
    records = [{"prompt": f"{i}", "answer": str(i * i)} for i in range(500)]
    whole = gzip.compress("".join(json.dumps(r) + "\n" for r in records).encode())
    path = tmp_path / "data.jsonl.gz"
    path.write_bytes(whole)
    rows = list(read_rows(path))
    assert [row.answer for row in rows] == [r["answer"] for r in records]
    assert rows[3].where == f"{path}, line 4"
    path.write_bytes(whole[:-200])
    with pytest.raises(DataError, match=r"data\.jsonl\.gz, line \d+: the gzip file is cut off or damaged here"):
        list(read_rows(path))
    path.write_bytes(b'{"prompt": "q"}\n')
    with pytest.raises(DataError, match=r"is not a gzip file, whatever its name says"):
        list(read_rows(path))


def test_parquet(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="the extra align-scratch[parquet]")
    import pyarrow
    import pyarrow.parquet

    records = [{"prompt": f"q{i}", "chosen": "a", "rejected": "b" if i != 7 else "a", "note": None} for i in range(20)]
    path = tmp_path / "data.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), path)
    skipped: Counter[str] = Counter()
    assert len(list(read_rows(path, skipped=skipped))) == 19
    assert skipped == {"chosen equals rejected": 1}
    with pytest.raises(DataError, match=r"data\.parquet, row 8: `chosen` and `rejected` are the same"):
        list(read_rows(path))
    messages = [{"messages": [user("q"), assistant("a")]}]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(messages), path)
    assert [row.completion for row in read_rows(path)] == ["a"]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"data\.parquet, after row 0: not a Parquet file that can be read"):
        list(read_rows(path))
    with pytest.raises(DataError, match="there is no such file"):
        list(read_rows(tmp_path / "none.parquet"))


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(NotAvailable, match=r"pip install 'align-scratch\[parquet\]', or convert the file") as caught:
        list(read_rows(tmp_path / "data.parquet"))
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("data.csv", r"data\.csv: the name must end in one of \.jsonl, "),
        ("data", "the name must end in"),
        ("data.parquet.gz", "the name must end in"),
        ("none.jsonl", "cannot be read: No such file"),
        ("nul\0.jsonl", "cannot be read: .*null"),
        ("folder.jsonl", "is a directory, not a file of records"),
    ],
)
def test_files_that_are_none(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(DataError, match=message):
        list(read_rows(tmp_path / name))


def test_rows_come_before_the_file_is_read_to_its_end(tmp_path: Path) -> None:
    path = write(tmp_path / "data.jsonl", *[{"text": "x" * 1000}] * 5000, "{broken")
    tracemalloc.start()
    assert sum(1 for _ in zip(range(5000), read_rows(path), strict=False)) == 5000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20  # of 5 MB


@pytest.mark.parametrize(
    ("text", "solution", "answer"),
    [
        ("a <<1+1=2>>2\n#### 2", "a 2\n#### 2", "2"),
        ("x #### 1 #### 1,600", "x #### 1 #### 1,600", "1,600"),
        ("just text", "just text", "just text"),
        ("nothing behind ####", "nothing behind ####", "nothing behind ####"),
        ("<<<<1>> <<2\n>>", "<< <<2\n>>", "<< <<2\n>>"),
    ],
)
def test_worked_solutions(text: str, solution: str, answer: str) -> None:
    assert worked_solution(text) == (solution, answer)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_NAMES = st.sampled_from(
    ["text", "messages", "prompt", "completion", "answer", "chosen", "rejected", "label", "margin"]
)
_MESSAGE = st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "x"]), "content": st.text(max_size=3)})


def rows_or_error(path: Path) -> list[Row] | str:
    try:
        return list(read_rows(path))
    except DataError as error:
        return str(error)


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(st.lists(st.dictionaries(_NAMES, _JSON | st.lists(_MESSAGE, max_size=3), max_size=5), max_size=4))
def test_whatever_the_file_holds_it_is_rows_or_a_data_error(tmp_path_factory: Any, records: list[Any]) -> None:
    path = write(tmp_path_factory.mktemp("data") / "data.jsonl", *records)
    found = rows_or_error(path)
    assert str(path) in found if isinstance(found, str) else 0 < len(found) == len(records)


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(st.binary(max_size=60))
def test_whatever_the_bytes_are_it_is_rows_or_a_data_error(tmp_path_factory: Any, content: bytes) -> None:
    for name in ("data.txt", "data.jsonl", "data.txt.gz"):
        path = tmp_path_factory.mktemp("data") / name
        path.write_bytes(content)
        found = rows_or_error(path)
        assert str(path) in found if isinstance(found, str) else found

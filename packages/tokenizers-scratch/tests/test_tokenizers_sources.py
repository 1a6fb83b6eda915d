"""Documents come out of files exactly as they went in, wherever blocks and spans end, or the error says where."""

from __future__ import annotations

import gzip
import json
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizers_scratch import sources
from tokenizers_scratch.dataset import survey as surveying
from tokenizers_scratch.dataset.survey import divide, survey
from tokenizers_scratch.sources import Layout, SourceError, Span, read_documents


def texts_of(path, layout=None, span=None):
    return ["".join(document.chunks) for document in read_documents(span or Span(path=str(path)), layout or Layout())]


def write_jsonl(path, texts):
    path.write_bytes(b"".join(json.dumps({"text": text}).encode() + b"\n" for text in texts))
    return path


def test_a_text_file_is_one_document_and_stays_as_it_is(tmp_path):
    text = "a\r\nb\rc\n\ufeff 👍\x00\u2028end"
    (tmp_path / "a.txt").write_bytes(text.encode())
    assert texts_of(tmp_path / "a.txt") == [text]
    (tmp_path / "empty.txt").write_bytes(b"")
    assert texts_of(tmp_path / "empty.txt") == []


def test_a_separator_cuts_a_text_file(tmp_path):
    (tmp_path / "a.txt").write_text("one<|end|>two<|end|><|end|>three\n<|end|>", encoding="utf-8")
    assert texts_of(tmp_path / "a.txt", Layout(separator="<|end|>")) == ["one", "two", "three\n"]
    with pytest.raises(ValueError, match="separator: got ''"):
        Layout(separator="")


def test_json_lines_and_their_field(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", ["one", "", "\ud800", "two\n"])
    path.write_bytes(path.read_bytes() + b"\n  \r\n" + b'{"text": "last"}')
    assert texts_of(path) == ["one", "", "\ud800", "two\n", "last"]
    (tmp_path / "b.ndjson").write_text('{"id": 1, "body": "x"}\r\n', encoding="utf-8")
    assert texts_of(tmp_path / "b.ndjson", Layout(field="body")) == ["x"]


def test_gzip(tmp_path):
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(b"some text"))
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(b'{"text": "x"}\n{"text": "y"}\n'))
    assert texts_of(tmp_path / "a.txt.gz") == ["some text"]
    assert texts_of(tmp_path / "a.jsonl.gz") == ["x", "y"]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    text=st.text(st.sampled_from("ab|\n👍é"), max_size=60),
    separator=st.sampled_from(["|", "||", "|a|", "\n\n", "👍"]),
    block=st.integers(1, 9),
    part=st.integers(1, 40),
)
def test_blocks_and_spans_may_end_anywhere(tmp_path_factory, text, separator, block, part):
    path = tmp_path_factory.mktemp("f") / "a.txt"
    path.write_bytes(text.encode())
    layout = Layout(separator=separator)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "BLOCK", block)
        patch.setattr(surveying, "BLOCK", block)
        expected = [piece for piece in text.split(separator) if piece]
        assert texts_of(path, layout) == expected
        found = survey(str(path), layout, part)
        spans = [span for unit in divide(found.parts, part) for span in unit]
        assert [t for span in spans for t in texts_of(path, layout, span)] == expected
        assert [(span.start, span.end) for span in spans] == [(a.start, a.end) for a, _ in found.parts]


def test_a_span_of_json_lines_knows_its_line_numbers(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", ["x"] * 10)
    path.write_bytes(path.read_bytes() + b"{broken\n")
    found = survey(str(path), Layout(), 40)
    assert len(found.parts) == 4
    last = found.parts[-1][0]
    with pytest.raises(SourceError, match=r"a\.jsonl, line 11: not JSON"):
        texts_of(path, Layout(), last)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "line 2: not JSON: "),
        (b'["text"]', "line 2: no JSON object"),
        (b'{"txt": "x"}', "line 2: there is no field 'text'; there are 'txt'"),
        (b"{}", "line 2: there is no field 'text'; there are none"),
        (b'{"text": 3}', "line 2: the field 'text' is no text"),
        (b'{"text": "\xff"}', "line 2: not UTF-8: invalid start byte at byte 10 of the line"),
        (b"[" * 100_000, "line 2: nested too deep"),
        (b'{"text": ' + b"9" * 5000 + b"}", "line 2: not JSON"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, reason):
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "fine"}\n' + line + b"\n")
    with pytest.raises(SourceError) as caught:
        texts_of(tmp_path / "a.jsonl")
    assert f"a.jsonl, {reason}" in str(caught.value)
    assert caught.value.exit_code == 3
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301 - as between processes


def test_a_line_without_end_is_not_read_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MAX_LINE", 1000)
    (tmp_path / "a.jsonl").write_bytes(b"x" * 2000)
    with pytest.raises(SourceError, match="line 1: longer than 1000 bytes"):
        texts_of(tmp_path / "a.jsonl")


@pytest.mark.parametrize("block", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(("data", "place"), [(b"ab\xc3\xa9\xff", 4), (b"ab\xe4\xb8", 2), (b"a\xed\xa0\x80", 1)])
def test_a_byte_that_is_no_utf8_is_named(tmp_path, monkeypatch, block, data, place):
    monkeypatch.setattr(sources, "BLOCK", block)
    (tmp_path / "a.txt").write_bytes(b"123|" + data)
    for layout in (Layout(), Layout(separator="|")):
        with pytest.raises(SourceError, match=rf"a\.txt, byte {4 + place}: not UTF-8"):
            texts_of(tmp_path / "a.txt", layout)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(SourceError, match=r"missing\.txt: No such file"):
        texts_of(tmp_path / "missing.txt")
    with pytest.raises(SourceError, match=r"missing\.txt: No such file"):
        survey(str(tmp_path / "missing.txt"), Layout(), 10)
    with pytest.raises(SourceError, match="Is a directory"):
        texts_of(tmp_path)
    whole = gzip.compress(b"some text " * 100)
    for damaged in (whole[:-20], b"no gzip", whole[:30] + b"\xff\xff\xff" + whole[33:]):
        (tmp_path / "a.gz").write_bytes(damaged)
        with pytest.raises(SourceError, match=r"a\.gz: damaged gzip file"):
            texts_of(tmp_path / "a.gz")
    (tmp_path / "short.txt").write_bytes(b"123")
    with pytest.raises(SourceError, match="became shorter while it was read: 7 bytes are missing"):
        texts_of(tmp_path / "short.txt", span=Span(path=str(tmp_path / "short.txt"), start=0, end=10))

"""What is shown of a text is all of it and nothing that acts: on a terminal, and in a page."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenizers_scratch.bpe import BPETokenizer
from tokenizers_scratch.byte import ByteTokenizer
from tokenizers_scratch.char import CharTokenizer
from tokenizers_scratch.comparison import bar_chart, cells, comparison_page, measure
from tokenizers_scratch.config import BPEConfig, CharConfig
from tokenizers_scratch.utf8 import bytes_to_text
from tokenizers_scratch.viewing import colours, pieces, shown_bytes, shown_text, statistics, table
from tokenizers_scratch.viewing_html import view_page

HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&</title></style><!-- javascript:x https://evil.example/ "
    "\x1b[2J\x1b]0;owned\x07\u202eltr\u2066\x00\u2028<svg onload=alert(1)>"
)


@pytest.fixture(scope="module")
def bpe():
    return BPETokenizer.train([HOSTILE * 3], BPEConfig(vocab_size=400))


def test_white_space_and_what_is_invisible_is_visible():
    assert shown_text(" \n\t\r") == "·↵→␍"
    assert shown_text("\x1b\x00\u200b\u202e\u00a0\u2028\ud800\ue000") == (
        "<U+001B><U+0000><U+200B><U+202E><U+00A0><U+2028><U+D800><U+E000>"
    )
    assert shown_text("e\u0301") == "e\u0301"
    assert shown_text("\u0301x \u0301") == "◌\u0301x·◌\u0301"
    assert shown_text("naïve 世界👍") == "naïve·世界👍"


def test_bytes_that_are_no_characters_are_in_hex():
    assert shown_bytes("a👍".encode()[:3] + b"\xff b") == "a<F0><9F><FF>·b"
    assert shown_bytes(b"\xed\xa0\x80") == "<ED><A0><80>"
    assert shown_bytes(b"") == ""


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.binary(max_size=40))
def test_nothing_that_acts_is_ever_shown(data):
    for shown in (shown_bytes(data), shown_text(bytes_to_text(data))):
        assert shown.isprintable()
        assert not re.search(r"[\x00-\x20\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]", shown)


def test_pieces_are_the_tokens_in_order(bpe):
    text = "<script> 👍 a"
    found = pieces(bpe, text)
    assert [piece.id for piece in found] == bpe.encode(text)
    assert b"".join(piece.data for piece in found) == text.encode()
    assert [piece.partial for piece in found if piece.shown.startswith("<F0>")] == [True]
    assert not any(piece.special or piece.unknown for piece in found)
    assert [piece.special for piece in pieces(bpe, "a<EOS>", allowed_special="all")] == [False, True]
    tokenizer = CharTokenizer.train(["abc"], CharConfig())
    assert [piece.unknown for piece in pieces(tokenizer, "axb")] == [False, True, False]


def test_table_and_statistics(bpe):
    text = "a a b 世"
    found = pieces(ByteTokenizer(), text)
    rows = table(found)
    assert [(row.piece.shown, row.frequency) for row in rows[:3]] == [("·", 3), ("a", 2), ("b", 1)]
    assert sum(row.frequency for row in rows) == len(found)
    counts = statistics(ByteTokenizer(), text, found)
    assert (counts.characters, counts.bytes, counts.tokens, counts.different) == (7, 9, 9, 6)
    assert counts.characters_per_token == pytest.approx(7 / 9)
    assert statistics(ByteTokenizer(), "", []).bytes_per_token == 0


def test_neighbours_have_different_colours(bpe):
    found = pieces(bpe, HOSTILE + "aaaa    ")
    chosen = list(colours(found, 7))
    assert all(a != b for a, b in pairwise(chosen))
    assert set(chosen) <= set(range(7))


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.data = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.data.append(data)


def check_inert(page):
    parsed = Page(page)
    assert parsed.tags <= {
        "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "span", "br", "table", "tr", "th", "td",
        "svg", "rect", "text",
    }  # fmt: skip
    names = {name for name, _ in parsed.attributes}
    assert not [name for name in names if name.startswith("on") or name in ("src", "href", "xlink:href", "action")]
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in parsed.attributes
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)[1]
    assert "url(" not in style
    assert "@import" not in style
    return parsed


@pytest.mark.parametrize("kind", ["bpe", "byte"])
def test_a_hostile_text_is_only_shown(bpe, kind):
    tokenizer = bpe if kind == "bpe" else ByteTokenizer()
    found = pieces(tokenizer, HOSTILE)
    page = view_page(HOSTILE, found, statistics(tokenizer, HOSTILE, found))
    parsed = check_inert(page)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", page.replace(HOSTILE, ""))
    shown = "".join(parsed.data)
    assert shown_text("<script>alert(1)</script>") in shown.replace("\n", "")
    assert f"id {found[0].id}," in page


def test_a_page_shows_the_most_frequent_tokens():
    found = pieces(ByteTokenizer(), "aabbc")
    page = view_page("x", found, statistics(ByteTokenizer(), "aabbc", found), top=2)
    assert "and 1 more" in page
    assert page.count("<tr>") == 3


def test_measures_of_a_known_text():
    text = "the cat 世界\n"
    row = measure("byte", ByteTokenizer(), text)
    assert (row.tokens, row.vocab_size, row.unknown, row.comes_back) == (15, 260, 0, True)
    assert row.bytes_per_token == 1
    assert row.characters_per_token == pytest.approx(11 / 15)
    assert row.tokens_per_word == pytest.approx(15 / 3)
    assert row.vocabulary_used == pytest.approx(len(set(text.encode())) / 260)
    assert row.megabytes_per_second > 0
    lossy = measure("char", CharTokenizer.train(["the cat\n"], CharConfig()), text)
    assert (lossy.unknown, lossy.comes_back) == (2, False)
    with pytest.raises(ValueError, match="text"):
        measure("byte", ByteTokenizer(), "")
    assert cells(row)[:3] == ("byte", "260", "15")


def test_the_chart_is_well_formed_and_to_scale():
    chart = ElementTree.fromstring(bar_chart([("<a & b>", 4.0), ("long" * 20, 1.0)]))
    widths = [float(bar.get("width")) for bar in chart.iter("rect")]
    assert widths == [400, 100]
    labels = [text.text for text in chart.iter("text")]
    assert labels[0] == "<a·&·b>".replace("·", " ")
    assert len(labels[2]) == 20
    assert ElementTree.fromstring(bar_chart([])).tag == "svg"


def test_a_page_of_a_comparison_is_inert(bpe):
    page = comparison_page(HOSTILE, [measure(HOSTILE, bpe, HOSTILE), measure("byte", ByteTokenizer(), HOSTILE)])
    parsed = check_inert(page)
    assert {"svg", "rect"} <= parsed.tags
    assert "\x1b" not in page

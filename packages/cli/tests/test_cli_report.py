"""The report: one file, nothing from outside, nothing that runs."""

from __future__ import annotations

import os
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "fakes"))

from scratch_fakes.command import scratch

ACTIVE = {"script", "iframe", "object", "embed", "link", "img", "image", "use", "a", "form", "base", "audio", "video"}

NAME = "run" if os.name == "nt" else "<img src=x onerror=alert(1)>"


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    run = tmp_path_factory.mktemp("runs") / NAME
    assert scratch("run", "--out", run, "--trainer", "climb-warm", "--set", "run.eval_every=5", "-q") == 0
    return (run / "report.html").read_text("utf-8")


def test_hostile_text_is_inert(page: str) -> None:
    found = Elements()
    found.feed(page)
    assert not ACTIVE & set(found.tags)
    assert not [name for name, _ in found.attributes if name.startswith("on") or name in ("src", "href", "xlink:href")]
    assert found.text.count("<script>alert(1)</script>") == 3 + 20
    assert NAME in found.text
    assert "default-src 'none'" in page


def test_nothing_comes_from_outside(page: str) -> None:
    assert not re.search(r"https?:|//[a-z]|@import|url\(", page)


def test_it_says_what_a_reader_wants(page: str) -> None:
    for text in ("after the warm start", "Accuracy on held-out data", "Entropy", "KL", "scratch-fakes 0.1", "seed"):
        assert text in page
    assert page.count("<svg") >= 5
    assert len(page) < 200_000


def test_a_broken_report_does_not_take_the_run_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("no chart")

    monkeypatch.setattr("scratch_cli.report._svg", broken)
    assert scratch("run", "--out", tmp_path / "run", "--trainer", "climb", "-q") == 0
    assert "no report was written: ZeroDivisionError: no chart" in capsys.readouterr().err
    assert (tmp_path / "run/result.json").exists()

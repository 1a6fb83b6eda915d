"""Tokens as a page that stands alone: one file, no script, nothing from a network.

All text is escaped and made visible (`viewing.py`), and the page forbids itself everything but its own style; so a
hostile text is only shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from tokenizers_scratch.viewing import Piece, Statistics, colours, shown_name, table

N_COLOURS = 7
_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; }
th, td { text-align: left; padding: .1rem 1.2rem .1rem 0; font-variant-numeric: tabular-nums; }
.number { text-align: right; }
.tokens { font: 14px/1.9 ui-monospace, monospace; overflow-wrap: anywhere; }
.tokens span, td span { border-radius: .2rem; padding: .1rem .06rem; unicode-bidi: isolate; color: #111;
  white-space: pre-wrap; }
.partial { border-bottom: 2px dashed #b3261e; } .special { outline: 1px solid #555; } .unknown { font-weight: 700; }
.c0 { background: #ffd9a8; } .c1 { background: #bfe3ff; } .c2 { background: #c9f2c7; } .c3 { background: #f5c6e8; }
.c4 { background: #fff3a3; } .c5 { background: #d8ccff; } .c6 { background: #c2efe8; }
.faint { opacity: .7; } svg text { font: 13px system-ui, sans-serif; fill: currentColor; }
"""


def page(title: str, *parts: str) -> str:
    """A whole page; the title is text, the parts are HTML."""
    shown = escape(shown_name(title))
    head = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{shown}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{shown}</h1>
"""
    return head + "\n".join(parts) + "\n</body>\n</html>\n"


def html_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of HTML cells; all columns but the first hold numbers."""
    cells = "".join(f'<th class="number">{escape(name)}</th>' for name in head[1:])
    lines = [f"<table>\n<tr><th>{escape(head[0])}</th>{cells}</tr>"]
    for first, *rest in rows:
        numbers = "".join(f'<td class="number">{cell}</td>' for cell in rest)
        lines.append(f"<tr><td>{first}</td>{numbers}</tr>")
    return "\n".join([*lines, "</table>"])


def view_page(title: str, found: Sequence[Piece], counts: Statistics, *, top: int | None = None) -> str:
    """The text in coloured tokens, with ids where the mouse is, and the table of tokens (the `top` most frequent)."""
    spans = []
    for piece, colour in zip(found, colours(found, N_COLOURS), strict=True):
        spans.append(_span(piece, colour))
        if b"\n" in piece.data:
            spans.append("<br>")
    rows = table(found)[:top]
    listed = [
        (_span(row.piece, row.piece.id % N_COLOURS), str(row.piece.id), str(len(row.piece.data)), str(row.frequency))
        for row in rows
    ]
    facts = (
        f"{counts.characters} characters, {counts.bytes} bytes, {counts.tokens} tokens ({counts.different} different); "
        f"{counts.bytes_per_token:.2f} bytes and {counts.characters_per_token:.2f} characters a token"
    )
    left = counts.different - len(rows)
    return page(
        title,
        f"<p>{escape(facts)}</p>",
        f'<p class="tokens">{"".join(spans)}</p>',
        "<h2>Tokens</h2>",
        html_table(("token", "id", "bytes", "frequency"), listed),
        f'<p class="faint">and {left} more</p>' if left else "",
    )


def _span(piece: Piece, colour: int) -> str:
    names = [f"c{colour}"]
    said = [f"id {piece.id}", "bytes " + piece.data.hex(" ")]
    for name, holds in (("partial", piece.partial), ("special", piece.special), ("unknown", piece.unknown)):
        if holds:
            names.append(name)
            said.append("part of a character" if name == "partial" else name)
    return f'<span class="{" ".join(names)}" title="{escape(", ".join(said))}">{escape(piece.shown)}</span>'

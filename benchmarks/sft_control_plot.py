"""Curves of accuracy over seconds as one SVG file, without a plotting library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, LEFT, TOP, GAP = 320, 220, 46, 54, 28
STYLES = {
    "GRPO, sampled": 'stroke="#0b6e4f" stroke-width="1.8"',
    "GRPO, greedy": 'stroke="#0b6e4f" stroke-width="1.2" stroke-dasharray="4 3"',
    "more SFT, sampled": 'stroke="#b3541e" stroke-width="1.8"',
    "more SFT, greedy": 'stroke="#b3541e" stroke-width="1.2" stroke-dasharray="4 3"',
}


@dataclass(frozen=True)
class Curve:
    name: str
    """One of STYLES; several curves may share it, one for each seed."""
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    title: str
    curves: Sequence[Curve]


def draw(title: str, panels: Sequence[Panel]) -> str:
    """An SVG document: panels side by side, accuracy 0 to 1 upwards, seconds to the right."""
    width = LEFT + len(panels) * (WIDTH + GAP)
    height = TOP + HEIGHT + 62
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="11" fill="#222">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="{LEFT}" y="20" font-size="13">{escape(title)}</text>',
    ]
    for number, panel in enumerate(panels):
        parts += _panel(panel, LEFT + number * (WIDTH + GAP))
    x = LEFT
    for name, style in STYLES.items():
        y = height - 12
        parts.append(f'<line x1="{x}" y1="{y - 4}" x2="{x + 24}" y2="{y - 4}" {style}/>')
        parts.append(f'<text x="{x + 29}" y="{y}">{escape(name)}</text>')
        x += 140
    return "\n".join([*parts, "</svg>", ""])


def _panel(panel: Panel, left: float) -> list[str]:
    longest = max((x for curve in panel.curves for x, _ in curve.points), default=1.0) or 1.0

    def place(x: float, y: float) -> str:
        return f"{left + x / longest * WIDTH:.1f},{TOP + (1 - y) * HEIGHT:.1f}"

    parts = [f'<text x="{left}" y="{TOP - 10}">{escape(panel.title)}</text>']
    for tick in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        y = TOP + (1 - tick) * HEIGHT
        parts.append(f'<line x1="{left}" y1="{y}" x2="{left + WIDTH}" y2="{y}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{tick:.1f}</text>')
    step = next(size for size in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10_000) if longest / size <= 6)
    for second in range(0, int(longest) + 1, step):
        x = left + second / longest * WIDTH
        parts.append(f'<text x="{x:.1f}" y="{TOP + HEIGHT + 16}" text-anchor="middle">{second} s</text>')
    for curve in panel.curves:
        points = " ".join(place(x, y) for x, y in curve.points)
        parts.append(f'<polyline points="{points}" fill="none" {STYLES[curve.name]}/>')
    return parts

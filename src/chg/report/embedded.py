"""Charts as SVG elements of the page: matplotlib's own drawing in the page's colors and fonts."""

from __future__ import annotations

import html
import io
import re
from typing import Any

from matplotlib import rc_context

from chg.report.canvas import EMBEDDABLE, PaperFigure
from chg.report.palette import INK, themed
from chg.report.panels import Panel

SIZE = 4.2, 2.6
"""Inches of a chart; at 72 pixels each it is as wide as a telephone shows, its text unscaled."""
NOTHING = {"Creator": None, "Date": None, "Format": None, "Type": None}
"""Metadata that are left out, so that the same study makes the same page."""


def embed(panel: Panel, name: str, size: tuple[float, float] = SIZE) -> str:
    """SVG of a chart, without its title.

    Args:
        panel: the chart.
        name: of the chart in the page; no two charts' parts share an identifier.
        size: inches.
    """
    settings: dict[Any, Any] = {
        "svg.hashsalt": name,
        "text.color": INK,
        "path.simplify": True,
        **EMBEDDABLE,
    }
    drawn = io.StringIO()
    with rc_context(settings):
        figure = PaperFigure(figsize=size, layout="constrained")
        panel.draw(figure.add_subplot())
        figure.savefig(drawn, format="svg", transparent=True, metadata=NOTHING)
    title, words = (html.escape(text, quote=True) for text in (panel.title, panel.words))
    head = f'<svg class="chart" role="img" aria-label="{title}" viewBox="0 0 {_points(size)}">'
    return f"{head}<desc>{words}</desc>{_inner(drawn.getvalue())}</svg>"


def _points(size: tuple[float, float]) -> str:
    return " ".join(f"{72 * inches:g}" for inches in size)


def _inner(text: str) -> str:
    """Content of matplotlib's SVG, with the page's colors and fonts, and made small."""
    start = text.index(">", text.index("<svg")) + 1
    inner = text[start : text.rindex("</svg>")]
    for pattern, replacement in (
        (r"<!--.*?-->", ""),
        (r"<style.*?</style>", ""),
        (r"<metadata>.*?</metadata>", ""),
        (r"xlink:href", "href"),
        # Font families are the page's; sizes count in the units of the drawing.
        (r"font: (?:\w+ )*([\d.]+px) [^;\"]*", r"font-size: \1"),
        (r"font-family: [^;\"]*;? ?", ""),
        (r' transform="rotate\(-0 [^"]*"', ""),
        (r"\s+", " "),
        (r"> <", "><"),
        (r'<path d="[^"]*" style="fill: none"/>', ""),
        (r" ?([MLCz]) (?=[-\d\"])", r"\1"),
    ):
        inner = re.sub(pattern, replacement, inner, flags=re.DOTALL)
    # Numbers and colors of the drawing are in its tags; those outside are text, for people.
    inner = re.sub(r"<[^>]+>", lambda tag: _plain_tag(tag[0]), inner)
    used = set(re.findall(r"url\(#([^)]+)\)|href=\"#([^\"]+)\"", inner))
    kept = {name for pair in used for name in pair if name}
    return re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in kept else "", inner)


def _plain_tag(tag: str) -> str:
    short = re.sub(r"(\d+\.\d\d)\d+", r"\1", tag)
    return re.sub(r"#[0-9a-f]{6}\b", lambda color: themed(color[0]) or color[0], short)

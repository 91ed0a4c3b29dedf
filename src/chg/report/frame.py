"""Frame of a page: one HTML file that needs nothing else, no network, no second file, no storage.

A page is put together from `template/`: text, one style sheet, and scripts that share one scope.
Data travel as one JSON element.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from string import Template
from typing import Any

from chg.report.palette import (
    DARK_ROLE_COLORS,
    DARK_THEME,
    LIGHT_THEME,
    ROLE_COLORS,
    css_variables,
    role_classes,
)


@dataclass(frozen=True)
class Frame:
    """Surroundings of the sections of a page."""

    title: str
    skip: str
    """Identifier of the section that a keyboard skips to."""
    links: Mapping[str, str]
    """Identifiers of sections, and their words in the navigation."""
    noscript: str
    """Words for readers whose browser runs no script."""
    scripts: Sequence[str]
    """Names in `template/`, in their order, without their ending."""

    def around(self, main: str, data: Mapping[str, Any]) -> str:
        """HTML of the page.

        Args:
            main: sections.
            data: content for the scripts, plain JSON without NaN.
        """
        style = Template(template_part("page.css")).substitute(
            light=css_variables(ROLE_COLORS, LIGHT_THEME),
            dark=css_variables(DARK_ROLE_COLORS, DARK_THEME),
            roles=role_classes(),
        )
        script = "\n".join(template_part(f"{name}.js") for name in self.scripts)
        return Template(template_part("frame.html")).substitute(
            title=html.escape(self.title),
            skip=self.skip,
            links="".join(f'<a href="#{name}">{word}</a>' for name, word in self.links.items()),
            noscript=self.noscript,
            style=style,
            main=main.rstrip("\n"),
            data=_inert(data),
            script=f'(() => {{\n"use strict";\n{script}\n}})();',
        )


def template_part(name: str) -> str:
    """Text of a file of the template."""
    return (files("chg.report") / "template" / name).read_text(encoding="utf-8")


def _inert(data: Mapping[str, Any]) -> str:
    """Encode as JSON that cannot end the script element around it."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")

"""SVG that is safe to stand in a page or to be opened: no script, no link, no comment."""

from __future__ import annotations

import sys
from typing import Any
from xml.etree import ElementTree


def pygal() -> Any:
    """The library, without the import hook for its map plugins, in a form that Python warns about at later imports."""
    import pygal as library

    sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != "pygal"]
    return library


def inert(chart: Any, *, page: bool = False) -> str:
    """The markup of a pygal chart with nothing active in it; for a page, which knows what <svg> is, or as a file."""
    root = chart.render_tree()
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == "script" or not isinstance(child.tag, str):  # the latter: comments
                parent.remove(child)
    if page:
        root.attrib.pop("xmlns", None)
    return ElementTree.tostring(root, encoding="unicode")

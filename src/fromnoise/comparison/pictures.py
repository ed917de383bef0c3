r"""Finished figures: drawn once, readable on white and on black, able to hold any text.

A figure becomes a `Picture`: data URIs for an `<img>`, where nothing can run or be fetched. Line
figures are SVG drawn in a placeholder ink that is then replaced, so one drawing gives a light and
a dark variant. Clouds of points are raster inside the SVG, and grids of images are plain PNG.

Names are never read as mathematics (`text.parse_math` is off, so `a$_$` is four characters).
Matplotlib's object interface is used throughout: no pyplot, and the user's own style sheet is set
aside.
"""

__all__ = ["FAINT", "INK", "MODEL", "REAL", "SECOND", "THEMES", "Picture", "png", "svg"]

import base64
import io
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib.style
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[Any]

# Seen on white and on near-black alike (contrast above 3:1), and apart for the colour-blind.
MODEL, REAL, SECOND = "#3d7be0", "#868c95", "#c9701f"
# Colours that no figure uses otherwise; each is replaced by its (light, dark) pair.
INK, FAINT = "#010203", "#020304"
THEMES = ({INK: "#4b5059", FAINT: "#d9dce1"}, {INK: "#b9bec8", FAINT: "#363b44"})
FONT = "system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif"
STYLE = {
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 8,
    "axes.formatter.use_mathtext": False,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "font.size": 8,
    "grid.color": FAINT,
    "svg.fonttype": "none",
    "svg.hashsalt": "fromnoise",
}


@dataclass(frozen=True)
class Picture:
    r"""A finished figure.

    Args:
        light: Data URI for a light page.
        dark: Data URI for a dark page; the same where the figure has no ink.
        alt: What the figure shows, for those who cannot see it.
        caption: What a reader should know besides; may be empty.
        pixelated: Whether to enlarge without smoothing.

    Example:
        >>> Picture("data:image/png;base64,", "data:image/png;base64,", "a dot").caption
        ''
    """

    light: str
    dark: str
    alt: str
    caption: str = ""
    pixelated: bool = False


def svg(
    paint: Callable[[Figure], None], size: tuple[float, float], alt: str, caption: str = ""
) -> Picture:
    r"""Draw with the house style, then set the page's font and the ink of each theme.

    Args:
        paint: Draws onto an empty figure, with `INK` and `FAINT` for what follows the theme.
        size: Width and height, in inches.
        alt: What the figure shows.
        caption: What to say below it.

    Returns:
        The figure as SVG, in both themes.

    Example:
        >>> picture = svg(lambda figure: None, (1, 1), "nothing")
        >>> picture.light[:19]
        'data:image/svg+xml;'
    """
    stream = io.StringIO()
    with warnings.catch_warnings(), matplotlib.style.context(["default", STYLE]):
        # Only about glyphs that the measuring font lacks; the browser's fonts have them.
        warnings.simplefilter("ignore")
        figure = Figure(figsize=size, layout="constrained")
        paint(figure)
        figure.savefig(stream, format="svg", transparent=True, dpi=150, metadata={"Date": None})
    text = re.sub(r"(font: [\d.]+px )[^;\"<]*", rf"\1{FONT}", stream.getvalue())
    light, dark = (_inked(text, theme) for theme in THEMES)
    return Picture(light, dark, alt, caption)


def png(pixels: Array, alt: str, caption: str) -> Picture:
    r"""Return pixels as they are, the same on either page.

    Args:
        pixels: RGBA bytes ``(h, w, 4)``.
        alt: What the figure shows.
        caption: What to say below it.

    Returns:
        The figure as PNG.

    Example:
        >>> import numpy as np
        >>> png(np.zeros((2, 2, 4), np.uint8), "nothing", "").pixelated
        True
    """
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", optimize=True)
    uri = _uri("png", stream.getvalue())
    return Picture(uri, uri, alt, caption, pixelated=True)


def _inked(text: str, theme: dict[str, str]) -> str:
    for placeholder, colour in theme.items():
        text = text.replace(placeholder, colour)
    return _uri("svg+xml", text.encode())


def _uri(kind: str, payload: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(payload).decode()}"

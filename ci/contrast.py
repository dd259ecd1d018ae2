"""How well two colours can be told apart, for tests of what people read."""

from __future__ import annotations


def contrast(one: str, other: str) -> float:
    """Tell the contrast ratio of two colours, from 1 to 21 (WCAG 2.2, "contrast ratio").

    Parameters
    ----------
    one, other : str
        As ``#rrggbb``.
    """
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(color: str) -> float:
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return float(0.2126 * red + 0.7152 * green + 0.0722 * blue)

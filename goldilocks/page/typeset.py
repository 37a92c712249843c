"""Numbers and sentences as the page shows them: few digits, true minus signs, powers of ten, intervals."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

SPACE = "\u00a0"  # does not break
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w]|\.\d)")


def number(value: float, digits: int = 3, sign: bool = False) -> str:
    """A number with so many significant digits; whole numbers whole, and powers of ten outside of 0.001 to a million.

    Args:
        sign: whether a positive number has a plus.
    """
    size = abs(value)
    before = "−" if value < 0 else "+" if sign and value > 0 else ""
    if size and not 1e-3 <= size < 1e6:
        mantissa, power = f"{size:.{digits - 1}e}".split("e")
        mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
        return f"{before}{mantissa}{SPACE}×{SPACE}10{str(int(power)).translate(RAISED)}"
    if float(size).is_integer() or size >= 10**digits:
        return f"{before}{size:,.0f}"
    places = digits - 1 - math.floor(math.log10(float(f"{size:.{digits - 1}e}")))
    return f"{before}{size:,.{max(0, places)}f}"


def percent(share: float) -> str:
    """A share as a percentage: whole from 10 % on, with two digits below; 0 and 100 only if they are exact."""
    value = 100 * share
    shown = number(value, 2) if value < 10 else f"{value:,.{2 if 99.5 <= value < 100 else 0}f}"
    return f"{shown}{SPACE}%"


def estimate(entry: Mapping[str, Any], digits: int = 3, sign: bool = False) -> str:
    """An estimate with its 95 % interval, if it has one, all with as many decimals as make the ends differ."""
    if entry["value"] is None:
        return ""
    start, end = entry["low"], entry["high"]
    if start is None or start == end:
        return number(entry["value"], digits, sign)
    value, low, high = (_aligned(each, start, end, digits, sign) for each in (entry["value"], start, end))
    return f"{value} [{low}, {high}]"


def percents(entry: Mapping[str, Any]) -> str:
    """An estimated share with its interval, in per cent."""
    scaled = {name: None if entry[name] is None else 100 * entry[name] for name in ("value", "low", "high")}
    return f"{estimate(scaled, 2)}{SPACE}%"


def _aligned(value: float, low: float, high: float, digits: int, sign: bool) -> str:
    """A number with the decimals that the larger end of an interval has; more if its ends differ late, or it were 0."""
    size = max(abs(low), abs(high))
    if not 1e-3 <= size < 1e6:
        return number(value, digits, sign)
    places = digits - 1 - math.floor(math.log10(size))
    places = max(places, -math.floor(math.log10(high - low)))
    shown, closer = (f"{abs(value):,.{max(0, places) + more}f}" for more in (0, 1))
    shown = shown if not value or float(shown.replace(",", "")) else closer
    zero = not float(shown.replace(",", ""))
    return ("" if zero else "−" if value < 0 else "+" if sign else "") + shown


def typeset(text: str) -> str:
    """A sentence from the tables of claims, with its numbers as the page writes them."""
    text = re.sub(r"(?<=\d) ?%", f"{SPACE}%", NUMBER.sub(_number, text))
    return re.sub(r"(?<=\d)-(?=\d)", "–", text.replace(" - ", " − "))


def capital(words: str) -> str:
    """Words with a capital in front, if they begin with a Latin letter: σ stays."""
    return words[0].upper() + words[1:] if words[0].isascii() else words


def _number(match: re.Match[str]) -> str:
    written = match[0]
    digits = len(re.sub(r"e.*|[-.]", "", written).lstrip("0"))
    if "e" in written or digits > 3:
        return number(float(written))
    return written.replace("-", "−")

"""Binary floating-point formats: what numbers they have, and rounding to them, computed in float64."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Format(NamedTuple):
    """A binary floating-point format with subnormal numbers and infinities (IEEE 754-2019, section 3.3)."""

    precision: int
    """Bits of the significand, the leading one included."""

    smallest_exponent: int
    """The smallest normal number is 2 to this power."""

    largest: float
    """The largest finite number."""

    @property
    def smallest_normal(self) -> float:
        return float(2.0**self.smallest_exponent)

    @property
    def smallest_subnormal(self) -> float:
        return float(2.0 ** (self.smallest_exponent - self.precision + 1))


FORMATS = {
    "fp32": Format(24, -126, (2 - 2.0**-23) * 2.0**127),
    "bf16": Format(8, -126, (2 - 2.0**-7) * 2.0**127),
    "fp16": Format(11, -14, 65_504.0),
}
FLOAT64 = Format(53, -1022, float(np.finfo(np.float64).max))


def rounded_to(x: np.ndarray, number_format: Format) -> np.ndarray:
    """Float64 numbers rounded to the nearest of a format's, ties to even; infinities and NaN stay.

    Below the smallest normal number the last place stays what it is there; what rounds past the largest is infinite, so
    overflow begins half a last place beyond it. Scaling by powers of two is exact, hence nothing else is rounded.
    """
    _, exponent = np.frexp(x)  # |x| < 2^exponent
    last_place = np.maximum(exponent, number_format.smallest_exponent + 1) - number_format.precision
    nearest = np.asarray(np.ldexp(np.rint(np.ldexp(x, -last_place)), last_place))
    nearest[np.abs(nearest) > number_format.largest] *= np.inf
    return nearest


def from_bf16_bits(bits: np.ndarray) -> np.ndarray:
    """The float32 values of bfloat16 numbers, given as their bits (uint16): they are the upper halves of them."""
    return (bits.astype("<u4") << 16).view("<f4")

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from goldilocks.softmax.floats import FLOAT64, FORMATS, rounded_to

WORDS = np.random.default_rng(0).integers(0, 2**32, 100_000, dtype=np.uint32)
NUMBERS = {
    "fp16": np.arange(2**16, dtype=np.uint16).view(np.float16),
    "bf16": (np.arange(2**16, dtype=np.uint32) << 16).view(np.float32),
    "fp32": np.append([0x7F7FFFFF], np.append(WORDS, WORDS % 2**23)).astype(np.uint32).view(np.float32),
}
NUMBERS = {name: numbers[~np.isnan(numbers)] for name, numbers in NUMBERS.items()}
"""All numbers of the short formats, and many of fp32 (the largest, and half of them subnormal), in a type for them."""


def by_cast(x, name):
    """Float64 numbers in a format and back, as NumPy converts them, and torch, which goes by way of fp32."""
    with np.errstate(over="ignore", invalid="ignore"):
        if name == "bf16":
            return torch.from_numpy(x.astype(np.float32)).bfloat16().double().numpy()
        return x.astype({"fp16": np.float16, "fp32": np.float32}[name]).astype(np.float64)


def assert_rounds_as_a_cast_does(x, name):
    bits = [found.view(np.uint64) for found in (rounded_to(x, FORMATS[name]), by_cast(x, name))]
    np.testing.assert_array_equal(*bits)


def neighbours(name):
    """Each non-negative finite number of `NUMBERS` and the next one of the format, past the largest a power of two."""
    step = np.uint32(2**16 if name == "bf16" else 1)
    low = NUMBERS[name][np.isfinite(NUMBERS[name]) & ~np.signbit(NUMBERS[name])]
    high = (low.view(f"u{low.itemsize}") + step.astype(f"u{low.itemsize}")).view(low.dtype).astype(np.float64)
    return low.astype(np.float64), np.where(np.isinf(high), 2.0 ** np.ceil(np.log2(FORMATS[name].largest)), high)


@pytest.mark.parametrize(("name", "kind"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_numbers_of_a_format_are_those_that_torch_describes_and_stay_as_they_are(name, kind):
    described, info = FORMATS[name], torch.finfo(kind)
    assert (described.largest, described.smallest_normal) == (info.max, info.tiny)
    assert described.smallest_subnormal == info.tiny * info.eps
    x = NUMBERS[name].astype(np.float64)
    assert np.isinf(x).any() or name == "fp32"
    assert_rounds_as_a_cast_does(x, name)
    np.testing.assert_array_equal(rounded_to(x, described), x)
    special = np.array([np.inf, -np.inf, np.nan, -0.0])
    np.testing.assert_array_equal(rounded_to(special, described), special)


@pytest.mark.parametrize("name", FORMATS)
def test_between_neighbours_it_goes_to_the_nearest_and_halfway_to_the_even_one(name):
    low, high = neighbours(name)
    middle = (low + high) / 2
    ulp = np.spacing(middle.astype(np.float32)) if name == "bf16" else np.spacing(middle)
    for x in (middle, middle - ulp, middle + ulp):
        assert_rounds_as_a_cast_does(x, name)
        assert_rounds_as_a_cast_does(-x, name)
    assert FORMATS[name].largest in low
    assert np.isinf(rounded_to(middle, FORMATS[name])).any()


@given(st.integers(0, 2**64 - 1), st.integers(-170, 140))
def test_any_float64_rounds_as_a_cast_does(word, exponent):
    x = np.array([word], np.uint64).view(np.float64)
    near = np.ldexp(np.frexp(x)[0], exponent)
    for y in (x[~np.isnan(x)], near[~np.isnan(near)]):
        assert_rounds_as_a_cast_does(y, "fp32")
        assert_rounds_as_a_cast_does(y, "fp16")
        assert_rounds_as_a_cast_does(by_cast(y, "fp32"), "bf16")
        np.testing.assert_array_equal(rounded_to(y, FLOAT64), y)

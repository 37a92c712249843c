from goldilocks.core import rng


def draw(*name, n=4):
    return rng.generator(*name).standard_normal(n).tolist()


def test_a_stream_repeats_and_differs_by_every_part_of_its_name():
    assert draw(1, "a", 2) == draw(1, "a", 2)
    others = [draw(1, "a", 3), draw(2, "a", 2), draw(1, "b", 2), draw(1, "a", 2, 0), draw(1, "a")]
    assert all(other != draw(1, "a", 2) for other in others)
    assert len({tuple(other) for other in others}) == len(others)


def test_integer_seeds_are_63_bit_and_distinct():
    seeds = {rng.integer_seed(0, "x", i) for i in range(1000)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_the_stream_is_the_one_it_has_always_been():
    values = rng.generator(20170612, "matrices/experiment-1/Q", 50).integers(0, 1000, 5)
    assert values.tolist() == [569, 106, 509, 388, 588]

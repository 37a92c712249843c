from stages.evidence.criteria import Known
from stages.evidence.judge import Remark, told


def test_a_remark_names_lengths_and_correlations_in_the_order_of_their_numbers():
    tree = {"a": {"length_1024": 0, "length_16": 128, "length_128": 2048}, "b": {"rho_1": 32, "rho_0_3": 256, "x": 1}}
    assert told(Remark("halves at", "a", every=True), Known(tree, {})) == (
        "halves at 16 keys: 128, 128 keys: 2048, 1024 keys: 0"
    )
    assert told(Remark("by", "b", every=True), Known(tree, {})) == "by ρ = 0.3: 256, ρ = 1: 32, x 1"

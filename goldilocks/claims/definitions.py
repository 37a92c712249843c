"""The articles' claims, each declared once: its sentence, its unit of replication, and what is estimated and required.

Paths lead into the stages' metrics; margins by name are those of the section `claims:`.
"""

from __future__ import annotations

from typing import Any

from goldilocks.checkpoints.reference import GAMMA_FROM, GAMMA_TO, of_gpt2
from goldilocks.claims.criteria import about, above, at_least, below, exactly, fits_and_differs
from goldilocks.claims.verdicts import Claim, Remark, Requirement

SCALING, WEIGHTS = "numerical scaling", "weight initialisation"
CHI, EXACT = "exact, χ²", "none: all of them"
NO_GPT2 = "no GPT-2 among the inputs; its reference figure: {}"
MIDDLE_OF_BETA = (of_gpt2("q05", "beta"), of_gpt2("q95", "beta"))
NO_MAP = "needs a map over logit scales with 0 among goldilocks.correlations, no older than this claim's measures"
NO_ABLATION = "needs a training without LayerNorm beside it: make ablations"
NO_SNAPSHOTS = "needs snapshots soon enough after the start, and for an order several blocks"
NO_CONTROL = "needs the control on shuffled tokens of these very trainings (make ablations), and for an order blocks"
GRADIENT, DISCRIMINATION = "goldilocks.thresholds.least_gradient", "goldilocks.thresholds.least_discrimination"
DRAWS, DRAWN, TEMPERATURE = "sweep.monte_carlo", "softmax.fresh_draws", "softmax.temperature"
MAP, LAST, BEYOND = "goldilocks.independent", "logits.last", "ablations.control.beyond"
START, WITH, WITHOUT = "dynamics.initialisation", "ablations.conditions.scaled", "ablations.conditions.no_layernorm"
LOSS, DIAGONAL, ATTENTION = "the loss's ‖p - e_t‖", "mean p(1 - p)", "attention's ‖J‖"
"""Measures of the gradient that softmax passes; `goldilocks/softmax/statistics.py` defines them."""

OF_MODEL = "{name} {number}"
FROM, AT, NOWHERE = "from d = {number} {name}", "d = {number} {name}", "nowhere {name}"
"""What a remark says of each model, each number of keys or correlation ρ of q and k."""

LESS_SHUFFLED = "that less the one on shuffled tokens"
COST = "what deleting attention costs"
ATTENDS = (Requirement(COST, "dynamics.cost_of_deleting_attention", at_least("attends")),)
ABLATIONS_ATTEND = tuple(
    Requirement(f"{words} {what}", f"{condition}.{quantity}", at_least(margin))
    for condition, words in ((WITH, "with LayerNorm"), (WITHOUT, "without LayerNorm"))
    for what, quantity, margin in (
        (COST, "cost_of_deletion", "attends"),
        ("its gain on unigrams", "gain_on_unigrams", "gain"),
    )
)
"""What a model must have learned before a claim about attention that learns can be decided."""


def _claim(
    name: str, sentence: str, where: str, unit: str, *parts: Requirement | Remark, interval: str = "", **more: Any
) -> Claim:
    """A claim from its requirements, then its remarks."""
    source = f"{SCALING if name[0] == 'S' else WEIGHTS} {where}"
    requirements = tuple(part for part in parts if isinstance(part, Requirement))
    remarks = tuple(part for part in parts if isinstance(part, Remark))
    return Claim(name, sentence, source, unit, interval or f"t over {unit}s", requirements, remarks=remarks, **more)


CLAIMS: tuple[Claim, ...] = (
    _claim(
        "S1", "σ(Q) ≈ 1 and σ(K) ≈ 1", "4.1", "entry",
        Requirement("σ of all entries of Q", "sweep.all_pairs.sigma_Q", about(1.0)),
        Requirement("σ of all entries of K", "sweep.all_pairs.sigma_K", about(1.0)),
        interval=CHI, figure="one_pair", by_construction=True,
    ),
    _claim(
        "S2", "σ(QKᵀ) ≈ √50 ≈ 7", "3.1, 4.1", "draw",
        Requirement("the mean σ of QKᵀ over draws", f"{DRAWS}.sigma_QKt", about("sweep.one_pair.sqrt_dimension")),
        figure="one_pair", by_construction=True,
    ),
    _claim(
        "S3", "Var(QKᵀ) ≈ d: σ and √n overlap almost perfectly for n = 2…100", "2.1, 3.2", "draw",
        Requirement("the largest distance of the mean σ/√n from 1", f"{DRAWS}.largest_ratio_error", below("overlap")),
        Requirement("the slope of ½ log mean variance on log n", f"{DRAWS}.slope", about(0.5, "overlap")),
        Remark("single draws, as the article plots them, stray by up to", "sweep.single_draws.largest_ratio_error"),
        Remark("their R² with √n is", "sweep.single_draws.r_squared"),
        figure="sweep_ratio", by_construction=True,
    ),
    _claim(
        "S4", "dividing by √d brings σ to ≈ 1", "2.3", "draw",
        Requirement("the mean σ of QKᵀ/√d over draws", f"{DRAWS}.sigma_QKt_scaled", about(1.0)),
        figure="sweep_ratio", by_construction=True,
    ),
    _claim(
        "S5", "unscaled: a few entries take large probability, most are ≈ 0", "4.2", "draw",
        Requirement("the share of a row's entries that hold half of its probability",
                    f"{DRAWN}.unscaled.share_of_entries_holding_half", below("few")),
        Requirement("the share of entries that get next to nothing (less than softmax.negligible)",
                    f"{DRAWN}.unscaled.share_of_negligible_probabilities", above(0.5)),
        Remark("below a hundredth of that", f"{DRAWN}.unscaled.share_below_a_hundredth_of_it"),
        Remark("below its hundredfold", f"{DRAWN}.unscaled.share_below_its_hundredfold"),
        Remark("in Model 5 after training, unscaled: shares", f"{LAST}.unscaled.share_holding_half"),
        Remark("and", f"{LAST}.unscaled.share_negligible"),
        figure="softmax",
    ),
    _claim(
        "S6", "scaled: spread more evenly, many entries can be chosen", "4.2", "draw",
        Requirement("the effective share of a row's entries, exp(H)/n,", f"{DRAWN}.scaled.effective_share_of_entries",
                    above(0.5)),
        Requirement("the same share without scaling", f"{DRAWN}.unscaled.effective_share_of_entries", below(0.5)),
        Remark("in Model 5 after training: scaled", f"{LAST}.scaled.effective_share"),
        Remark("unscaled", f"{LAST}.unscaled.effective_share"),
        figure="softmax",
    ),
    _claim(
        "S7", "large logits saturate softmax: gradients close to 0", "2.2", "draw",
        Requirement("without scaling the loss gradient at the widest d, as a share of an even softmax's,",
                    f"{MAP}.largest_gradient_unscaled", below("vanished"), LOSS),
        Requirement("its largest factor from d to 2d", f"{MAP}.largest_growth_of_gradient_unscaled", below(1.0), LOSS),
        Requirement("the diagonal at the widest d, as that share,", f"{MAP}.largest_trace_unscaled",
                    below("vanished"), DIAGONAL),
        Requirement("the diagonal's largest factor from d to 2d", f"{MAP}.largest_growth_of_trace_unscaled",
                    below(1.0), DIAGONAL),
        Requirement("the Jacobian norm at the widest d, as that share,", f"{MAP}.largest_jacobian_unscaled",
                    below("vanished"), ATTENTION),
        Requirement("the Jacobian norm's largest factor from d to 2d", f"{MAP}.largest_growth_of_jacobian_unscaled",
                    below(1.0), ATTENTION),
        Remark(f"at the articles' d, of an even row's: {LOSS}", f"{DRAWN}.unscaled.relative_gradient"),
        Remark(DIAGONAL, f"{DRAWN}.unscaled.relative_trace"),
        Remark(ATTENTION, f"{DRAWN}.unscaled.relative_jacobian"),
        Remark("‖J‖ there over that of scaled logits, by rows", f"{DRAWN}.jacobian_norm_ratio"),
        Remark("over all entries at once", f"{DRAWN}.jacobian_norm_ratio_over_all"),
        Remark("unscaled, ‖J‖ is half of that at 1/√d", "goldilocks.jacobian_halves_from_dimension", FROM, NOWHERE),
        Remark("and surely more up to", "goldilocks.jacobian_not_halved_to_dimension", AT),
        Remark("in Model 5 after training: scaled", f"{LAST}.scaled.jacobian_norm"),
        Remark("unscaled", f"{LAST}.unscaled.jacobian_norm"),
        absent=NO_MAP, figure="jacobians",
    ),
    _claim(  # scaling's half of it follows by construction from S4 and the thresholds
        "S8", "a Goldilocks zone of logits, kept by scaling and normalisation", "5.1", "draw",
        Requirement("the lowest loss gradient with 1/√d, as a share of an even softmax's,",
                    f"{MAP}.lowest_gradient_by_root_d", above(GRADIENT)),
        Requirement("the lowest largest probability with 1/√d, as a multiple of an even softmax's,",
                    f"{MAP}.lowest_discrimination_by_root_d", above(DISCRIMINATION)),
        Requirement("the loss gradient without scaling at the widest d", f"{MAP}.largest_gradient_unscaled",
                    below(GRADIENT)),
        Requirement("the largest probability with 1/d at the widest d", f"{MAP}.largest_discrimination_by_d",
                    below(DISCRIMINATION)),
        Requirement("the share of heads in the zone after training, with LayerNorm less without,",
                    "ablations.without_layernorm.share_in_zone", above(0.0), unit="seed"),
        Remark("lowest ‖J‖ at 1/√d, of an even row's", f"{MAP}.lowest_jacobian_by_root_d"),
        Remark("1/√d lies outside", "goldilocks.by_root_d_outside_from_dimension", FROM, NOWHERE),
        Remark("and inside up to", "goldilocks.by_root_d_inside_to_dimension", AT),
        absent=f"{NO_MAP}; for normalisation: make ablations", least=2, gate=ABLATIONS_ATTEND, figure="goldilocks_map",
    ),
    _claim(
        "S9", "scaling acts like sampling temperature T = √d", "5.3", "sample",
        Requirement("χ²/df of sampled frequencies against softmax(z/√d)", f"{TEMPERATURE}.reduced_chi_square",
                    fits_and_differs(f"{TEMPERATURE}.degrees_of_freedom",
                                     f"{TEMPERATURE}.reduced_chi_square_at_temperature_1", "χ²/df at T = 1")),
        Requirement("the largest difference of softmax(z/√d) from p^(1/T) renormalised",
                    f"{TEMPERATURE}.largest_difference_from_power", exactly(0.0, 1e-9)),
        Remark("χ²/df at T = 1", f"{TEMPERATURE}.reduced_chi_square_at_temperature_1"),
        interval="exact χ² test", absent="at d = 1 the temperature is 1, and nothing is scaled", figure="softmax",
        by_construction=True,
    ),
    _claim(
        "S10", f"GPT-2's γ lie mostly in {GAMMA_FROM}-{GAMMA_TO}", "4.3", "parameter",
        Requirement("the share of all γ in that range", "shares.gamma_in_range.gpt2", above(0.5)),
        Remark("others:", "shares_of_others.gamma_in_range", OF_MODEL),
        Remark("reference figures:", "references.gamma_in_range", OF_MODEL),
        absent=NO_GPT2.format(f"{of_gpt2('share_in_range', 'gamma'):.3f}"), interval=EXACT, figure="layernorm_by_model",
    ),
    _claim(
        "S11", "GPT-2's β concentrate around 0", "4.3", "parameter",
        Requirement("the share of |β| below layernorm.beta_near_zero", "shares.beta_near_zero.gpt2", above(0.5)),
        Remark("others:", "shares_of_others.beta_near_zero", OF_MODEL),
        absent=NO_GPT2.format("90 % of GPT-2 small's β lie in {:.3f}…{:.3f}".format(*MIDDLE_OF_BETA)),
        interval=EXACT, figure="layernorm_histograms",
    ),
    _claim(
        "S12", "LayerNorm mostly shrinks activations (γ < 1)", "4.3", "parameter",
        Requirement("the share of γ below 1, which shrinks what the norm has brought to unit RMS, not what enters it,",
                    "shares.gamma_below_1.gpt2", above(0.5)),
        Remark("others:", "shares_of_others.gamma_below_1", OF_MODEL),
        absent=NO_GPT2.format(f"median γ of GPT-2 small {of_gpt2('q50', 'gamma'):.3f}"),
        interval=EXACT, figure="layernorm_by_model",
    ),
    _claim(
        "S13", "LayerNorm stabilises gradients", "5.2", "seed",
        Requirement("what the gradient jumps more from step to step without LayerNorm (σ of the change of "
                    "ln ‖gradient‖)", "ablations.without_layernorm.gradient_jump", above(0.0)),
        Remark("with LayerNorm it is", f"{WITH}.gradient_jump"),
        Remark("σ of ln ‖gradient‖ over all steps, without less with:", "ablations.without_layernorm.gradient_spread"),
        absent=NO_ABLATION, least=2, gate=ABLATIONS_ATTEND, figure="layernorm",
    ),
    _claim(
        "S14", "LayerNorm reduces the drift of activations through the layers", "5.2", "seed",
        Requirement("what activations drift more through the blocks without LayerNorm (|ln(last RMS / first)|)",
                    "ablations.without_layernorm.drift", above(0.0)),
        Remark("with LayerNorm it is", f"{WITH}.drift"),
        Remark("without", f"{WITHOUT}.drift"),
        Remark("what the blocks pass on, which LayerNorm does not touch, grows with it by a factor of",
               f"{WITH}.residual_growth"),
        Remark("without", f"{WITHOUT}.residual_growth"),
        absent=NO_ABLATION, least=2, gate=ABLATIONS_ATTEND, figure="layernorm",
    ),
    _claim(
        "S15", "LayerNorm balances the layers against each other", "5.2", "seed",
        Requirement("what gradients of blocks differ more without LayerNorm (σ of mean ln ‖gradient‖)",
                    "ablations.without_layernorm.imbalance", above(0.0)),
        Remark("with LayerNorm it is", f"{WITH}.imbalance"),
        Remark("without", f"{WITHOUT}.imbalance"),
        absent=NO_ABLATION, least=2, gate=ABLATIONS_ATTEND, figure="layernorm",
    ),
    _claim(
        "W1", "bias vectors are 0 after initialisation", "4.1", "bias",
        Requirement("the largest |bias|", f"{START}.W1", exactly(0.0)),
        interval=EXACT, by_construction=True,
    ),
    _claim(
        "W2", "Linear weights have std ≈ 0.02", "4.1", "weight",
        Requirement("the σ of all Linear weights", f"{START}.W2", about(f"{START}.W2.expected")),
        figure="qkv_histograms", by_construction=True,
    ),
    _claim(
        "W3", "position embeddings have Xavier's std √(2/(T+D))", "4.1", "weight",
        Requirement("the σ of the position embeddings", f"{START}.W3", about(f"{START}.W3.expected")),
        by_construction=True,
    ),
    _claim(
        "W4", "token embeddings have std ≈ 0.02 because of weight tying", "3.3, 4.1", "weight",
        Requirement("the σ of the token embeddings", f"{START}.W4", about(f"{START}.W4.expected")),
        Requirement("their σ without tying", f"{START}.W4_untied", about(f"{START}.W4_untied.expected")),
        by_construction=True,
    ),
    _claim(
        "W5", "QKV weights start narrow around 0 and widen", "4.2", "seed",
        Requirement("the relative growth of σ, mean over blocks,", "dynamics.growth_of_std", above(0.0)),
        Requirement("that growth less the growth on shuffled tokens", f"{BEYOND}.growth_of_std", above(0.0)),
        Remark("relative growth of the spectral norm", "dynamics.growth_of_spectral_norm"),
        Remark("the stable rank changes by", "dynamics.change_of_stable_rank"),
        Remark("cosine to the start", "dynamics.final_cosine_to_initial"),
        absent=NO_CONTROL, least=2, gate=ATTENDS, figure="std_by_block",
    ),
    _claim(
        "W6", "their tails grow longer", "4.2", "seed",
        Requirement("the change of excess kurtosis, mean over Q, K, V and blocks,",
                    "dynamics.change_of_excess_kurtosis", above(0.0)),
        Requirement("the change of the tail mass, which widening alone would raise,", "dynamics.change_of_tail_mass",
                    above(0.0)),
        Requirement("the change of excess kurtosis less that on shuffled tokens",
                    f"{BEYOND}.change_of_excess_kurtosis", above(0.0)),
        Remark("(q99 - q01)/(q75 - q25), which single outliers do not move, changes from 3.45 by",
               "dynamics.change_of_quantile_ratio"),
        absent=NO_CONTROL, least=2, gate=ATTENDS, figure="kurtosis_by_block",
    ),
    _claim(
        "W7", "early layers widen faster, later ones slower", "4.3", "seed",
        Requirement("the rank correlation of depth with the growth of σ",
                    "dynamics.rank_correlation_of_growth_with_depth", below(0.0), "σ"),
        Requirement(LESS_SHUFFLED, f"{BEYOND}.rank_correlation_of_growth_with_depth", below(0.0), "σ"),
        Requirement("the rank correlation of depth with the growth of the spectral norm",
                    "dynamics.rank_correlation_of_spectral_growth_with_depth", below(0.0), "spectral norm"),
        Requirement(LESS_SHUFFLED, f"{BEYOND}.rank_correlation_of_spectral_growth_with_depth", below(0.0),
                    "spectral norm"),
        Remark("without block 0", "dynamics.rank_correlation_of_growth_with_depth_after_block_0"),
        Remark("Page's test for a falling trend over the same seeds, without a control: p =",
               "dynamics.page_p_of_growth"),
        Remark("without block 0 p =", "dynamics.page_p_of_growth_after_block_0"),
        Remark("on shuffled tokens p =", "ablations.control.page_p_of_growth"),
        Remark("the test was added after these trainings; block 0 grew most in a share of seeds of",
               "dynamics.share_of_seeds_where_block_0_grew_most"),
        absent=NO_CONTROL, least=3, gate=ATTENDS, figure="std_by_block",
    ),
    _claim(
        "W8", "the layer next to the embedding grows most", "4.3", "seed",
        Requirement("the growth of σ in block 0 less the largest of the other blocks",
                    "dynamics.lead_of_block_0_in_growth", above(0.0), "σ"),
        Requirement(LESS_SHUFFLED, f"{BEYOND}.lead_of_block_0_in_growth", above(0.0), "σ"),
        Requirement("the growth of the spectral norm in block 0 less the largest of the others",
                    "dynamics.lead_of_block_0_in_spectral_growth", above(0.0), "spectral norm"),
        Requirement(LESS_SHUFFLED, f"{BEYOND}.lead_of_block_0_in_spectral_growth", above(0.0), "spectral norm"),
        absent=NO_CONTROL, least=2, gate=ATTENDS, figure="std_by_block",
    ),
    _claim(
        "W9", "the narrow start keeps softmax out of saturation early in training", "5.3", "seed",
        Requirement("the lowest attention entropy of a head early in training, as a share of its maximum,",
                    "dynamics.lowest_early_head_entropy", above(0.5)),
        Remark("lowest mean over a block's heads", "dynamics.lowest_early_attention_entropy"),
        Remark("largest |logit| of any head", "dynamics.largest_early_logit"),
        Remark("before training from blocks ten times as wide, mean over blocks",
               "ablations.conditions.scaled_wide_blocks.initial_attention_entropy"),
        absent=NO_SNAPSHOTS, least=2, figure="attention_entropy",
    ),
)  # fmt: skip
"""Every claim, in the order of the articles."""

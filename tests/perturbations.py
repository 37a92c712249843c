"""For each parameter, a change that must show in what its stages make; or that must not; or why none is tried.

`pipeline/test_sensitivity.py` tries them at the size of the preset `smoke`.
"""

from tools.configure import leaves

INFLUENTIAL = dict(leaves({
    "run": {"root_seed": 7, "seeds": [0]},
    "inputs": {"subpackages": ["linalg"], "vocabulary": 400, "checkpoints": ["data/model5/seed-0/export"]},
    "matrices": {"rows": 21, "dimension": 40, "first_dimension": 3, "last_dimension": 19},
    "sweep": {"trials": 23},
    "softmax": {"trials": 23, "samples": 1100, "negligible": 1.0e-3},
    "goldilocks": {"widest": 32, "exponents": 11, "lengths": [8, 16], "correlations": [0.0, 0.2, 0.3, 1.0],
        "trials": 23, "line_trials": 43, "line_keys": 900, "least_gradient": 0.999, "least_discrimination": 1.05},
    "formats": {"widest": 256, "rows": 15, "queries": 41, "keys": 15, "appears": 0.2},
    "layernorm": {"gamma_from": 0.999, "gamma_to": 1.01, "beta_near_zero": 0.001},
    "tokens": {"train_share": 0.8, "context_length": 12},
    "train": {"width": 64, "heads": 4, "blocks": 3, "batch_size": 6, "steps": 31, "learning_rate": 2.0e-3,
        "weight_decay": 0.5, "linear_std": 0.03, "snapshot_every": 7, "snapshot_precision": "bf16",
        "evaluate_every": 7, "evaluation_windows": 7, "inference_windows": 7, "probe_windows": 3,
        "histogram_edges": 51, "histogram_limit": 0.2, "tail_sigmas": 2.0, "prompt": "A ", "sample_tokens": 10},
    "dynamics": {"early_share": 0.9},
    "ablate": {"width": 32, "heads": 1, "blocks": 3, "batch_size": 3, "steps": 6, "rates": [3.0e-4], "rates_seed": 7,
        "weight_decay": 0.5, "linear_std": 0.03, "look_every": 3, "evaluation_windows": 3, "probe_windows": 1},
    "claims": {"about": 1.0e-4, "overlap": 1.0e-6, "few": 0.001, "attends": 99.0, "gain": 99.0, "vanished": 0.01},
    "figures": {"width": 6.0, "dpi": 100},
    "report": {"title": "Another title", "repository": "https://example.org/mine"},
}))  # fmt: skip

NEUTRAL = dict(leaves({
    "inputs": {"text_url": "https://example.org/another.txt", "repository": "another/model", "revision": "0" * 40,
        "timeout": 20.0, "retries": 1},
    "train": {"checkpoint_every": 7},
}))  # fmt: skip
"""What no result of the preset may depend on."""

LOOKS = (
    "train.snapshot_precision", "train.evaluate_every", "train.evaluation_windows", "train.inference_windows",
    "train.probe_windows", "train.histogram_edges", "train.histogram_limit", "train.prompt", "train.sample_tokens",
)  # fmt: skip
"""Of trainings: they change neither the weights nor what is said of how these move."""

UNUSED = {
    "control": LOOKS,
    "rate": ("ablate.rates", "ablate.look_every", "ablate.probe_windows"),
    "ablate": ("ablate.rates_seed",),
    "summarize_ablations": (  # none of these small models attends, and no head tells keys apart enough for the zone
        "goldilocks.least_gradient", "claims.attends", "claims.gain",
    ),
    "second_text": ("tokens.context_length",),  # passed on to conditions that `smoke` does not train
    "claims": LOOKS,  # what the control was trained with, if these trainings are to be compared with it
}  # fmt: skip
"""What a stage is given with its section, and must not depend on at the size of `smoke`."""

PASSED_ON = {"tokens.context_length": "train@0"}
"""Whose results must follow, where a stage only passes a parameter on."""

UNTRIED = {
    "run.arithmetic": "only last digits depend on it",
    "inputs.source": "needs another text; reports/index.html says where the inputs came from",
    "train.accumulate": "only last digits may depend on it",
    "train.processes": "only last digits may depend on it",
    "train.threads": "has no portable arithmetic, and only last digits depend on it",
    "train.precision": "has no portable arithmetic",
    "train.device": "needs a GPU",
    "train.compile": "needs a C++ compiler, and only last digits may depend on it",
    "second_text.package": "needs another text, and every condition without it stays the same",
    "second_text.subpackages": "needs another text, and every condition without it stays the same",
    "ablations.conditions": "the conditions are themselves compared with each other",
    "ablations.seeds": "the seeds are themselves compared with each other",
}

"""For each parameter, a change that must show in what its stages make; or that must not; or why none is tried.

`pipeline/test_sensitivity.py` tries them at the size of the preset `smoke`.
"""

INFLUENTIAL = {
    "run.root_seed": 7,
    "run.seeds": [0],
    "inputs.subpackages": ["linalg"],
    "inputs.vocabulary": 400,
    "inputs.checkpoints": ["data/model5/seed-0/export"],
    "matrices.rows": 21,
    "matrices.dimension": 40,
    "matrices.first_dimension": 3,
    "matrices.last_dimension": 19,
    "sweep.trials": 23,
    "softmax.trials": 23,
    "softmax.samples": 1100,
    "softmax.negligible": 1.0e-3,
    "goldilocks.widest": 32,
    "goldilocks.exponents": 11,
    "goldilocks.lengths": [8, 16],
    "goldilocks.correlations": [0.0, 0.2, 0.3, 1.0],
    "goldilocks.trials": 23,
    "goldilocks.line_trials": 43,
    "goldilocks.line_keys": 900,
    "goldilocks.least_gradient": 0.6,
    "goldilocks.least_discrimination": 1.5,
    "formats.widest": 256,
    "formats.rows": 15,
    "formats.queries": 41,
    "formats.keys": 15,
    "formats.appears": 0.2,
    "layernorm.gamma_from": 0.999,
    "layernorm.gamma_to": 1.01,
    "layernorm.beta_near_zero": 0.001,
    "tokens.train_share": 0.8,
    "tokens.context_length": 12,
    "train.width": 64,
    "train.heads": 4,
    "train.blocks": 3,
    "train.batch_size": 6,
    "train.steps": 31,
    "train.learning_rate": 2.0e-3,
    "train.weight_decay": 0.5,
    "train.linear_std": 0.03,
    "train.snapshot_every": 7,
    "train.snapshot_precision": "bf16",
    "train.evaluate_every": 7,
    "train.evaluation_windows": 7,
    "train.inference_windows": 7,
    "train.probe_windows": 3,
    "train.histogram_edges": 51,
    "train.histogram_limit": 0.2,
    "train.tail_sigmas": 2.0,
    "train.prompt": "A ",
    "train.sample_tokens": 10,
    "dynamics.early_share": 0.9,
    "ablate.width": 32,
    "ablate.heads": 1,
    "ablate.blocks": 3,
    "ablate.batch_size": 3,
    "ablate.steps": 6,
    "ablate.rates": [3.0e-4],
    "ablate.rates_seed": 7,
    "ablate.weight_decay": 0.5,
    "ablate.linear_std": 0.03,
    "ablate.look_every": 3,
    "ablate.evaluation_windows": 3,
    "ablate.probe_windows": 1,
    "claims.about": 1.0e-4,
    "claims.overlap": 1.0e-6,
    "claims.few": 0.001,
    "claims.attends": 99.0,
    "claims.gain": 99.0,
    "claims.vanished": 0.01,
    "figures.width": 6.0,
    "figures.dpi": 100,
    "report.title": "Another title",
}

NEUTRAL = {
    "inputs.text_url": "https://example.org/another.txt",  # of the source `hub`
    "inputs.repository": "another/model",
    "inputs.revision": "0" * 40,
    "inputs.timeout": 20.0,
    "inputs.retries": 1,
    "train.checkpoint_every": 7,
}
"""What no result of the preset may depend on."""

UNUSED = {
    "control": (
        "train.snapshot_precision", "train.evaluate_every", "train.evaluation_windows", "train.inference_windows",
        "train.probe_windows", "train.histogram_edges", "train.histogram_limit", "train.prompt", "train.sample_tokens",
    ),
    "rate": ("ablate.rates", "ablate.look_every", "ablate.probe_windows"),
    "ablate": ("ablate.rates_seed",),
    "second_text": ("tokens.context_length",),  # passed on to conditions that `smoke` does not train
    "claims": ("run.root_seed", *(key for key in INFLUENTIAL if key.startswith("train."))),  # the control is committed
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

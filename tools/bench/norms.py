"""The cost of surveying the norms of a GPT-2 of full size, beside loading the model with transformers.

The checkpoint is GPT-2 small with all values 0; a second one has thirty times its vocabulary. Whole processes are
measured, the start of Python included.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from tools.bench.costs import Cost, cost, row

VOCABULARY = 50257
WRITE = "import sys; from tools.bench.norms import write_model; write_model(sys.argv[1], int(sys.argv[2]))"
LOAD = "import sys; from transformers import GPT2Model; GPT2Model.from_pretrained(sys.argv[1])"


def write_model(folder: str, vocabulary: int) -> None:
    """Write config.json and model.safetensors of a GPT-2, a file of zeros that take no disk.

    In a process of its own: the peak memory of a process counts what the one that starts it has loaded.
    """
    import torch
    from transformers import GPT2Config, GPT2Model

    config = GPT2Config(vocab_size=vocabulary)
    with torch.device("meta"):
        tensors = GPT2Model(config).state_dict()
    header, end = {}, 0
    for name, tensor in sorted(tensors.items()):
        start, end = end, end + 4 * tensor.numel()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    config.save_pretrained(folder)
    with Path(folder, "model.safetensors").open("wb") as handle:
        handle.write(len(text).to_bytes(8, "little") + text)
        handle.truncate(8 + len(text) + end)


def line(what: str, costs: list[Cost]) -> str:
    return row(what, [each.seconds for each in costs], median(each.memory for each in costs))


def rows(repeats: int) -> Iterator[str]:
    """Measure, one row after another."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind, vocabulary in (("small", VOCABULARY), ("large", 30 * VOCABULARY)):
            cost("-c", WRITE, str(folder / kind), str(vocabulary))
            size = (folder / kind / "model.safetensors").stat().st_size
            survey = ("-m", "stages.layernorm", f"gpt2-{kind}={folder / kind}")
            for how, more in (("statistics", ()), ("every value", ("--out", str(folder / "out.parquet")))):
                costs = [cost(*survey, *more) for _ in range(repeats)]
                yield line(f"local file of {size / 1e9:.2f} GB, {how}", costs)
        load = [cost("-c", LOAD, str(folder / "small")) for _ in range(repeats)]
        yield line("transformers: from_pretrained", load)

"""Norms of tiny random models of transformers: what the models do with them, against what is read of their files.

`python tests/norm_survey.py` measures all, or those that it is given, and writes their rows in docs/norms.md anew.
"""

from __future__ import annotations

import contextlib
import inspect
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import torch
from architectures import tiny, transformers
from torch.utils._python_dispatch import TorchDispatchMode

from goldilocks.checkpoints.conventions import AS_STORED, LESS_1
from goldilocks.checkpoints.load import read
from goldilocks.checkpoints.tensors import decode

transformers.logging.disable_progress_bar()

PAGE = Path(__file__).parents[1] / "docs" / "norms.md"
TABLE = re.compile(r"(<!-- architectures -->\n(?:\|.*\n){2})((?:\|.*\n?)*(?=\n<!-- end))")
LENGTH = 12
PARTS_AND_OLD_NAMES = {"step3p5", "RefinedWeb", "RefinedWebModel"}  # of Step 3.7, and of Falcon
ARCHITECTURES = sorted((LESS_1 | AS_STORED) - PARTS_AND_OLD_NAMES)
REASONS = {
    "data2vec-audio": "the norms of its convolutions are listed as unrecognised",
    "git": "one norm has a number for a name, in a list of layers",
    "mobilebert": "its affine layers do not normalise; the last one of a block writes to the bottleneck's sum",
    "olmo_hybrid": "transformers saves an output of attention under the name of an input of the MLP",
}
"""Why an architecture is not whole."""


def norm_modules(model: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module]]:
    """Modules that are called a norm and have a γ of their own that works along the last axis of (…, n)."""
    for name, module in model.named_modules():
        weight = dict(module.named_parameters(recurse=False)).get("weight")
        if weight is None or weight.dim() != 1 or not re.search("norm", type(module).__name__, re.IGNORECASE):
            continue
        if not re.search("batch|group|instance", type(module).__name__, re.IGNORECASE):
            yield name, module


@torch.no_grad()
def added(module: torch.nn.Module) -> float:
    """What a norm adds to its stored γ: with γ = 0 it gives that many x̂, with γ = 1 one more."""
    x = torch.randn(2, 4, module.weight.numel(), generator=torch.Generator().manual_seed(0)).to(module.weight.dtype)
    # As it is, gated, along the second axis, by head.
    ways = lambda: (x,), lambda: (x, torch.ones_like(x)), lambda: (x.mT,), lambda: (x.view(2, 4, 4, -1),)

    def out(gamma: float) -> torch.Tensor:
        given = {"weight": torch.full_like(module.weight, gamma)}
        if getattr(module, "bias", None) is not None:
            given["bias"] = torch.zeros_like(module.bias)
        for way in ways:
            with contextlib.suppress(TypeError, AttributeError, RuntimeError, ValueError):
                found = torch.func.functional_call(module, given, way())
                return (found[0] if isinstance(found, tuple) else found).float()
        raise AssertionError(f"{type(module)} takes nothing that a norm takes")

    zero, unit = out(0.0), out(1.0) - out(0.0)
    return round(float((zero * unit).sum() / (unit * unit).sum()), 3)


PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "_grouped_mm", "convolution", "linear")
COPIES = ("clone", "_to_copy", "transpose", "constant_pad_nd", "slice", "index")


class Tracer(TorchDispatchMode):
    """For each norm: the module of the last matrix product before it, and what reads its output: products and sums."""

    def __init__(self, model: torch.nn.Module, norms: Iterable[str]) -> None:
        super().__init__()
        self.stack, self.kept, self.last, self.written_by = [""], [], "", {}
        self.before, self.products = {}, {name: set() for name in norms}
        self.sums = dict.fromkeys(norms, False)
        for name, module in model.named_modules():
            module.register_forward_pre_hook(lambda *_, name=name: self._enter(name))
            module.register_forward_hook(lambda _, __, out, name=name: self._leave(name, out))

    def _enter(self, name):
        self.stack.append(name)
        self.before.setdefault(name, self.last)

    def _leave(self, name, out):
        self.stack.pop()
        out = out[0] if isinstance(out, tuple) else out
        if name in self.products and isinstance(out, torch.Tensor):
            self.written_by[out.untyped_storage().data_ptr()] = name

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        op, where = func.overloadpacket.__name__, self.stack[-1]
        tensors = [x for arg in args for x in (arg if isinstance(arg, list) else [arg]) if isinstance(x, torch.Tensor)]
        self.kept.append((tensors, out))  # no storage may be used twice
        readers = {self.written_by.get(x.untyped_storage().data_ptr()) for x in tensors} - {None, where}
        for norm in readers:
            if op in PRODUCTS:
                self.products[norm].add(where)
            elif op in ("add", "add_") and len(tensors) == 2:
                self.sums[norm] = True
            elif op in COPIES:
                self.written_by.setdefault(out.untyped_storage().data_ptr(), norm)
        if op in PRODUCTS:
            self.last = where
        return out


def inputs(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Something for a model to read, by the name of its main input."""
    config, draw = model.config, torch.Generator().manual_seed(1)
    ids = torch.randint(3, 60, (2, LENGTH), generator=draw)
    vision = getattr(config, "vision_config", config)
    size, frames = getattr(vision, "image_size", 16), getattr(vision, "num_frames", None)
    size = size if isinstance(size, int) else size[0]
    pixels = torch.randn(
        2, *([frames] if frames else []), getattr(vision, "num_channels", 3), size, size, generator=draw
    )
    features = torch.randn(2, getattr(config, "num_mel_bins", 80), 128, generator=draw)
    given = {
        "input_ids": ids, "pixel_values": pixels, "pixel_values_videos": pixels, "input_features": features,
        "input_values": torch.randn(2, 3200, generator=draw),
    }  # fmt: skip
    both = hasattr(config, "text_config") and hasattr(config, "vision_config")
    wanted = (
        {model.main_input_name}
        | ({"input_ids", "pixel_values"} if both else set())
        | ({"decoder_input_ids"} if getattr(config, "is_encoder_decoder", False) else set())
    )
    found = {name: given.get(name, ids) for name in wanted}
    return found | ({"use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else {})


def kind_of(module: str, block: str) -> str:
    """Whether a module in a block attends, to what, or is its MLP or another mixer of tokens."""
    inside = module.removeprefix(block)
    for kind, pattern in (
        ("mixer", r"mamba|linear_attn|rg_lru|mlstm"), ("cross-attention", "encoder_attn|EncDec|cross"),
        ("attention", r"att|[qkv]_proj|query|key|value"), ("mlp", "(up|down)_proj|gate|experts"),
        ("mixer", r"^conv|mixer|temporal"),
    ):  # fmt: skip
        if re.search(pattern, inside, re.IGNORECASE):
            return kind
    return "mlp"


@torch.no_grad()
def traced(model: torch.nn.Module, norms: Iterable[str]) -> dict[str, str]:
    """The place of each norm in a block by what runs before it and what reads it; only of those where that tells it."""
    tracer = Tracer(model, norms)
    with tracer:
        model(**inputs(model))
    found = {}
    for name in norms:
        block = re.match(r".*?\.\d+\.|\d+\.", name)
        own = name.rpartition(".")[2]
        if not block or name not in tracer.before or re.search(r"^[qkv]_|(query|key)_|_a_|kv_|sub_norm|gate", own):
            continue
        readers = {kind_of(each, block[0]) for each in tracer.products[name] if each.startswith(block[0])}
        types = getattr(model.config, "layer_types", None) or []
        index = int(re.findall(r"\d+", block[0])[-1])
        if types[index:] and types[index] == "linear_attention":  # under the name of attention
            readers = {"mixer" if each == "attention" else each for each in readers}
        if tracer.sums[name]:
            before = tracer.before[name]
            found[name] = f"{kind_of(before, block[0])} output" if before.startswith(block[0]) else ""
        else:
            found[name] = f"{' and '.join(sorted(readers))} input" if readers else ""
    return {name: place for name, place in found.items() if place}


@cache
def measure(model_type: str) -> tuple[str, list[str]]:
    """Build an architecture, save it, survey the file, and compare with the model's own modules.

    Returns:
        its row of the table in docs/norms.md; norms missing or too many, and what else the survey says that is not so.
    """
    model = tiny(model_type)
    modules = dict(norm_modules(model))
    for module in modules.values():
        torch.nn.init.uniform_(module.weight, 0.5, 1.5)  # so that they tell norms apart
    adds = {name: added(module) for name, module in modules.items()}
    names = {module.weight.detach().float().numpy().tobytes(): name for name, module in modules.items()}
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        survey = read(folder)
    gamma = [tensor for tensor in survey.tensors if tensor.norm.kind == "gamma"]
    stored = {tensor.name: decode(tensor.raw, tensor.stored) for tensor in gamma}
    found = {names.get(stored[tensor.name].tobytes(), ""): tensor for tensor in gamma}  # files have names of their own
    try:
        trace = traced(model, list(modules))
    except Exception:  # transformers raises anything
        trace = {}
    told = re.compile(r"(^| )(input|output)( of |$)")
    trace = {name: at for name, at in trace.items() if name in found and told.search(found[name].norm.place)}
    agreed = {name: agrees(found[name].norm.place, place) for name, place in trace.items()}
    known = modules.keys() & found.keys()
    wrong = [f"{name}: missing" for name in modules.keys() - known]
    wrong += [f"{found[name].name}: none of the model's" for name in found.keys() - known]
    wrong += [f"{name}: {found[name].norm.place}, not {trace[name]}" for name, well in agreed.items() if not well]
    for name in known:
        if not np.allclose(found[name].values - stored[found[name].name], adds[name], atol=1e-6):
            wrong.append(f"{name}: γ")
    wrong += [survey.unknown] if survey.unknown else []
    kept = {(0.0,): "as stored", (1.0,): "less 1"}.get(tuple(sorted(set(adds.values()))), "less 1, some as stored")
    places = ", ".join(dict.fromkeys(re.sub(r" of \S+$", "", tensor.norm.place) for tensor in gamma))
    cells = (
        model_type, f"{len(known)} of {len(modules)}", kept, places, sum(agreed.values()) or "-",
        REASONS.get(model_type, ""),
    )  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |", sorted(wrong)


def agrees(said: str, place: str) -> bool:
    """Whether a place, with the label of its stack and the number of an inner block, is that place."""
    said = re.sub(r" of \S+$", "", said)
    return said == place or (said.endswith(f" {place}") and not said.endswith(f"and {place}"))


def documented() -> dict[str, str]:
    """The rows of the table in docs/norms.md, by architecture."""
    rows = TABLE.search(PAGE.read_text("utf-8"))[2].splitlines()
    return {row.split(" | ")[0].removeprefix("| "): row for row in rows}


def write(rows: dict[str, str]) -> None:
    """Write the table anew."""
    table = "\n".join(rows[model_type] for model_type in ARCHITECTURES if model_type in rows)
    PAGE.write_text(TABLE.sub(lambda found: found[1] + table, PAGE.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    for model_type in sys.argv[1:] or ARCHITECTURES:
        write(documented() | {model_type: measure(model_type)[0]})

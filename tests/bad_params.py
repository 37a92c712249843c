"""Parameter files with one thing or several changed, and whether that keeps them sound: known from what was changed.

Nothing here asks the code that is tested: what a value may be is written down a second time.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from typing import NamedTuple

from ruamel.yaml import YAML

SECTIONS = ("run", "inputs", "matrices", "sweep", "softmax", "goldilocks", "formats", "layernorm", "tokens", "train",
            "dynamics", "ablate", "ablations", "claims", "figures", "report")  # fmt: skip


class Case(NamedTuple):
    """A file's contents; of an unsound one, what its lines must name, each word a line of its own."""

    what: str
    contents: bytes
    named: tuple[str, ...] = ()
    sound: bool = False


NO_VALUE = ["null", "~", "", "{a: 1}", "2001-01-01", "!!binary aGk=", "!!set {1}", "[[[]]]"]
NO_INTEGER = [*NO_VALUE, "3.5", "1e3", "7.0", "'12'", "twelve", "yes", "true", "[1]", ".nan", "-.inf", "1:30",
              "!!str 7", "!!float 7", "0x" + "f" * 40, "1" + "0" * 30, "-1" + "0" * 30, "0x" + "f" * 9000]  # fmt: skip
NO_NUMBER = [*NO_VALUE, "'0.1'", "true", "[0.1]", ".nan", ".inf", "-.inf", "1e999", "0,5", "half", "1e-5x", "-1e300"]
NO_TEXT = [*NO_VALUE, "3", "1.5", "true", "[x]", "''"]
NO_SEEDS = [*NO_VALUE, "3", "[]", "[1, 1]", "[a]", "[1.0]", "[-1]", "[2147483648]", "[true]", "'[0]'", "[0, ~]"]

# The least and the most of every integer; the second number alone may be too much for a neighbour, see GOOD.
INTEGERS = {
    "run.root_seed": (0, 2**63 - 1), "train.threads": (1, 1), "inputs.vocabulary": (257, 65_536),
    "inputs.retries": (0, 10), "matrices.rows": (2, 10_000), "matrices.dimension": (1, 100_000),
    "matrices.first_dimension": (1, 100_000), "matrices.last_dimension": (1, 100_000), "sweep.trials": (2, 10**7),
    "softmax.trials": (2, 10**6), "softmax.samples": (1000, 10**7), "goldilocks.widest": (4, 2**20),
    "goldilocks.exponents": (3, 1001), "goldilocks.trials": (2, 10**7),
    "goldilocks.line_trials": (2, 10**7), "goldilocks.line_keys": (2, 10**12), "formats.queries": (1, 10**7),
    "formats.widest": (2, 2**20),
    "formats.rows": (1, 10_000), "formats.keys": (2, 1000), "tokens.context_length": (2, 65_536),
    "train.width": (2, 16_384), "train.heads": (1, 256), "train.blocks": (1, 256), "train.batch_size": (1, 65_536),
    "train.accumulate": (1, 65_536), "train.processes": (1, 65_536), "train.steps": (1, 10**7),
    "train.evaluation_windows": (1, 10**6), "train.probe_windows": (1, 65_536), "train.histogram_edges": (2, 10_000),
    "train.sample_tokens": (1, 100_000), "train.snapshot_every": (1, 10**7), "train.checkpoint_every": (1, 10**7),
    "train.evaluate_every": (1, 10**7), "ablate.width": (2, 16_384), "ablate.heads": (1, 256),
    "ablate.blocks": (1, 256), "ablate.batch_size": (1, 65_536), "ablate.steps": (1, 10**7),
    "ablate.evaluation_windows": (1, 10**6), "ablate.probe_windows": (1, 65_536), "ablate.rates_seed": (0, 2**31 - 1),
    "ablate.look_every": (1, 10**7), "train.inference_windows": (1, 10**6), "figures.dpi": (30, 1200),
}  # fmt: skip
# What else is allowed, and what is not beyond what no integer, number or text is.
GOOD = {
    "matrices.first_dimension": ["1", "99"], "matrices.last_dimension": ["3", "100_000"],
    "goldilocks.widest": ["64", "0x1000"], "goldilocks.exponents": ["3", "1001"], "formats.widest": ["2", "1048576"],
    "train.width": ["4", "16384"], "train.heads": ["1", "32", "0o10"], "train.accumulate": ["2", "6"],
    "train.processes": ["3"], "train.evaluation_windows": ["8", "1000000"], "train.probe_windows": ["1", "48"],
    "ablate.width": ["4", "16384"], "ablate.heads": ["1", "32"], "ablate.evaluation_windows": ["8"],
    "ablate.probe_windows": ["1", "48"], "train.batch_size": ["1", "65536", "+7"],
    "run.seeds": ["[0]", "[2147483647, 0]", "[0x10, 3]", str(list(range(1000, 2000)))], "ablations.seeds": ["[7]"],
    "inputs.source": ["hub", "'embedded'"], "inputs.timeout": ["0.001", "600", "1e-5"],
    "inputs.text_url": ["http://a/b", "'https://a/b?c=d#e'"], "inputs.repository": ["a/b.c-d_e"],
    "inputs.revision": ["'" + 40 * "0" + "'"], "inputs.subpackages": ["[lib]", "[lib, lib]"],
    "inputs.checkpoints": ["[]", "[owner/name@main, 'x=https://h/m.safetensors']"],
    "goldilocks.lengths": ["[3]", "[1048576, 16]"], "goldilocks.correlations": ["[0]", "[0.5, 1]"],
    "goldilocks.least_gradient": ["0.01"], "goldilocks.least_discrimination": ["1.5"], "formats.appears": ["0.999"],
    "layernorm.gamma_from": ["-3", "0.399"], "layernorm.gamma_to": ["0.201", "1e9"],
    "layernorm.beta_near_zero": ["1e-300"], "tokens.train_share": ["0.001", "9.99e-1"],
    "train.learning_rate": ["1e-5", "1.0E-3", "10"], "train.weight_decay": ["0", "-0.0", "10"],
    "train.linear_std": ["1e-6", "10"], "train.histogram_limit": ["1e-6", "1e6"], "train.tail_sigmas": ["1e-300"],
    "train.compile": ["False", "FALSE"], "train.prompt": ['"\\0\\e\\u202e"', "'x: # y'", "|\n    a\n    b"],
    "train.device": ["'cpu'"], "train.precision": ["fp32"], "train.snapshot_precision": ["bf16"],
    "dynamics.early_share": ["1", "1e-9"],
    "ablate.rates": ["[10]", "[1e-5, 0.1, 3]"], "ablate.linear_std": ["1e-6", "10"], "ablate.weight_decay": ["0"],
    "ablations.conditions": ["[scaled]", "[untied, scaled]"], "claims.about": ["0.999"], "claims.overlap": ["1e-9"],
    "claims.few": ["0.5"], "claims.attends": ["0", "100"], "claims.gain": ["0.5"],
    "claims.vanished": ["0.999"], "softmax.negligible": ["1e-300", "0.009"],
    "figures.width": ["4", "30.0"], "report.title": ["x", "'<b>$x$</b> {{ y }} ${z}'", "é数"],
}  # fmt: skip
BAD = {
    "goldilocks.widest": ["63"], "goldilocks.exponents": ["4"], "formats.widest": ["100"], "train.heads": ["3", "5"],
    "train.probe_windows": ["49"], "ablate.heads": ["3"], "ablate.probe_windows": ["49"],
    "matrices.last_dimension": ["2"], "layernorm.gamma_to": ["0.2", "-1"], "inputs.timeout": ["0", "600.1", "-1"],
    "formats.appears": ["0", "1"], "layernorm.beta_near_zero": ["0"], "tokens.train_share": ["0", "1", "1.5"],
    "train.learning_rate": ["0", "10.1"], "train.weight_decay": ["-1e-9", "10.1"], "train.linear_std": ["0", "9e-7"],
    "ablate.linear_std": ["0", "10.1"], "ablate.weight_decay": ["-1e-9", "10.1"],
    "ablate.rates": ["[]", "0.1", "[0]", "[-0.1]", "[10.1]", "[.nan]", "[.inf]", "[1e-3, 1e-3]", "[a]", "[true]",
                     "['1']",
                     str([i / 1000 for i in range(1, 102)])],
    "train.histogram_limit": ["0", "1e7"], "train.tail_sigmas": ["0"], "dynamics.early_share": ["0", "1.1"],
    "claims.about": ["0", "1"], "claims.overlap": ["1"], "claims.few": ["0"], "claims.attends": ["-0.1", "100.1"],
    "claims.gain": ["-1"],
    "claims.vanished": ["0", "1"], "softmax.negligible": ["0", "0.01"], "figures.width": ["3.9", "31"],
    "goldilocks.least_gradient": ["0", "1"], "goldilocks.least_discrimination": ["1", "16"],
    "inputs.source": ["Hub", "no/such/place", '"a\\0b"', "x" * 5000, "a/" * 3000, "'x; touch y'", '"x\\n\\"y\'"',
                      "http://h/x", "remote://x/y", "${run.root_seed}", "../..", "data/inputs", "reports", "/dev/null"],
    "inputs.text_url": ["ftp://a/b", "a"], "inputs.repository": ["a", "a/b/c", "a/b c", "../.."],
    "inputs.revision": ["main", 39 * "a", 41 * "a"], "inputs.subpackages": ["[]", "[../x]", "[a b]", "[1]", "lib"],
    "inputs.checkpoints": ["x", "[1]", "['https://h/m.safetensors?signature=x']", '["a\\0b"]', "[no-such-folder]",
                           "[no/such.safetensors]", "['a/b; touch c']"],
    "goldilocks.lengths": ["[]", "[1]", "[2, 2]", "16", "[1, 2, 3, 4, 5, 6, 7]"],
    "goldilocks.correlations": ["[]", "[-0.1]", "[1.1]", "[.nan]", "[a]", "0.5"],
    "train.device": ["gpu", "CPU", "'cpu '", "cuda:0"], "train.precision": ["fp16", "32"],
    "train.snapshot_precision": ["bf16_anyway"], "train.compile": ["yes", "1", "'true'"],
    "ablations.conditions": ["[]", "[nonsense, scaled]", "[untied]", "[scaled, scaled]", "scaled", "[1]"],
    "report.title": ["' '", '"a\\0b"', '"a\\nb"', '"\\u202egpj"', '"\\e[31m"', "x" * 201],
}  # fmt: skip
TEXTS = ["inputs.source", "inputs.text_url", "inputs.repository", "inputs.revision", "train.device", "train.precision",
         "train.snapshot_precision", "train.prompt", "report.title"]  # fmt: skip
SEEDS = ["run.seeds", "ablations.seeds"]
LISTS = ["inputs.subpackages", "inputs.checkpoints", "goldilocks.lengths", "goldilocks.correlations",
         "ablate.rates", "ablations.conditions"]  # fmt: skip
KEYS = sorted({*INTEGERS, *GOOD, *BAD})


def good(key: str) -> list[str]:
    """Values that are allowed, as YAML."""
    return GOOD.get(key) or [str(n) for n in INTEGERS.get(key, ())]


def bad(key: str) -> list[str]:
    """Values that are not."""
    own = BAD.get(key, [])
    if key in INTEGERS:
        low, high = INTEGERS[key]
        return [*own, *NO_INTEGER, str(low - 1), str(high + 1)]
    if key == "layernorm.gamma_from":
        return NO_NUMBER[:-1]
    if key in SEEDS:
        return [*own, *NO_SEEDS]
    if key in TEXTS:
        return [*own, *NO_TEXT]
    if key in LISTS:
        return [*own, *NO_VALUE]
    return [*own, *(NO_VALUE if key == "train.compile" else NO_NUMBER)]


def with_value(text: str, key: str, value: str) -> str:
    """The file with the entry `section.key` set to a piece of YAML, or taken away if that is None."""
    section, name = key.split(".")
    pattern = rf"(?ms)(^{section}:.*?^  ){name}: [^\n]*"
    assert re.search(pattern, text), key
    return re.sub(pattern, lambda found: f"{found[1]}{name}: {value}", text, count=1)


def values(text: str, draw: random.Random) -> Case:
    """One to four values set, in different sections, each to something that is allowed or not."""
    told, named = [], []
    for key in {key.split(".")[0]: key for key in draw.sample(KEYS, draw.choice([1, 1, 1, 2, 3, 4]))}.values():
        spoil = draw.random() < 0.7
        value = draw.choice(bad(key) if spoil else good(key))
        text = with_value(text, key, value)
        told.append(f"{key}={value[:60]!r}")
        named += [key] if spoil else []
    return Case(", ".join(told), text.encode(), tuple(named), not named)


Change = Callable[[str, random.Random], str | bytes]


def after(*tails: str) -> Change:
    return lambda text, draw: text + draw.choice(tails)


def before(*heads: str) -> Change:
    return lambda text, draw: draw.choice(heads) + text


def inside(*parts: bytes) -> Change:
    """Something put in anywhere."""

    def change(text: str, draw: random.Random) -> bytes:
        contents = text.encode()
        place = draw.randint(0, len(contents))
        return contents[:place] + draw.choice(parts) + contents[place:]

    return change


def instead(*others: str | bytes) -> Change:
    return lambda _, draw: draw.choice(others)


def swapped(pattern: str, *others: str) -> Change:
    """What matches, the first time, replaced; SECTION in it is any of them."""

    def change(text: str, draw: random.Random) -> str:
        found = pattern.replace("SECTION", draw.choice(SECTIONS))
        assert re.search(found, text, re.MULTILINE | re.DOTALL), found
        return re.sub(found, draw.choice(others), text, count=1, flags=re.MULTILINE | re.DOTALL)

    return change


def valued(key: str, *others: str) -> Change:
    return lambda text, draw: with_value(text, key, draw.choice(others))


def laughs(levels: int) -> str:
    """A kilobyte that stands for 9 to the power of `levels` words."""
    lines = ["joke0: &joke0 [ha, ha, ha, ha, ha, ha, ha, ha, ha]"]
    lines += [f"joke{i}: &joke{i} [{', '.join([f'*joke{i - 1}'] * 9)}]" for i in range(1, levels)]
    return "\n".join(lines) + "\n"


def end_of_values(text: str) -> int:
    """Where the last value ends: a comment follows it, if anything."""
    return text.index('"', text.index("title: ") + 8) + 1


def shuffled(text: str, draw: random.Random) -> str:
    """The sections in another order; what stands before the first is left out."""
    found = re.split(r"(?m)^(?=\w)", text)[1:]
    return "".join(draw.sample(found, len(found)))


def aliased(text: str, _: random.Random) -> str:
    return with_value(with_value(text, "run.seeds", "&s [3, 4]"), "ablations.seeds", "*s")


WHOLE_SECTION = r"^SECTION:.*?(?=^\S|\Z)"
BAD_YAML, TOO_DEEP, ALIASES = "not valid YAML", "more than 32 collections", "an alias inside a collection"
# name: (what is done to the text, what every line must name); None: the file stays sound
WHOLE: dict[str, tuple[Change, str | None]] = {
    "nothing": (after(""), None),
    "as JSON": (lambda text, _: json.dumps(YAML(typ="safe", pure=True).load(text)), None),
    "without comments": (lambda text, _: re.sub(r" # .*|^#.*", "", text, flags=re.MULTILINE), None),
    "Windows line ends": (lambda text, _: text.replace("\n", "\r\n"), None),
    "byte-order mark": (before("\ufeff"), None),
    "document marks": (before("--- # here\n", "%YAML 1.2\n---\n"), None),
    "a document's end": (after("...\n", "\n\n\n", "# x", "# " + "é" * 10_000), None),
    "sections in another order": (shuffled, None),
    "a quoted key": (swapped(r"^train:", '"train":', "'train' :", "? train\n:"), None),
    "an anchor": (aliased, None),
    "a merge": (swapped(r"^sweep:\n  trials", "sweep:\n  <<: {trials: 7} #"), None),
    "a merge overruled": (swapped(r"^sweep:", "sweep:\n  <<: {trials: none}"), None),
    "a tag that fits": (valued("train.steps", "!!int '7'", "!!int 7"), None),
    "cut behind the values": (lambda text, draw: text[: draw.randint(end_of_values(text), len(text))], None),
    "cut before their end": (lambda text, draw: text[: draw.randint(0, end_of_values(text) - 1)], ""),
    "nothing in it": (instead("", "\n", " ", "# only this\n", "---\n", "null", "{}", "\ufeff"), ""),
    "no mapping": (instead("- 1", "7", "[]", "text", "!!set {a}", "*x", ".nan", "2001-01-01"), ""),
    "another encoding": (lambda t, draw: t.encode(draw.choice(["utf-16", "utf-16-le", "utf-16-be", "utf-32"])), ""),
    "Latin-1": (inside("é".encode("latin-1")), "not UTF-8"),
    "half a character": (inside(b"\xed\xa0\x80", b"\xc0\x80", b"\xf8"), "not UTF-8"),
    "a control character": (inside(b"\0", b"\a", b"\x1b", b"\x7f"), "control characters are not allowed"),
    "any bytes": (lambda _, draw: b"\xff" + draw.randbytes(draw.randint(1, 5000)), "not UTF-8"),
    "too large": (after("# " + "x" * 2**15), "more than 32,768 bytes"),
    "two documents": (after("---\na: 1\n", "...\n---\na: 1\n", "---\n"), "single document"),
    "a section twice": (after("sweep: {}\n", "\nrun:\n  root_seed: 1\n", "'train': 1\n"), "duplicate key"),
    "a key twice": (swapped(r"^SECTION:[^\n]*\n(?:  #[^\n]*\n)*  (\w+: [^\n]*)", r"\g<0>\n  \1"), "duplicate key"),
    "a tab": (swapped(r"^SECTION:(.*?)\n  (?=\w)", r"\g<0>\n\t"), BAD_YAML),
    "a bracket left open": (valued("run.seeds", "[0, 1", "{0: 1", "[0]]"), BAD_YAML),
    "an address in a list, unquoted": (valued("inputs.checkpoints", "[x=https://h/m.safetensors]"), BAD_YAML),
    "half a surrogate pair": (valued("train.prompt", '"\\ud800"'), BAD_YAML),
    "a quote left open": (valued("train.prompt", "'The", '"The', '"\\x"', "@x", "%x", "`x`"), BAD_YAML),
    "an endless number": (valued("train.steps", "9" * 5000), "a value that can't be"),
    "a day that never was": (valued("train.steps", "2001-02-31", "2001-99-99"), "a value that can't be"),
    "a tag that does not fit": (
        valued("train.steps", "!!int x", "!!bool x", "!!float x", "!!timestamp x", "!!binary é", "!!omap 1"),
        BAD_YAML,
    ),
    "a tag that would run": (
        valued("train.steps", "!!python/object/apply:os.system [touch pwned]", "!!python/name:os.system",
               "!!python/object/new:os.system [touch pwned]", "!!python/module:antigravity", "!x 1", "!<x> 1"),
        "constructor for the tag",
    ),
    "a tag without its handle": (valued("train.steps", "!x!y 1"), BAD_YAML),
    "brackets": (before(*(f"x: {'[' * n}{']' * n}\n" for n in (40, 400, 5000))), TOO_DEEP),
    "open brackets": (instead("[" * 100, "[" * 5000, "{" * 100, "- " * 2000, "? " * 2000), TOO_DEEP),
    "laughs": (before(*map(laughs, (5, 7, 9, 30))), ALIASES),
    "a quadratic blow-up": (before(f"x: &x {'y' * 9000}\nz: [{', '.join(['*x'] * 1000)}]\n"), "unknown key"),
    "what holds itself": (before("x: &x [*x]\n", "x: &x {y: *x}\n", "x: &x [1, {y: [*x]}]\n"), ALIASES),
    "an alias of nothing": (valued("run.seeds", "*nothing", "[*nothing]"), "undefined alias"),
    "a merge of nothing": (swapped(r"^sweep:", "sweep:\n  <<: 3"), BAD_YAML),
    "a mapping as key": (before("{a: 1}: 2\n", "? [{}]\n: 2\n"), BAD_YAML),
    "a key that is no text": (before("5: 1\n", "~: 1\n", "true: 1\n", "[1, 2]: 1\n", "1.5: 1\n"), "strings"),
    "an unknown section": (before("trian: 1\n", "Run: 1\n", "__class__: 1\n", '"a\\nb": 1\n'), "unknown key"),
    "an unknown key": (swapped(r"^SECTION:", r"\g<0>\n  zzz: 1", r"\g<0>\n  '': 1"), " = 1: unknown key"),
    "a key misspelt": (swapped(r"(?<=^train:)(.*?^)  heads:", r"\1  haeds:"), "train.h"),
    "a section left out": (swapped(WHOLE_SECTION, ""), " is missing"),
    "a section that is none": (swapped(r"^sweep:.*?(?=^\S|\Z)", "sweep: 3\n", "sweep:\n", "sweep: [1]\n"), "sweep = "),
}  # fmt: skip


def whole(text: str, draw: random.Random, what: str) -> Case:
    """The file changed as a whole."""
    change, named = WHOLE[what]
    changed = change(text, draw)
    contents = changed if isinstance(changed, bytes) else changed.encode()
    return Case(what, contents, (named,) if named else (), named is None)


def cases(text: str, count: int, seed: int) -> list[Case]:
    """Every change of the whole file once, then values or another such change; `count` cases in all."""
    draw = random.Random(seed)
    found = [whole(text, draw, what) for what in WHOLE]
    while len(found) < count:
        found.append(values(text, draw) if draw.random() < 0.7 else whole(text, draw, draw.choice(list(WHOLE))))
    return found

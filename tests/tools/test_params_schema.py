import json

import pytest
from closure import ROOT
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from goldilocks.core import params
from stages.check import Params
from tools import params_schema

TEXT = (ROOT / "params.yaml").read_text("utf-8")
SCHEMA = json.loads(params_schema.schema(TEXT))


def test_the_schema_is_one_and_its_file_is_named_in_the_first_line():
    Draft202012Validator.check_schema(SCHEMA)
    first, _, _ = TEXT.partition("\n")
    named = ROOT / first.removeprefix("# yaml-language-server: $schema=")
    assert json.loads(named.read_text("utf-8")) == SCHEMA


@pytest.mark.parametrize(
    ("section", "key", "value", "is_right"),
    [
        ("train", "steps", 801, True),
        ("train", "steps", 0, False),
        ("train", "steps", "many", False),
        ("train", "step", 801, False),
        ("train", "learning_rate", -1e-3, False),
        ("train", "device", "abacus", False),
        ("train", "compile", 1, False),
        ("run", "seeds", [], False),
        ("run", "seeds", [0, 7], True),
        ("inputs", "checkpoints", ["a", 1], False),
        ("claims", "about", None, False),
        ("nowhere", "key", 1, False),
    ],
)
def test_the_schema_agrees_with_check(section, key, value, is_right):
    contents = YAML(typ="safe").load(TEXT)
    contents.setdefault(section, {})[key] = value
    assert Draft202012Validator(SCHEMA).is_valid(contents) is is_right
    assert (not params.problems(Params, contents)) is is_right


def test_each_entry_is_described_by_its_comment():
    of_train = SCHEMA["$defs"]["goldilocks__config__train__Settings"]["properties"]
    assert of_train["weight_decay"]["description"] == "AdamW; articles: 0.01"
    assert SCHEMA["properties"]["dynamics"]["$ref"].endswith("dynamics__Settings")
    described = [entry for group in SCHEMA["$defs"].values() for entry in group["properties"].values()]
    assert all(entry.get("description") for entry in described)

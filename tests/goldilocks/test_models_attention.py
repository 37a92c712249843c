"""The attention of anyone's model: the pipeline's numbers, transformers' probabilities, the model left alone."""

import numpy as np
import pytest
import torch
from architectures import ARCHITECTURES, WITHOUT, ids, tiny, transformers
from closure import ROOT
from ruamel.yaml import YAML
from scipy.special import softmax
from test_model5 import exported, stirred

from goldilocks.core.cli import UserError
from goldilocks.model5 import attention_stats
from goldilocks.models import attention as looked
from goldilocks.models import calls, windows
from goldilocks.models.attention import attention


def called(model, tokens):
    """Attention, window by window, while a model reads tokens."""
    found = []
    with calls.evaluating(model):
        windows.read(model, tokens, found.append)
    return found


def probabilities(call):
    """What softmax makes of a call's logits, (H, T, K), put together from the parts that its rows come in."""
    keys = call.key.shape[1]
    parts = [softmax(rows.logits.astype(np.float64), -1)[..., : rows.cosines.shape[-1]] for rows in call.rows()]
    return np.concatenate([np.pad(p, [(0, 0)] * 2 + [(0, keys - p.shape[-1])]) for p in parts], 1)


QUICK = {"gpt2", "llama", "bert", "t5"}


@pytest.mark.parametrize(
    "model_type", [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in ARCHITECTURES]
)
def test_probabilities_are_those_of_eager_attention_and_the_output_is_the_models_own(model_type, monkeypatch):
    model = tiny(model_type, ARCHITECTURES[model_type])
    tokens = ids()
    arguments = {"input_ids": tokens} | ({"decoder_input_ids": tokens} if model.config.is_encoder_decoder else {})
    with torch.no_grad():
        alone = model(**arguments)[0]
        with calls.observed(model, lambda _: None):
            assert torch.equal(model(**arguments)[0], alone)
    found = called(model, tokens)
    whole = [probabilities(call) for call in found]
    monkeypatch.setattr(calls, "BLOCK", 4 * 12 * 5)  # five rows at a time
    for call, expected in zip(found, whole, strict=True):
        assert len(list(call.rows())) == 3, "memory does not grow with the square of the length"
        np.testing.assert_allclose(probabilities(call), expected, atol=1e-5)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        told = model(**arguments, output_attentions=True)
    names = ("attentions", "encoder_attentions", "decoder_attentions", "cross_attentions")
    eager = [window for name in names for matrix in told.get(name) or () for window in matrix.numpy()]
    assert len(eager) == len(found)
    for own in whole:
        distances = [abs(matrix - own).max() for matrix in eager]
        assert min(distances) < 1e-5, distances
        eager.pop(int(np.argmin(distances)))  # a matrix is that of one call


def test_eager_attention_hides_by_its_mask_alone_and_sdpa_by_what_it_is_told():
    module, arguments = torch.nn.Linear(1, 1), dict.fromkeys(("query", "key"), torch.ones(1, 2, 3, 4))
    arguments["attention_mask"] = None
    for own, told, causal in ((True, None, True), (True, False, False), (False, True, True), (False, None, False)):
        module.is_causal = own
        (call,) = calls.describe("", module, True, arguments | {"is_causal": told})
        assert not call.causal
        (call,) = calls.describe("", module, False, arguments | {"is_causal": told})
        assert call.causal == causal
        assert call.visible()[0].tolist() == ([1, 2, 3] if causal else [3, 3, 3])
        assert (call._replace(sinks=torch.ones(2)).visible() == call.visible() + 1).all(), "a sink counts as a key"


@pytest.mark.slow
@pytest.mark.parametrize(("model_type", "reason"), WITHOUT.items())
def test_a_model_without_such_attention_says_so_in_one_line(model_type, reason):
    with pytest.raises(UserError, match=reason) as refused:
        attention(tiny(model_type), None, ids())
    assert "\n" not in str(refused.value)


@pytest.fixture(scope="module")
def model5():
    """A Model 5 whose heads are not all alike."""
    return stirred()


def compare(frame, rows):
    """Every statistic of the pipeline's table is the frame's."""
    for name in set(rows[0]) - {"step", "scaling", "block", "head"}:
        expected = [row[name] for row in rows]
        np.testing.assert_allclose(frame[name], expected, rtol=1e-5, atol=1e-5, err_msg=name)
    assert frame[["block", "head"]].to_numpy().tolist() == [[row["block"], row["head"]] for row in rows]


def test_of_model_5_they_are_the_pipelines_numbers_as_it_is_and_as_transformers_loads_it(model5, tmp_path, monkeypatch):
    tokens = torch.randint(model5.shape.vocabulary, (5, model5.shape.context_length + 1))
    rows = attention_stats.record_attention(model5, 0, tokens, "scaled")["attention"]
    loaded = transformers.AutoModel.from_pretrained(exported(model5, tmp_path))
    compare(attention(model5, None, tokens[:, :-1]), rows)
    compare(attention(loaded, None, tokens[:, :-1]), rows)
    monkeypatch.setattr(calls, "BLOCK", 1)
    compare(attention(loaded, None, tokens[:, :-1]), rows)


def test_the_statistics_are_what_they_say(model5):
    tokens = torch.randint(model5.shape.vocabulary, (3, model5.shape.context_length))
    frame = attention(model5, None, tokens)
    with torch.no_grad():
        of_block_0 = [call for call in calls.of_model5(model5, tokens) if call.module == "blocks.0.attn"]
    logits = [rows.logits for call in of_block_0 for rows in call.rows()]
    length = tokens.shape[1]
    for head in range(model5.shape.heads):
        late = [of[head, t, : t + 1].astype(float) for of in logits for t in range(length // 2 - 1, length)]
        p = [softmax(row) for row in late]
        entropy = [-(row * np.log(np.maximum(row, 1e-300))).sum() for row in p]
        jacobian = [np.linalg.norm(np.diag(row) - np.outer(row, row)) for row in p]
        even = [np.linalg.norm(np.eye(len(row)) / len(row) - 1 / len(row) ** 2) for row in p]
        expected = {
            "rows": len(late),
            "keys": np.mean([len(row) for row in late]),
            "effective_keys": np.exp(entropy).mean(),
            "relative_jacobian": (np.array(jacobian) / even).mean(),
            "logit_std_in_rows": np.sqrt(np.mean([row.var(ddof=1) for row in late])),
        }
        assert frame.iloc[head][list(expected)].to_dict() == pytest.approx(expected, rel=1e-5)
        width = model5.shape.width // model5.shape.heads
        assert frame["centred_alignment"][head] == pytest.approx(frame["centred_cosine"][head] * width**0.5)


def test_the_defaults_are_those_of_params():
    params = YAML(typ="safe").load((ROOT / "params.yaml").read_text("utf-8"))
    assert params["softmax"]["negligible"] == looked.NEGLIGIBLE
    assert params["goldilocks"]["least_gradient"] == looked.LEAST_GRADIENT
    assert params["goldilocks"]["least_discrimination"] == looked.LEAST_DISCRIMINATION


def test_the_model_is_left_as_it_was():
    model = tiny("gpt2").train()
    model.h[0].eval()
    model.h[1].register_forward_pre_hook(lambda *_: torch.rand(1) and None)  # draws, whether it trains or not
    modes = [module.training for module in model.modules()]
    torch.manual_seed(3)
    state = torch.get_rng_state()
    handed_out = transformers.AttentionInterface.get_interface
    attention(model, None, ids())
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert transformers.AttentionInterface.get_interface is handed_out
    assert all(parameter.grad is None for parameter in model.parameters())


def test_another_model_that_runs_meanwhile_is_not_counted():
    model, other, found = tiny("gpt2"), tiny("bert"), []
    with calls.observed(model, found.append), torch.no_grad():
        other(ids())
    assert not found


def test_windows_of_texts_hold_every_token_once():
    longer, short = list(range(3, 28)), [5]
    assert list(windows.token_windows(None, [longer, short, longer[:3]], 10)) == [
        longer[:10], longer[10:20], longer[20:], longer[:3],
    ]  # fmt: skip
    found = [batch.tolist() for batch in windows.batches(iter([[1, 2], [3, 4], [5, 6], [7, 8, 9]]), 2)]
    assert found == [[[1, 2], [3, 4]], [[5, 6]], [[7, 8, 9]]]


@pytest.mark.parametrize("kind", ["ByT5Tokenizer", "CanineTokenizer"])
def test_a_tokenizer_in_python_reads_the_whole_text_too(kind):
    tokenizer = getattr(transformers, kind)()
    assert not tokenizer.is_fast
    found = list(windows.token_windows(tokenizer, ["porridge " * 10], 20))
    assert "".join(tokenizer.decode(window, skip_special_tokens=True) for window in found) == "porridge " * 10
    added = tokenizer("")["input_ids"]
    assert all(window[-1] == added[-1] and len(window) <= 20 for window in found)


def test_what_can_not_be_measured_is_told_in_one_line():
    model = tiny("gpt2")
    for it, texts, length, said in (
        (model, ["words"], 12, "texts of words need a tokenizer"),
        (model, ids(), 65, "the model sees 64 at once"),
        (model, [[1, 64]], 12, "knows 64 tokens, and the text has token 64"),
        (torch.nn.Linear(2, 2), ids(), 12, "neither a model of transformers nor Model 5"),
    ):
        with pytest.raises(UserError, match=said):
            attention(it, None, texts, length=length)

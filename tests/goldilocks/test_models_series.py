"""Checkpoints of a training in their order, read by ranges, from disk and from a hub's revisions; what they show."""

import json
import re
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from closure import ROOT
from conftest import environment
from hub_server import PLAIN, Handler, Hub, large, serving
from safetensors.numpy import save_file
from test_models_weights import checkpoint, drawn

import goldilocks as g
from goldilocks.checkpoints.client import Client
from goldilocks.checkpoints.folders import LocalFolder
from goldilocks.checkpoints.ranges import HEAD, Tally
from goldilocks.checkpoints.resolve import Checkpoint
from goldilocks.claims import verdicts
from goldilocks.core.cli import UserError
from goldilocks.models import claims
from goldilocks.models.series import step_of
from goldilocks.models.weights import weights
from tools.bench.norms import running


def test_a_series_stands_in_the_order_of_its_steps(tmp_path):
    one, two, ten = (checkpoint(tmp_path / f"checkpoint-{n}", drawn(seed=n)) for n in (1, 2, 10))
    assert weights([ten, one, two])["step"].unique().tolist() == [1, 2, 10]
    (two / "trainer_state.json").write_text('{"global_step": 20}', "utf-8")
    assert weights([ten, one, two])["checkpoint"].unique().tolist() == [str(one), str(ten), str(two)]
    last, first = (checkpoint(tmp_path / name, drawn()) for name in ("last", "first"))
    assert weights([first, last])["checkpoint"].unique().tolist() == [str(first), str(last)]
    (two / "trainer_state.json").write_text('{"global_step": 10}', "utf-8")
    with pytest.raises(UserError, match="both of step 10"):
        weights([ten, two])


@pytest.mark.parametrize(
    ("argument", "file", "step"),
    [
        ("run/checkpoint-500", None, 500),
        ("run/step-000050.safetensors", "step-000050.safetensors", 50),
        ("owner/name@step143000", None, 143000),
        ("owner/name3@main", None, None),
        ("step7=run/last", None, 7),
        ("run/epoch2-step300", None, 300),
        ("run/global_step0012", None, 12),
        ("run/footsteps", None, None),
    ],
)
def test_a_step_is_told_by_the_name(tmp_path, argument, file, step):
    assert step_of(argument, Checkpoint("", LocalFolder(tmp_path, Tally()), file)) == step


def test_only_the_projections_are_read(tmp_path):
    three = [[matrix.repeat(16, 1) for matrix in of_block] for of_block in drawn(blocks=3, rows=(64, 64, 64))]
    folder = checkpoint(tmp_path / "model", three)
    with_more = checkpoint(tmp_path / "more", three, noise=10**6)
    tallies = Tally(), Tally()
    for path, tally in zip((folder, with_more), tallies, strict=True):
        weights([path], client=Client(tally))
    wanted = 3 * 3 * 64 * 128 * 4
    assert all(tally.bytes < wanted + 3 * HEAD for tally in tallies)
    assert (with_more / "model.safetensors").stat().st_size > 4 * 10**6


@pytest.mark.slow
def test_of_a_server_only_their_bytes_are_asked_for(tmp_path):
    three = [[matrix.repeat(32, 1) for matrix in of_block] for of_block in drawn(blocks=3, rows=(256, 256, 256))]
    files = {}
    for step in (1, 20, 3):
        folder = checkpoint(tmp_path / f"step{step}", three, heads=4, noise=10**6)
        files |= {f"step{step}/{path.name}": path.read_bytes() for path in folder.iterdir()}
    with serving(files, b"", "owner/name", "0" * 40) as server:
        frame = weights([f"{server.address}{PLAIN}/step{step}" for step in (1, 20, 3)])
        wanted = 3 * 3 * 3 * 256 * 256 * 4
        assert wanted < server.bytes_sent < wanted + 3 * (HEAD + 2000)
    assert frame["step"].unique().tolist() == [1, 3, 20]
    assert frame["head"].max() == 3


def test_what_is_no_series_is_told_in_one_line(tmp_path):
    good = checkpoint(tmp_path / "step1", drawn())
    other = checkpoint(tmp_path / "step2", drawn(rows=(16, 4, 4)))
    empty = tmp_path / "step3"
    empty.mkdir()
    save_file({"mixer.in_proj.weight": np.zeros((4, 4), np.float32)}, empty / "model.safetensors")
    with pytest.raises(UserError, match="another shape"):
        weights([good, other])
    with pytest.raises(UserError, match="no projections of Q, K and V"):
        weights([empty])
    with pytest.raises(UserError, match="which the first checkpoint has"):
        weights([good, checkpoint(tmp_path / "step4", drawn(blocks=1))])
    with pytest.raises(UserError, match="no checkpoint"):
        weights([])
    neox = tmp_path / "neox"
    neox.mkdir()
    save_file({"layers.0.attention.query_key_value.weight": np.ones((24, 8), np.float32)}, neox / "model.safetensors")
    with pytest.raises(UserError, match=r"no config\.json says how many"):
        weights([neox])
    for config in (
        {"model_type": "gpt_neox", "num_attention_heads": 1000},
        {"model_type": "falcon", "new_decoder_architecture": True, "num_attention_heads": 2, "num_kv_heads": 4},
        {"model_type": "phi3", "num_attention_heads": 1000, "num_key_value_heads": 10},
        {"model_type": "gpt_neox", "num_attention_heads": 5},
    ):
        (neox / "config.json").write_text(json.dumps(config), "utf-8")
        with pytest.raises(UserError, match=r"does not divide into Q, K and V as config\.json says"):
            weights([neox])


class Revisions(Handler):
    """A hub's repository with several revisions, whose commits are the keys of `files`."""

    def route(self, body):
        hub = self.server
        asked = re.fullmatch(rf"/api/models/{hub.repository}/revision/([^?]+)\?blobs=true", self.path)
        file = re.fullmatch(rf"/{hub.repository}/resolve/([0-9a-f]+)/(.+)", self.path)
        if asked and asked[1] in hub.revisions:
            commit = hub.revisions[asked[1]]
            siblings = [{"rfilename": name} for name in hub.files[commit]]
            said = {"id": hub.repository, "sha": commit, "siblings": siblings}
            self.respond(200, json.dumps(said).encode(), {"Content-Type": "application/json"}, body)
        elif file and file[2] in hub.files.get(file[1], {}):
            contents = hub.files[file[1]][file[2]]
            self.send_contents(contents, {"ETag": f'"{file[1]}"', "X-Repo-Commit": file[1]}, body)
        else:
            self.respond(404, b"", {"X-Error-Code": "RevisionNotFound"}, body)


WIDE, BLOCKS = 256, 3


def neox(folder, scale, noise=10**6):
    """A folder like GPT-NeoX's with fused projections that are far from the norms, and much else."""
    generator = np.random.default_rng(0)
    tensors = {"embed_out.weight": np.zeros((noise, 1), np.float32)}
    for i in range(BLOCKS):
        at = f"gpt_neox.layers.{i}"
        tensors |= {
            f"{at}.attention.rope.weight": np.zeros((4 * WIDE, WIDE), np.float32),  # lies between
            f"{at}.attention.query_key_value.weight": generator.normal(0, scale, (3 * WIDE, WIDE)).astype(np.float32),
            f"{at}.input_layernorm.bias": np.full(WIDE, scale, np.float32),
            f"{at}.input_layernorm.weight": np.full(WIDE, 1 + scale, np.float32),
            f"{at}.mlp.dense_h_to_4h.weight": np.zeros((4 * WIDE, WIDE), np.float32),
        }
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text('{"model_type": "gpt_neox", "num_attention_heads": 4}', "utf-8")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_of_a_hubs_revisions_only_the_needed_bytes_are_asked_for(tmp_path, monkeypatch):
    from huggingface_hub import constants

    steps = (0, 1000, 143000)
    hub = Hub({}, b"", "owner/pythia", "")
    hub.RequestHandlerClass = Revisions
    hub.revisions = {f"step{step}": f"{step:040x}" for step in steps}
    hub.files = {f"{step:040x}": neox(tmp_path / f"{step}", 1.0 + i) for i, step in enumerate(steps)}
    with running(hub):
        here = {"ENDPOINT": hub.address, "HF_HUB_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": 0}
        here["HUGGINGFACE_CO_URL_TEMPLATE"] = hub.address + "/{repo_id}/resolve/{revision}/{filename}"
        for name, value in here.items():
            monkeypatch.setattr(constants, name, value)
        tally = Tally()
        frame = g.weights([f"owner/pythia@step{step}" for step in reversed(steps)], client=Client(tally))
        asked = list(hub.requests)
    assert frame["step"].unique().tolist() == list(steps)
    np.testing.assert_allclose(frame.groupby("step")["growth"].mean(), [1, 2, 3], rtol=1e-6)
    np.testing.assert_allclose(frame.groupby("step")["gamma_mean"].mean(), [2, 3, 4])
    np.testing.assert_allclose(frame.groupby("step")["beta_mean"].mean(), [1, 2, 3])
    needed = BLOCKS * (3 * WIDE * WIDE + 2 * WIDE) * 4
    assert needed < hub.bytes_sent / len(steps) < needed + HEAD + 500
    assert tally.bytes == hub.bytes_sent
    of_files = [path for _, path, span in asked if span and large(path)]
    assert len(of_files) <= len(steps) * (1 + 2 * BLOCKS), "a header, and for each block its projection and norm"
    assert len(asked) - len(of_files) == 2 * len(steps), "what is in the revision, and config.json"


def test_the_norm_before_is_the_one_that_the_projections_read(tmp_path):
    """Of block i the norm's γ is i + 1, others' are 99."""
    tensors = {}
    for i in range(2):
        at = f"model.layers.{i}"
        tensors |= {f"{at}.self_attn.{part}_proj.weight": np.ones((8, 8), np.float32) for part in "qkv"}
        tensors |= {
            f"{at}.input_layernorm.weight": np.full(8, i + 1, np.float32),
            f"{at}.post_attention_layernorm.weight": np.full(8, 99, np.float32),
        }
    for model_type, added in (("llama", 0), ("gemma", 1)):
        folder = tmp_path / model_type
        folder.mkdir()
        save_file(tensors | {"model.norm.weight": np.full(8, 99, np.float32)}, folder / "model.safetensors")
        config = {"model_type": model_type, "num_attention_heads": 2}
        (folder / "config.json").write_text(json.dumps(config), "utf-8")
        found = weights([folder]).groupby("block")[["gamma_mean", "gamma_std", "beta_mean"]].first()
        assert found["gamma_mean"].tolist() == [1 + added, 2 + added]
        assert found["gamma_std"].tolist() == [0, 0]
        assert found["beta_mean"].isna().all()
    assert weights([checkpoint(tmp_path / "without", drawn())])["gamma_mean"].isna().all()


def test_norms_are_the_tables_every_value(tmp_path):
    neox(tmp_path / "a", 0.5)
    frame = g.norms(tmp_path / "a", f"b={tmp_path / 'a'}")
    assert list(frame) == ["model", "revision", "family", "block", "place", "kind", "stored", "index", "value"]
    assert frame["model"].unique().tolist() == ["a", "b"]
    assert len(frame) == 2 * BLOCKS * 2 * WIDE
    assert frame.groupby("kind")["value"].mean().to_dict() == {"gamma": 1.5, "beta": 0.5}
    assert frame["place"].unique().tolist() == ["attention and mlp input"], "there is no other"
    assert frame.attrs["unknown_convention"] == {}
    (tmp_path / "a" / "config.json").write_text('{"model_type": "never seen"}', "utf-8")
    assert "never seen" in g.norms(tmp_path / "a").attrs["unknown_convention"]["a"]
    with pytest.raises(UserError, match="no checkpoint was given"):
        g.norms()


def grown(tmp_path, factors, name="run"):
    """A training of two checkpoints, after which block i is `factors[i]` times as wide."""
    folders = []
    for step, by in ((100, [1.0] * len(factors)), (500, factors)):
        three = [[matrix * of for matrix in one] for one, of in zip(drawn(len(factors), (64, 64, 64)), by, strict=True)]
        folders.append(checkpoint(tmp_path / name / f"checkpoint-{step}", three))
    return weights(folders)


def test_the_articles_claims_are_judged_as_the_pipeline_does_and_one_training_decides_none(tmp_path):
    early, late = grown(tmp_path, [4, 3, 2, 1.5]), grown(tmp_path, [1.5, 2, 3, 4], "late")
    for frame, side in ((early, claims.CLAIMED), (late, claims.OTHER)):
        entries = {entry["id"]: entry for entry in claims.judged([frame])}
        assert list(entries) == list(claims.JUDGED)
        assert {entry["verdict"] for entry in entries.values()} == {verdicts.UNDECIDED}
        assert entries["W5"]["value"] == pytest.approx(1.625)
        assert entries["W5"]["side"] == claims.CLAIMED
        assert [entries[name]["side"] for name in ("W7", "W8")] == [side, side]
        assert entries["W7"]["value"] == pytest.approx(-1 if side == claims.CLAIMED else 1)
    several = {entry["id"]: entry for entry in claims.judged([early, early, early.copy()])}
    assert several["W7"]["verdict"] == verdicts.REPRODUCED
    assert several["W5"]["n"] == 3
    mixed = early.assign(spectral_norm=late["spectral_norm"])
    assert {entry["id"]: entry["side"] for entry in claims.judged([mixed])}["W8"] == claims.BETWEEN


def test_without_an_order_of_blocks_or_two_checkpoints_no_claim_is_judged(tmp_path):
    frame = grown(tmp_path, [2, 3])
    assert claims.judged([frame[frame["step"] == 100]]) == []
    assert claims.judged([frame.assign(block=0)]) == []
    told = {entry["id"]: entry["verdict"] for entry in claims.judged([frame])}
    assert told["W7"] == verdicts.NOT_MEASURED, "two blocks have no trend"
    assert told["W8"] == verdicts.UNDECIDED


@pytest.mark.filterwarnings("error")
def test_values_that_are_not_finite_are_no_statistics_and_no_failure(tmp_path):
    three = drawn()
    three[1][0][0, 0], three[1][2][0, 0] = np.nan, np.inf
    good, bad = checkpoint(tmp_path / "step1", drawn()), checkpoint(tmp_path / "step2", three)
    last = weights([good, bad]).query("step == 2").groupby("block")["std"]
    assert last.count().tolist() == [4, 0]
    assert claims.judged([weights([good, bad])])[0]["side"] == claims.NOT_FINITE
    assert weights([bad])["growth"].isna().sum() == 4


@pytest.mark.slow
@pytest.mark.alone
def test_a_series_takes_little_more_than_reading_it_and_its_singular_values(tmp_path):
    """Of GPT-2's width; fewer blocks and checkpoints, which both sides are proportional to."""
    generator, blocks, heads = np.random.default_rng(0), 2, 12
    folders = []
    for step in range(3):
        tensors = {
            f"h.{i}.attn.c_attn.weight": generator.normal(0, 0.02, (768, 3 * 768)).astype(np.float32)
            for i in range(blocks)
        }
        folder = tmp_path / f"step{step}"
        folder.mkdir()
        save_file(tensors, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps({"model_type": "gpt2", "n_head": heads}), "utf-8")
        folders.append(folder)
    weights(folders[:1])  # what the first call imports
    start = time.process_time()
    weights(folders)
    middle = time.process_time()
    for folder in folders:
        contents = (folder / "model.safetensors").read_bytes()
        matrices = np.frombuffer(contents[-blocks * 3 * 768**2 * 4 :], np.float32).reshape(blocks, 768, 3 * 768)
        for matrix in matrices:
            for part in (matrix.T, *np.split(matrix.T, 3), *np.split(matrix.T, 3 * heads)):
                np.linalg.svd(part, compute_uv=False)
    assert middle - start <= 1.5 * (time.process_time() - middle)


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "tools.command", "weights", *map(str, arguments)],
        cwd=ROOT, env=environment() | {"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True,
    )  # fmt: skip


@pytest.mark.slow
def test_the_command_draws_writes_counts_and_judges(tmp_path):
    run = [[[matrix * n for matrix in one] for one in drawn()] for n in (1, 3)]
    folders = [checkpoint(tmp_path / f"checkpoint-{n}", of, heads=4) for n, of in zip((1, 3), run, strict=True)]
    out, figure = tmp_path / "w.parquet", tmp_path / "f.svg"
    done = command(*folders, "--out", out, "--figure", figure)
    assert done.returncode == 0, done.stderr
    assert "2 checkpoints, steps 1 … 3, one training; 2 modules of 4 heads" in done.stdout
    assert "3-fold the first's" in done.stdout
    assert "undecided with one training" in done.stdout
    assert "W5  on the claimed side" in done.stdout
    assert len(pd.read_parquet(out)) == 2 * 2 * (8 + 4)
    assert figure.read_text("utf-8").endswith("</svg>\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "name checkpoints, or a folder with --from"),
        (("{good}", "--from", "{empty}"), "name checkpoints, or a folder with --from"),
        (("{good}", "--figure", "{empty}/f.png"), "--figure must be the name of an .svg file"),
        (("{good}", "--out", "{text}"), "exists and is no Parquet file"),
        (("{nowhere}",), "no such file or folder"),
        (("{empty}",), "no safetensors file in it"),
        (("{text}",), "neither a safetensors file"),
        (("{broken}",), "not a sound safetensors file"),
        (("{good}", "{good}"), "both of step 1"),
        (("{good}", "{wider}"), "has another shape than in"),
        (("{mixer}",), "no projections of Q, K and V known here"),
        (("{whole}",), "is stored as I32; only F32, F16, F64, BF16 are read"),
        (("--from", "{empty}"), "no weights/step-*.parquet in it"),
        (("--from", "{foreign}"), "no column"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_in_one_line(tmp_path, arguments, reason):
    here = {name: tmp_path / name for name in ("empty", "nowhere", "mixer", "whole", "broken", "foreign", "text")}
    for name in ("empty", "mixer", "whole", "broken"):
        here[name].mkdir()
    here["text"].write_text("words", "utf-8")
    (here["broken"] / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0nonsense")
    save_file({"mixer.in_proj.weight": np.zeros((4, 4), np.float32)}, here["mixer"] / "model.safetensors")
    integers = {f"h.0.{part}_proj.weight": np.ones((4, 4), np.int32) for part in "qkv"}
    save_file(integers, here["whole"] / "model.safetensors")
    (here["foreign"] / "weights").mkdir(parents=True)
    pd.DataFrame({"a": [1]}).to_parquet(here["foreign"] / "weights" / "step-000000.parquet")
    here["good"] = checkpoint(tmp_path / "step1", drawn())
    here["wider"] = checkpoint(tmp_path / "step2", drawn(rows=(16, 4, 4)))
    done = command(*(str(argument).format(**here) for argument in arguments))
    assert done.returncode == 2, done.stderr
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
    assert [line.startswith("usage") for line in done.stderr.splitlines()].count(False) <= 3

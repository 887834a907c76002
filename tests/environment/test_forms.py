from primaldual import preset
from primaldual.environment.forms import SHAPE, forms_here
from primaldual.primal.forms.choice import FORMS


def test_every_form_serves_something_or_has_a_reason():
    found = {form.name: form for form in forms_here(["cpu"])}
    assert {form.name for form in FORMS} <= set(found)
    assert all(bool(form.serves) != bool(form.reason) for form in found.values())
    assert found["window by Triton"].reason == "runs on devices of type cuda, of which torch finds none"
    for form in found.values():
        for shown in form.serves.get("cpu", [])[:3]:
            causal, spec = shown.startswith("causal "), shown.removeprefix("causal ")
            assert form.name in preset(spec).explain(SHAPE, is_causal=causal).forms

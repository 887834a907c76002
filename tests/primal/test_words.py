import pytest

import primaldual as pdl
from primaldual.errors import ArgumentError, SpecError
from primaldual.primal.words import PARTS, own_modules, register

pytestmark = pytest.mark.usefixtures("words_as_before")


class Shifted(pdl.FeatureMap):
    def kernel(self, query, key):
        return (query.relu() + 0.1) @ (key.relu() + 0.1).transpose(-2, -1)


def test_a_registered_part_is_read_from_specs_under_the_name_of_its_class():
    with pytest.raises(SpecError, match=r"unknown part 'shifted' .*primaldual.register"):
        pdl.preset("shifted+bn")
    assert register(Shifted) is Shifted
    problem = pdl.preset("shifted+bn")
    assert type(problem.feature_map) is Shifted
    assert problem.spec() == "shifted+bn"
    assert own_modules() == (Shifted.__module__,)


def test_a_part_may_be_registered_again_and_no_word_is_taken_over():
    register(Shifted)
    register(Shifted)
    other = type("Other", (Shifted,), {"name": "bn"})
    with pytest.raises(ArgumentError, match=r"'bn' is that of primaldual.*BatchNormalization; name Other"):
        register(other)
    assert PARTS["bn"] is pdl.BatchNormalization


@pytest.mark.parametrize("name", ["", "two words", "a+b", "Ünder", "Big", "none", "7up"])
def test_words_that_no_spec_can_hold_are_refused(name):
    with pytest.raises(ArgumentError, match="the name of Other must be a word of small letters"):
        register(type("Other", (Shifted,), {"name": name}))


@pytest.mark.parametrize("part", [Shifted(), int, "bn"])
def test_what_is_no_class_of_a_part_is_refused(part):
    with pytest.raises(ArgumentError, match="part must be a class of a Part"):
        register(part)


def test_a_class_that_is_defined_anew_replaces_the_former_one_with_a_warning():
    def defined():
        return type("Again", (Shifted,), {"name": "again"})

    register(defined())
    with pytest.warns(UserWarning, match=r"the word 'again' stands for a new class .*Again from now on"):
        second = register(defined())
    assert PARTS["again"] is second

"""Words that installed packages add, from the metadata of real distributions on the path."""

import sys

import pytest

from primaldual import PARTS, preset
from primaldual.errors import SpecError
from primaldual.primal.plugins import load_word, offered
from primaldual.testing import check_attention

pytestmark = pytest.mark.usefixtures("words_as_before")

PART = '''
import primaldual as pdl


class Tripled(pdl.Transform):
    """Three times the inputs."""

    name = "tripled"

    def dense(self, query, keys, valid, heads):
        return 3 * query, 3 * keys
'''


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a distribution on the path: its module, and metadata as pip leaves them."""
    monkeypatch.syspath_prepend(tmp_path)
    modules = []

    def distribution(entry, source=PART, module="tripling_parts", name="tripling"):
        modules.append(module)
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{name}-1.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n")
        (info / "entry_points.txt").write_text(f"[primaldual.parts]\n{entry}\n")
        return tmp_path

    yield distribution
    for module in modules:
        sys.modules.pop(module, None)


def test_a_word_is_loaded_when_a_spec_names_it_and_not_before(install):
    install("tripled = tripling_parts:Tripled")
    preset("bn+sh(1,1,2,4)")
    assert list(offered()) == ["tripled"]
    assert "tripling_parts" not in sys.modules
    problem = preset("tripled+sh(1,1,2,4)")
    assert problem.spec() == "tripled+sh(1,1,2,4)"
    assert list(offered()) == ["tripled"]
    check_attention("tripled", level="quick")


def test_a_class_without_a_name_goes_by_the_word(install):
    install("thrice = tripling_parts:Tripled", PART.replace('    name = "tripled"\n', ""))
    assert preset("thrice").spec() == "thrice"


def test_a_module_may_register_its_parts_itself(install):
    install("tripled = tripling_parts", PART.replace("class", "@pdl.register\nclass"))
    assert load_word("tripled")
    assert PARTS["tripled"].__name__ == "Tripled"


@pytest.mark.parametrize(
    ("entry", "source", "message"),
    [
        (
            "tripled = tripling_parts:Tripled",
            "1 / 0",
            "cannot be loaded: ZeroDivisionError: division by zero",
        ),
        ("tripled = tripling_parts:Nothing", PART, "cannot be loaded: AttributeError: .*Nothing"),
        ("tripled = no_such_module_here:Tripled", PART, "cannot be loaded: ModuleNotFoundError"),
        (
            "tripled = tripling_parts:pdl.preset",
            PART,
            "must be the class of a Part or a module; got function",
        ),
        ("thrice = tripling_parts:Tripled", PART, "name of the class must be 'thrice'"),
        ("tripled = tripling_parts", PART, "is not registered by it"),
    ],
)
def test_a_package_that_does_not_keep_its_promise_is_named(install, entry, source, message):
    install(entry, source)
    word = entry.partition(" ")[0]
    with pytest.raises(
        SpecError, match=rf"spec '{word}\+bn': the word '{word}' of tripling 1\.5, .*{message}"
    ):
        preset(f"{word}+bn")
    preset("bn")


def test_two_packages_with_the_same_word_are_refused(install):
    install("tripled = tripling_parts:Tripled")
    install("tripled = other_parts:Tripled", module="other_parts", name="other")
    with pytest.raises(SpecError, match=r"offered by .*1\.5 and .*1\.5; uninstall one"):
        preset("tripled")


def test_words_of_the_library_are_never_taken_over(install):
    install("bn = tripling_parts:Tripled")
    assert offered() == {}
    assert PARTS["bn"].__module__.startswith("primaldual.")


def test_unknown_words_are_told_what_packages_offer(install):
    install("tripled = tripling_parts:Tripled")
    with pytest.raises(SpecError, match=r"unknown part 'thriced'.*accepted are softmax, .*, tripled"):
        preset("thriced")


def test_the_doctor_and_the_list_of_words_name_them(install, capsys):
    from tests.cli.helpers import run

    from primaldual.environment.plugins import plugins

    install("tripled = tripling_parts:Tripled")
    install("broken = broken_parts:Any", source="1 / 0", module="broken_parts", name="breaking")
    found = {plugin.word: plugin for plugin in plugins()}
    assert (found["tripled"].package, found["tripled"].reason) == ("tripling 1.5", "")
    assert "the word 'broken' of breaking 1.5" in found["broken"].reason
    out = run(capsys, "presets")[1]
    assert "Three times the inputs" in out
    assert "words that cannot be loaded" in out


def test_a_module_that_ends_the_process_is_an_error_of_the_word(install):
    install("tripled = tripling_parts:Tripled", "raise SystemExit(3)")
    with pytest.raises(SpecError, match=r"'tripled' of tripling 1\.5, .* cannot be loaded: SystemExit: 3"):
        preset("tripled")


def test_a_word_is_offered_in_small_letters_as_specs_are_read(install):
    install("Tripled = tripling_parts:Tripled")
    assert list(offered()) == ["tripled"]
    assert preset("Tripled").spec() == "tripled"

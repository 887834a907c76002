import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from primaldual.errors import CheckpointError, DataError
from primaldual.images import ImageClassifier, PreparedRun, RunSettings
from primaldual.images.classifier import holds_image_classifier
from primaldual.training import Execution
from tests.images.helpers import pixels, write_images


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained run on small pictures of two shades."""
    folder = tmp_path_factory.mktemp("shades")
    write_images(folder / "data", count=20)
    settings = RunSettings(data=str(folder / "data"), attention="bn+sh(1,1,2,4)", epochs=2, batch_size=8)
    prepared = PreparedRun(settings, folder / "run")
    return prepared.finish(prepared.train(Execution(device="cpu")), corruptions=False)


def expected(run):
    """Probabilities of the test part by the model that was just trained, as it was tested."""
    batch = next(run.test.load([torch.arange(len(run.test))], seed=0))
    with torch.no_grad():
        return run.model.eval()(batch.images).double().softmax(1).numpy()


def test_a_saved_classifier_predicts_what_the_trained_one_does(run):
    files = [run.parts.test.folder / name for name in run.parts.test.files]
    classifier = ImageClassifier.load(run.folder.path)
    found = classifier.predict_proba(files)
    np.testing.assert_allclose(found, expected(run), atol=1e-6)
    np.testing.assert_allclose(found.sum(1), 1)
    assert (classifier.predict(files) == np.array(["bright", "dark"])[found.argmax(1)]).all()
    accuracy = (classifier.predict(files) == np.array(run.parts.test.classes)[run.parts.test.labels]).mean()
    assert accuracy == run.evaluation.scores["top1"]


def test_files_pictures_and_arrays_are_alike(run):
    classifier = ImageClassifier.load(run.folder.path)
    shades, _ = pixels(5, seed=3)
    grey = classifier.predict_proba(shades)
    np.testing.assert_allclose(classifier.predict_proba([Image.fromarray(one) for one in shades]), grey)
    np.testing.assert_allclose(classifier.predict_proba(np.stack([shades] * 3, -1)), grey)
    one_by_one = np.concatenate([classifier.predict_proba([one]) for one in shades])
    np.testing.assert_allclose(one_by_one, grey, atol=1e-6)


def test_more_images_than_a_pass_takes_keep_their_order(run):
    classifier = ImageClassifier.load(run.folder.path)
    shades, _ = pixels(70, seed=4)
    found = classifier.predict_proba(shades)
    np.testing.assert_allclose(found[64:], classifier.predict_proba(shades[64:]), atol=1e-6)


def test_images_of_another_size_are_resized_as_in_training(run):
    classifier = ImageClassifier.load(run.folder.path)
    large = np.random.default_rng(0).integers(0, 256, (30, 20), dtype=np.uint8)
    resized = np.asarray(Image.fromarray(large).convert("RGB").resize((8, 8), Image.Resampling.BICUBIC))
    np.testing.assert_allclose(classifier.predict_proba([large]), classifier.predict_proba([resized]))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "images must hold one image or more"),
        ([np.zeros((8, 8))], "image 0 must be uint8 of shape .*; got float64 of shape \\(8, 8\\)"),
        (np.zeros((2, 3, 8, 8), dtype=np.uint8), "got uint8 of shape \\(3, 8, 8\\)"),
        (np.zeros((8, 8, 3), dtype=np.uint8), "may be one in colour or 8 in grey"),
        ([np.zeros((0, 8), dtype=np.uint8)], "got uint8 of shape \\(0, 8\\)"),
        ("one.png", r"images must be several, as \[image\] is; got one str"),
        (Path("one.png"), "got one PosixPath"),
        (Image.new("RGB", (8, 8)), "got one Image"),
        (None, "got one NoneType"),
    ],
)
def test_what_is_no_image_is_named(run, images, message):
    with pytest.raises(DataError, match=message):
        ImageClassifier.load(run.folder.path).predict_proba(images)


def test_weights_of_half_precision_predict_about_the_same(run):
    classifier, half = (ImageClassifier.load(run.folder.path) for _ in range(2))
    half.model.bfloat16()
    images = np.random.default_rng(0).integers(0, 256, (3, 8, 8), dtype=np.uint8)
    np.testing.assert_allclose(half.predict_proba(images), classifier.predict_proba(images), atol=0.05)


def test_unreadable_files_are_named(run, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"broken\.png is not a readable image"):
        ImageClassifier.load(run.folder.path).predict_proba([broken])


def test_folders_without_a_classifier_are_errors(run, tmp_path):
    assert holds_image_classifier(run.folder.path)
    assert not holds_image_classifier(tmp_path)
    with pytest.raises(CheckpointError, match=r"holds no trained image classifier: it has no config\.json"):
        ImageClassifier.load(tmp_path)
    copy = shutil.copytree(run.folder.path, tmp_path / "copy")
    (copy / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"it has no model\.safetensors"):
        ImageClassifier.load(copy)
    copy = shutil.copytree(run.folder.path, tmp_path / "other")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "classes": ["one"]}))
    with pytest.raises(CheckpointError, match="no image classifier that can be read: RuntimeError"):
        ImageClassifier.load(copy)


def test_sixteen_bits_of_grey_keep_their_shades(run, tmp_path):
    shades, _ = pixels(2)
    deep = shades.astype(np.uint16) * 257
    for ending in (".png", ".tif"):
        paths = [tmp_path / f"{number}{ending}" for number in range(2)]
        for path, one in zip(paths, deep, strict=True):
            Image.fromarray(one).save(path)
        classifier = ImageClassifier.load(run.folder.path)
        expected = classifier.predict_proba(shades)
        assert np.ptp(expected[:, 0]) > 0
        np.testing.assert_array_equal(classifier.predict_proba(paths), expected)
        np.testing.assert_array_equal(classifier.predict_proba(map(Image.open, paths)), expected)
    Image.fromarray(np.float32(deep[0])).save(tmp_path / "real.tif")
    with pytest.raises(
        DataError, match=r"real.tif is not a readable image .its grey values are neither of 8 nor of 16 bits"
    ):
        classifier.predict_proba([tmp_path / "real.tif"])

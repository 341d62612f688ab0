"""A run whose rows have other classes than the model ends before it sends anything."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from sample_models import tiny_models

from loadtest.servers import class_names

NAMES = ("dark", "light")


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory) -> Path:
    """A model of dark and light pictures."""
    folder = tmp_path_factory.mktemp("models")
    tiny_models.brightness(folder, "lamp", NAMES)
    return folder


@pytest.fixture(scope="module")
def target(models_dir, running_server) -> Iterator[str]:
    """Address of a server of the model, with a console."""
    with running_server(models_dir) as address:
        yield address


@pytest.fixture(scope="module")
def silent(models_dir, running_server) -> Iterator[str]:
    """Address of a server that does not tell the names of the classes."""
    with running_server(models_dir, enable_console=False) as address:
        yield address


def write_test_part(folder: Path, **shades: int) -> Path:
    """Write three pictures of 50x40 pixels for each class and no training pictures."""
    for name, shade in shades.items():
        (folder / "test" / name).mkdir(parents=True)
        for number in range(3):
            picture = Image.new("RGB", (50, 40), (shade + number,) * 3)
            picture.save(folder / "test" / name / f"{number}.png")
    return folder


def lamp(run, target: str, data_dir: Path, *flags: object):
    """Run a load of one request for each picture."""
    return run("--target", target, "--model", "lamp", "--data-dir", data_dir, "--plain", *flags)


def test_test_pictures_alone_are_measured(run, target, tmp_path):
    """The labels are those of the folder, and every picture is sent."""
    done = lamp(run, target, write_test_part(tmp_path, dark=10, light=200))

    assert done.exit_code == 0, done.stderr
    assert done.report.accuracy.per_class == {"dark": 1.0, "light": 1.0}
    assert done.report.accuracy.distinct_images == 6


def test_an_empty_folder_stands_for_a_class_without_pictures(run, target, tmp_path):
    """The pictures of the other class keep their label."""
    write_test_part(tmp_path, light=200)
    (tmp_path / "test" / "dark").mkdir()
    done = lamp(run, target, tmp_path)

    assert done.exit_code == 0, done.stderr
    assert done.report.accuracy.per_class == {"dark": None, "light": 1.0}


def test_classes_of_other_names_are_refused(run, target, silent, models_dir, tmp_path):
    """The names come from the server, or from --models-dir if it does not tell them."""
    write_test_part(tmp_path, moon=10, sun=200)
    for address, flags in ((target, ()), (silent, ("--models-dir", models_dir))):
        done = lamp(run, address, tmp_path, *flags)

        assert done.exit_code == 2
        assert (
            "has 2 classes: moon, sun; expected the 2 of model 'lamp': dark, light; rename or "
            "remove moon, sun"
        ) in done.stderr
        assert not (done.folder / "report.json").exists()


def test_the_number_of_scores_decides_if_the_names_are_unknown(run, silent, tmp_path):
    """Three classes are no two; two are accepted under any names."""
    write_test_part(tmp_path / "two", moon=10, sun=200)
    write_test_part(tmp_path / "three", moon=10, sun=200, twilight=100)
    refused = lamp(run, silent, tmp_path / "three")

    assert lamp(run, silent, tmp_path / "two").exit_code == 0
    assert refused.exit_code == 2
    assert "expected as many as model 'lamp' has scores, 2; add an empty folder" in refused.stderr


def test_names_of_classes_that_are_not_told(target, silent, models_dir, tmp_path):
    """No such server, model, version or file: the names are unknown, which is no error."""
    assert class_names.of_server(target, "lamp", None) == NAMES
    assert class_names.of_server(target, "lamp", 1) == NAMES
    assert class_names.of_folder(models_dir, "lamp", 1) == NAMES
    for unknown in (
        class_names.of_server(target, "lamp", 7),
        class_names.of_server(target, "sun", None),
        class_names.of_server(silent, "lamp", None),
        class_names.of_server("127.0.0.1:1", "lamp", None),
        class_names.of_folder(models_dir, "lamp", None),
        class_names.of_folder(tmp_path, "lamp", 1),
    ):
        assert unknown == ()

import importlib
import subprocess

import pytest

from training.evaluation import provenance


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module two folders deep in a package, in a checkout without changes."""
    folder = tmp_path / "some_package" / "room"
    folder.mkdir(parents=True)
    for file in (folder.parent / "__init__.py", folder / "__init__.py", folder / "deep.py"):
        file.touch()
    identity = ("-c", "user.name=tests", "-c", "user.email=tests@example.invalid")
    for command in (("init", "-q"), ("add", "."), (*identity, "commit", "-q", "-m", "all")):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    monkeypatch.syspath_prepend(tmp_path)
    return importlib.import_module("some_package.room.deep")


def test_commit_of_a_module_is_that_of_its_whole_package(module, tmp_path):
    """A change inside the package marks the commit as "-dirty"; a change beside it does not."""
    (tmp_path / "README.md").write_text("beside the package")
    clean = provenance.package_commit(module.__name__)
    (tmp_path / "some_package" / "__init__.py").write_text("changed = True")
    changed = provenance.package_commit(module.__name__)

    assert len(clean) == 40
    assert changed == f"{clean}-dirty"


def test_folder_outside_a_checkout_has_no_commit(tmp_path):
    """git_commit returns None outside a checkout, as for an installed package."""
    assert provenance.git_commit(tmp_path) is None

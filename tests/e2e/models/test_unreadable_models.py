"""The start of a server whose user may not read the folder of models."""

import os
import subprocess
import sys

from sample_models import tiny_models

# The user `nobody` on Debian; the test works with any user except root.
OTHER_USER = 65534


def test_an_unreadable_folder_is_named_with_user_and_way_out(tmp_path):
    """The error names the folder, the user who cannot read it, and the way to allow it."""
    models = tmp_path / "models"
    tiny_models.identity(models)
    models.chmod(0o700 if os.geteuid() == 0 else 0o000)
    user = OTHER_USER if os.geteuid() == 0 else os.geteuid()
    # Pytest makes the folders above without permissions for other users.
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)

    # Imports come first: the other user may not be allowed to read Python's own folder.
    imports = "import os, serving.program; from serving.__main__ import main"
    code = f"{imports}; os.setuid({user}); main()"
    ended = subprocess.run(
        [sys.executable, "-c", code, f"--models_dir={models}", "--port=0"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    models.chmod(0o700)

    assert ended.returncode == 2
    last = ended.stderr.splitlines()[-1]
    assert last.startswith(f"error: cannot read {models}: Permission denied; expected a folder")
    assert f"user {user} " in last
    assert f"chmod -R a+rX {models}" in last

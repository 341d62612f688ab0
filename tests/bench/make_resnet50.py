"""Publish ResNet50 with random weights: `python tests/bench/make_resnet50.py MODELS_DIR`.

The speed of the model does not depend on the values of its weights, so no trained model is needed.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ["KERAS_BACKEND"] = "tensorflow"
ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from export.convert import to_saved_model
from training.model import architectures

with tempfile.TemporaryDirectory() as folder:
    to_saved_model.write(architectures.build("resnet50"), Path(folder))
    command = [sys.executable, "-m", "export", "saved-model", folder, "--name", "resnet50"]
    command += ["--signature", "serving_default", "--models-dir", sys.argv[1]]
    subprocess.run(command, check=True, cwd=ROOT)

import json
import subprocess
import sys


def loadtest(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Return a function that runs `python -m loadtest` with the given arguments."""
    command = [sys.executable, "-m", "loadtest", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_without_a_command_run_is_meant(image_target, data_dir, tmp_path):
    """Flags without a command are flags of `run`, as in earlier versions."""
    result = loadtest(
        *("--target", image_target, "--model", "cat", "--users", 2, "--warmup-requests", 2),
        *("--data-dir", data_dir, "--output-dir", tmp_path),
    )

    assert result.returncode == 0, result.stderr
    assert json.loads((tmp_path / "report.json").read_text())["scenario"]["users"] == 2


def test_commands_are_listed_and_unknown_ones_refused():
    """--help lists every command with its description; an unknown command exits with code 2."""
    listed, unknown = loadtest("--help"), loadtest("fly")

    assert listed.returncode == 0
    for name in ("run", "find-capacity", "web", "null-server"):
        assert f"  {name}" in listed.stdout
    assert unknown.returncode == 2
    assert "'fly' received, expected one of run, find-capacity" in unknown.stderr


def test_the_load_generator_imports_no_training_framework():
    """No command, nor the locustfile, imports TensorFlow, Keras or JAX."""
    code = (
        "import loadtest.commands.measure, loadtest.web.locustfile, sys; "
        "print(sorted({'tensorflow', 'keras', 'jax', 'onnxruntime'} & set(sys.modules)))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )

    assert finished.stdout.strip() == "[]"

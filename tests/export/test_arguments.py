import pytest


@pytest.mark.parametrize("precisions", ["int4", "fp32,int4", "fp32 w8", ""])
def test_unknown_precisions_are_refused(call, run_dir, capsys, precisions):
    """Exit code 2, and the message lists those that exist."""
    with pytest.raises(SystemExit) as stop:
        call(run_dir, "--precision", precisions)

    assert stop.value.code == 2
    assert "received, expected a list of fp32, fp16, w8, int8" in capsys.readouterr().err


def test_free_size_must_be_positive(call, tmp_path, capsys):
    """Bad usage is argparse's: exit code 2 and the flag's name."""
    with pytest.raises(SystemExit) as stop:
        call("saved-model", tmp_path, "--name", "x", "--free-size", "0")

    assert stop.value.code == 2
    assert "--free-size: 0 received, expected 1 or more" in capsys.readouterr().err


def test_fp32_cannot_be_added(call, published, capsys):
    """It is what a training makes."""
    with pytest.raises(SystemExit) as stopped:
        call("add-precision", published.path, "--precision", "fp32,w8")

    assert stopped.value.code == 2
    assert "fp32 received, expected others: it comes from a training" in capsys.readouterr().err

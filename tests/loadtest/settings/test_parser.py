import pytest

from loadtest.__main__ import COMMANDS, main


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"web"}))
def test_a_wrong_command_line_is_one_line(capsys, command):
    """An unknown flag gives one line, which names it and the way to the help, and exit code 2."""
    with pytest.raises(SystemExit) as stopped:
        main([command, "--no-such-flag"])

    assert stopped.value.code == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert len(output.err.splitlines()) == 1
    assert f"{command} --help" in output.err

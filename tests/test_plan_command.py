"""The command `plan`, as a user calls it."""

from conftest import TINY, Cli


def test_a_plan_shows_no_codes_of_a_terminal(cli: Cli) -> None:
    """A sweep file may be somebody else's: its title moves no cursor and sets no colour."""
    cli.write(TINY.replace('"A small sweep"', '"A \\u001b[31mred\\u0007 \\u202esweep"'))
    shown = cli("plan", "tiny").stdout
    assert "red" in shown
    assert not {"\x1b", "\x07", "\u202e"} & set(shown)

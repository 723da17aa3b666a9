"""tinyablate turns one TOML file into a paper's ablation table. `tinyablate.open` reads the results in Python."""

TYPE_CHECKING = False
"""As in `typing`, which takes 10 ms to be imported: so long Ctrl-C on the command line would print a traceback."""

if TYPE_CHECKING:
    from tinyablate.api import open as open

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """`open`, on its first use: the command line imports this module too, and starts faster without it."""
    if name == "open":
        from tinyablate.api import open

        return open
    raise AttributeError(f"module 'tinyablate' has no attribute '{name}'")

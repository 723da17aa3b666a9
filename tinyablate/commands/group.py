"""How commands are listed and refused. It knows none of them."""

from typing import Any

import click


class Group(click.Group):
    """Commands in the order of a user's work; our own errors become one message and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        from tinyablate.errors import nearest

        if args and args[0] not in self.commands:
            ctx.fail(f"no such command '{args[0]}'{nearest(args[0], self.commands)}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Raises UsageError where a text cannot be stored or printed: an argument that is no UTF-8."""
        from tinyablate.errors import UsageError

        try:
            return super().invoke(ctx)
        except UnicodeEncodeError as error:
            text = ascii(error.object[error.start : error.end][:40])
            raise UsageError(
                f"{text}: cannot be written as {error.encoding}; arguments, and the terminal, have to be UTF-8 "
                "(PYTHONUTF8=1, PYTHONIOENCODING=utf-8)"
            ) from error

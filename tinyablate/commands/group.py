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

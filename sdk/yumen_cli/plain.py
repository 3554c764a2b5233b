"""Commands with plain help: arguments, options, an example, and no boxes.

Typer's own help for arguments loses their text with current click releases, and escapes brackets
for a renderer that is not used here; both are put right in this one place.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Any

import click
import typer
from typer.core import TyperArgument, TyperCommand
from typer.models import ArgumentInfo

Function = typing.TypeVar("Function", bound=Callable[..., Any])


class PlainCommand(TyperCommand):
    """A command whose help lists each argument with its text."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        texts = _argument_texts(self.callback)
        arguments: list[tuple[str, str]] = []
        options: list[tuple[str, str]] = []
        for parameter in self.get_params(ctx):
            if isinstance(parameter, TyperArgument):
                name = parameter.make_metavar(ctx)
                arguments.append((name, texts.get(parameter.name or "", "")))
            elif (record := parameter.get_help_record(ctx)) is not None:
                options.append((record[0], record[1].replace("\\[", "[")))
        for heading, rows in (("Arguments", arguments), ("Options", options)):
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)


def group(help_text: str, *, epilog: str | None = None) -> typer.Typer:
    """A group of commands; called without a command it prints its help."""
    return typer.Typer(
        help=help_text,
        epilog=epilog,
        no_args_is_help=True,
        add_completion=False,
        suggest_commands=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )


def command(app: typer.Typer, name: str, *, example: str) -> Callable[[Function], Function]:
    """Register a function as command `name`; its help ends with `example`, one line a step."""
    steps = "\n".join(f"  {line}" for line in example.splitlines())
    epilog = f"\b\nExample:\n{steps}"

    def register(function: Function) -> Function:
        return app.command(name, cls=PlainCommand, epilog=epilog)(function)

    return register


def _argument_texts(callback: Callable[..., Any] | None) -> dict[str, str]:
    if callback is None:
        return {}
    source = getattr(callback, "__wrapped__", callback)  # the function under Typer's wrapper
    hints = typing.get_type_hints(source, include_extras=True)
    texts: dict[str, str] = {}
    for name, hint in hints.items():
        for extra in getattr(hint, "__metadata__", ()):
            if isinstance(extra, ArgumentInfo) and extra.help:
                texts[name] = extra.help
    return texts

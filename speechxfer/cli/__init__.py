"""The command line: one module per command, found by listing this folder. Heavy imports happen inside the commands.

A command's module has `HELP_ORDER` and `register(app)`. Exit codes: 0 success, 1 a check or gate failed,
2 usage error, 130 interrupted.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable
from typing import Annotated, Any

import typer

from speechxfer.cli._echo import echo
from speechxfer.data.decoder_messages import separate_stderr
from speechxfer.errors import UserError
from speechxfer.wakeword.runtime.errors import DetectorError

_ABOUT = "Adapt pretrained speech encoders to your audio, and report WER with confidence intervals."


def build_app() -> typer.Typer:
    """Return a Typer app with the commands of every public module of this folder, sorted by `HELP_ORDER`."""
    app = typer.Typer(
        name="speechxfer",
        context_settings={"help_option_names": ["-h", "--help"]},
        help=_ABOUT,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )

    @app.callback()
    def _root(
        version: Annotated[
            bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
        ] = False,
    ) -> None:
        pass

    names = (module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    for module in sorted(modules, key=lambda m: m.HELP_ORDER):
        module.register(app)
    _guard(app)
    return app


def _print_version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version  # slow (60 ms) and rarely needed

        echo(f"speechxfer {version('speechxfer')}")
        raise typer.Exit


def main() -> None:
    """Entry point of the `speechxfer` command."""
    separate_stderr()
    build_app()()


def _guard(app: typer.Typer) -> None:
    """Give every command of `app` and its groups the exit codes above, in Typer's test runner as well."""
    for command in app.registered_commands:
        if command.callback is not None:
            command.callback = _with_exit_codes(command.callback)
    if app.registered_callback is not None and app.registered_callback.callback is not None:
        app.registered_callback.callback = _with_exit_codes(app.registered_callback.callback)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            _guard(group.typer_instance)


def _with_exit_codes(command: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(command)  # keeps the signature that Typer reads
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except (UserError, DetectorError) as error:
            echo(f"speechxfer: {error}", err=True)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            echo("speechxfer: interrupted", err=True)
            raise typer.Exit(130) from None

    return guarded

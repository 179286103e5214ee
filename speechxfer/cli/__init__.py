"""The command line: one module a verb, found by listing this folder. Heavy imports happen inside the verbs.

A verb's module has `HELP_ORDER` and `register(app)`. Exit codes: 0 done, 1 the thing checked fell short,
2 the user's mistake, 130 interrupted.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable
from typing import Annotated, Any

import typer

from speechxfer.errors import UserError, explain_torchaudio_import_error


def build_app() -> typer.Typer:
    """A Typer app with the commands of every public module of this folder, in their `HELP_ORDER`."""
    app = typer.Typer(
        name="speechxfer",
        help="Adapt pretrained speech encoders to your audio, and report a WER that holds.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )

    @app.callback()
    def _root(
        version: Annotated[
            bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_tell_version)
        ] = False,
    ) -> None:
        """Adapt pretrained speech encoders to your audio, and report a WER that holds."""

    names = (module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    for module in sorted(modules, key=lambda m: m.HELP_ORDER):
        module.register(app)
    _guard(app)
    return app


def _tell_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # here, as it takes 60 ms that nothing else needs

        typer.echo(f"speechxfer {version('speechxfer')}")
        raise typer.Exit


def main() -> None:
    """Entry point of the `speechxfer` command."""
    build_app()()


def _guard(app: typer.Typer) -> None:
    """Make every command of `app` and its groups end by our exit codes, under tests' runner as well."""
    for command in app.registered_commands:
        if command.callback is not None:
            command.callback = _with_exit_codes(command.callback)
    if app.registered_callback is not None and app.registered_callback.callback is not None:
        app.registered_callback.callback = _with_exit_codes(app.registered_callback.callback)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            _guard(group.typer_instance)


def _with_exit_codes(verb: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(verb)  # keeps the signature that Typer reads
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            return verb(*args, **kwargs)
        except UserError as error:
            typer.echo(f"speechxfer: {error}", err=True)
            raise typer.Exit(2) from None
        except (ImportError, OSError, RuntimeError) as error:
            broken = explain_torchaudio_import_error(error)  # transformers imports it too, and wraps what that raises
            if broken is None:
                raise
            typer.echo(f"speechxfer: {broken}", err=True)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            typer.echo("speechxfer: interrupted", err=True)
            raise typer.Exit(130) from None

    return guarded

"""Errors of the runtime, which read like those of the package."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from speechxfer import cli
from speechxfer.errors import MissingExtraError, UserError
from speechxfer.wakeword.runtime.errors import DetectorError, MissingDetectorExtraError


@pytest.mark.parametrize("where", [None, "juniper"])
@pytest.mark.parametrize("fix", [None, "give another folder"])
def test_errors_read_like_those_of_the_package(where: str | None, fix: str | None) -> None:
    ours, theirs = (
        DetectorError("no such folder", where=where, fix=fix),
        UserError("no such folder", where=where, fix=fix),
    )
    assert str(ours) == str(theirs) and ours.args == theirs.args
    assert (ours.problem, ours.where, ours.fix) == (theirs.problem, theirs.where, theirs.fix)


def test_a_missing_package_is_named_with_its_extra() -> None:
    ours = MissingDetectorExtraError("onnxruntime", "running a detector")
    theirs = MissingExtraError("onnxruntime", "wakeword", "running a detector")
    assert str(ours) == str(theirs) and (ours.package, ours.extra) == (theirs.package, theirs.extra)


def test_the_command_line_shows_the_message_and_exits_with_2() -> None:
    app = typer.Typer()

    @app.command()
    def fail() -> None:
        raise DetectorError("no such folder", where="juniper", fix="give another folder")

    cli._guard(app)
    done = CliRunner().invoke(app)
    assert done.exit_code == 2
    assert done.output == "speechxfer: juniper: no such folder\n  fix: give another folder\n"

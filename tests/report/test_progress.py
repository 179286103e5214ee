"""Messages and progress of the reporter."""

import io

from rich.console import Console

from speechxfer.report import progress
from speechxfer.report.progress import Reporter


def reporter_to(file, **options):
    reporter = Reporter()
    reporter.console = Console(file=file, soft_wrap=True, highlight=False, **options)
    return reporter


def test_messages_are_printed_without_markup():
    out = io.StringIO()
    reporter_to(out).info("[red]100 %[/red]")
    assert out.getvalue() == "[red]100 %[/red]\n"


def test_a_quiet_reporter_prints_nothing(capsys):
    reporter = Reporter(quiet=True)
    reporter.info("hello")
    with reporter.progress("step") as step:
        step(1, 2)
    assert capsys.readouterr().out == ""


def test_without_a_terminal_progress_is_a_line_per_interval(monkeypatch):
    out, now = io.StringIO(), [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with reporter_to(out).progress("encoding") as step:
        for seconds in (10, 59, 61, 70, 125):
            now[0] = float(seconds)
            step(1_000 * seconds, 130_000)
    assert out.getvalue() == "encoding: 61,000 of 130,000\nencoding: 125,000 of 130,000\n"


def test_a_terminal_gets_a_bar(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")  # rich draws no bar on a terminal that is dumb
    out = io.StringIO()
    with reporter_to(out, force_terminal=True, width=80).progress("encoding") as step:
        step(3, 7)
    assert "encoding" in out.getvalue() and "\x1b[" in out.getvalue()

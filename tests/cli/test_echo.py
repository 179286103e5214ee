"""Printing of commands: control characters are escaped on both streams, JSON stays valid."""

import io
import json

from speechxfer.cli._echo import echo, echo_json, overwrite_line


def test_text_on_both_streams_and_in_a_file(capsys):
    file = io.StringIO()
    echo("a\x1b[0m")
    echo("b\x9b", err=True)
    echo("c\r", file=file, end="")
    assert capsys.readouterr() == ("a[U+001B][0m\n", "b[U+009B]\n")
    assert file.getvalue() == "c[U+000D]"


def test_json_stays_valid(capsys):
    echo_json(json.dumps({"\x9b\x1b": "\x7f"}, ensure_ascii=False))
    text = capsys.readouterr().out
    assert json.loads(text) == {"\x9b\x1b": "\x7f"} and text.isprintable()


def test_the_line_is_overwritten(capsys):
    overwrite_line("level\x1b")
    assert capsys.readouterr().err == "\rlevel[U+001B]"

"""What `wakeword listen` refuses before it listens: options that do not apply, and inputs as the target of --json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from speechxfer.cli._listen import EventPrinter, ListenOptions, check_options
from speechxfer.errors import UserError
from speechxfer.wakeword.runtime.events import Event


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"wyoming": "tcp://a:1", "audio": "a.wav"}, "AUDIO does not apply with --wyoming"),
        ({"wyoming": "tcp://a:1", "microphone": "usb"}, "--microphone does not apply with --wyoming"),
        ({"wyoming": "tcp://a:1", "json_file": Path("e.jsonl")}, "--json does not apply with --wyoming"),
        ({"wyoming": "tcp://a:1", "audio": "-", "rate": 8_000}, "AUDIO and --rate do not apply with --wyoming"),
        ({"audio": "a.wav", "microphone": "usb"}, "--microphone does not apply to an audio file"),
        ({"audio": "a.wav", "rate": 16_000}, "--rate does not apply to an audio file"),
        ({"audio": "-", "microphone": "0"}, "--microphone does not apply to standard input"),
        ({"audio": "-", "log_level": "info"}, "--log-level does not apply to standard input"),
        ({"rate": 8_000}, "--rate does not apply to a microphone"),
        ({"wyoming": "tcp://a:1", "log_level": "loud"}, "--log-level loud: no such level"),
        ({"gain": float("nan")}, "--gain nan: is not a number of dB"),
    ],
)
def test_options_that_do_not_apply(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as error:
        check_options(ListenOptions(**options))
    assert words in str(error.value)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"microphone": "usb", "channel": 2, "gain": 20.0, "json_file": Path("e.jsonl"), "quiet": True},
        {"audio": "a.wav", "channel": 1, "threshold": 0.5},
        {"audio": "-", "rate": 8_000, "json_file": Path("-")},
        {"wyoming": "tcp://a:1", "log_level": "debug", "channel": 1, "gain": -3.0, "threshold": 0.5, "quiet": True},
    ],
)
def test_options_that_apply(options: dict[str, Any]) -> None:
    check_options(ListenOptions(**options))


def test_a_hint_is_on_standard_error_and_clears_the_level(capsys: pytest.CaptureFixture[str]) -> None:
    for quiet, with_level in ((False, True), (True, False)):
        printer = EventPrinter("word", 0.5, to_stdout=True, quiet=quiet, with_level=with_level)
        printer.print_hint("too quiet")
        printer.print_event(Event(1.5, 0.75))
        printed = capsys.readouterr()
        assert printed.out == '{"word": "word", "time": 1.5, "score": 0.75}\n'
        assert ("speechxfer: too quiet\n" in printed.err) is not quiet
        assert (" " * 79 in printed.err) is with_level

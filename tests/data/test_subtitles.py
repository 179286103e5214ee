"""SubRip and WebVTT as their players read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from speechxfer.data.subtitles import read_subtitles
from speechxfer.errors import UserError

SRT = """1
00:00:01,000 --> 00:00:02,500
Hello <i>there</i>,
old friend.

2
00:01:00,5 --> 01:00:00,000 X1:40 X2:600
{\\an8}Rock &amp; roll

3
00:00:03,000 --> 00:00:04,000

"""
VTT = """WEBVTT - title

NOTE a comment
over two lines

STYLE
::cue { color: red }

intro
00:01.000 --> 00:02.500 align:start
<v Mary Ann>Hello <b>there</b>

00:03.000 --> 00:04.250
<v.loud Tom>Yes</v>
"""


def test_subrip(tmp_path: Path) -> None:
    for text in (SRT, SRT.replace("\n", "\r\n"), "\ufeff" + SRT):
        (tmp_path / "a.srt").write_bytes(text.encode())
        cues = read_subtitles(tmp_path / "a.srt")
        assert [(cue.start, cue.end, cue.text) for cue in cues] == [
            (1.0, 2.5, "Hello there , old friend."),
            (60.5, 3600.0, "Rock & roll"),
        ]


def test_webvtt(tmp_path: Path) -> None:
    (tmp_path / "a.vtt").write_text(VTT)
    cues = read_subtitles(tmp_path / "a.vtt")
    assert cues == [(1.0, 2.5, "Hello there", "Mary Ann"), (3.0, 4.25, "Yes", "Tom")]


def test_times_in_the_wrong_order(tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_text("1\n00:00:02,000 --> 00:00:01,000\nno\n")
    with pytest.raises(UserError, match=r"a\.srt: cues that cannot be used(?s:.*)ends before it starts"):
        read_subtitles(tmp_path / "a.srt")

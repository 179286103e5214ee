"""Which column of a table holds which text: the named one, else the only possible one, else an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from speechxfer.errors import UserError
from speechxfer.scoring.formats.text_columns import choose_text_columns
from speechxfer.tables import Table

SENTENCE = "the cat sat on the mat"


def choose(side: str, names: dict[str, str], **chosen: str) -> tuple[str | None, str | None]:
    table = Table(Path("t.csv"), "csv", {name: [cell] for name, cell in names.items()}, [2])
    found = choose_text_columns(table, side, chosen)  # type: ignore[arg-type]
    return found.reference, found.hypothesis


@pytest.mark.parametrize(
    "name", ["hypothesis", "hyp", "pred_text", "prediction", "predictions", "pred", "asr", "output", "whisper"]
)
def test_a_column_named_for_hypotheses_goes_before_text(name: str) -> None:
    names = {"id": "1", "text": SENTENCE, name: "zzz"}
    assert choose("hypothesis", names) == choose("both", names) == ("text", name)
    assert choose("reference", names)[0] == "text"


@pytest.mark.parametrize(
    ("side", "names", "found"),
    [
        ("hypothesis", {"id": "1", "text": SENTENCE}, (None, "text")),
        ("hypothesis", {"id": "1", "sentence": SENTENCE, "age": "7", "path": "a/b.wav"}, (None, "sentence")),
        ("reference", {"id": "1", "reference": SENTENCE, "text": "x"}, ("reference", None)),
        ("both", {"id": "1", "reference": SENTENCE, "text": "x"}, ("reference", "text")),
        ("both", {"id": "1", "sentence": SENTENCE, "prediction": "x"}, ("sentence", "prediction")),
        ("hypothesis", {"id": "1", "text": SENTENCE, "user": "spk_07", "file_name": "x.wav"}, (None, "text")),
    ],
)
def test_the_only_reading(side: str, names: dict[str, str], found: tuple[str | None, str | None]) -> None:
    assert choose(side, names) == found


@pytest.mark.parametrize(
    ("side", "names", "message"),
    [
        ("both", {"text": SENTENCE, "transcription": "a"}, "'text' may be the reference and 'transcription' the"),
        ("both", {"sentence": "a", "transcription": "a"}, "--reference-column sentence --hypothesis-column transcr"),
        ("reference", {"text": "a", "sentence": "b"}, "the reference may be 'text' or 'sentence'"),
        ("hypothesis", {"text": "a", "transcript": "b"}, "the hypothesis may be 'text' or 'transcript'"),
        ("hypothesis", {"text": SENTENCE, "conformer": "a cat"}, "the hypothesis may be 'text' or 'conformer'"),
        ("hypothesis", {"hyp": "a", "prediction": "b"}, "the hypothesis may be 'hyp' or 'prediction'"),
        ("both", {"text": SENTENCE, "conformer": "a cat"}, r"no column for the hypothesis(?s:.*)column conformer"),
        ("both", {"id": "1", "text": SENTENCE}, r"no column for the hypothesis(?s:.*)speechxfer score t\.csv HYP; or"),
        ("reference", {"id": "1", "hypothesis": "a"}, "or swap the two files"),
    ],
)
def test_several_readings_or_none(side: str, names: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        choose(side, names)


def test_the_users_choice() -> None:
    names = {"text": SENTENCE, "transcription": "a", "conformer": "b"}
    assert choose("both", names, reference="transcription", hypothesis="conformer") == ("transcription", "conformer")
    assert choose("hypothesis", names, hypothesis="text")[1] == "text"


def test_a_column_of_groups_is_no_text() -> None:
    rows = [SENTENCE, "another one", "and a third", "a fourth"]
    columns = {"text": rows, "topic": ["daily life"] * 4, "notes": ["", "", "", "some words"]}
    table = Table(Path("t.csv"), "csv", columns, [2, 3, 4, 5])
    assert choose_text_columns(table, "hypothesis", {}).hypothesis == "text"

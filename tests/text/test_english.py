"""Numbers, spelling, contractions; and Whisper's faults that must not come back."""

import pytest

from speechxfer.text.normalise import get_normaliser

SAME = [
    ("twenty-one", "21"),
    ("two hundred and five", "205"),
    ("one hundred twenty three thousand four hundred fifty six", "123,456"),
    ("five million two hundred thousand", "5200000"),
    ("2.5 million", "2500000"),
    ("nineteen eighty four", "1984"),
    ("twenty twenty", "2020"),
    ("nineteen hundred", "1900"),
    ("a hundred", "100"),
    ("three point one four", "3.14"),
    ("twenty first", "21st"),
    ("one hundred and third", "103rd"),
    ("twelfth", "12th"),
    ("twentieth", "20th"),
    ("eleven hundred and eleventh", "1111th"),
    ("five dollars", "$5"),
    ("three million pounds", "£3 million"),
    ("fifty per cent", "50%"),
    ("Mr. Smith", "mister smith"),
    ("I can't, won't, they're", "I can not will not they are"),
    ("it's", "it is"),
    ("colour neighbour", "color neighbor"),
    ("organised recognising", "organized recognizing"),
    ("analysed the centre", "analyzed the center"),
    ("travelling traveller cancelled", "traveling traveler canceled"),
    ("grey cheque", "gray check"),
    ("well-known", "well known"),
    ("uh I um see", "i see"),
    ("R&D", "r and d"),
    ("nineteen oh five", "1905"),
    ("the nineteen sixties", "the 1960s"),
    ("sixties", "60s"),
    ("three dollars and fifty cents", "$3.50"),
    ("one pound", "£1"),
    ("two pounds and one penny", "£2.01"),
    ("fifty cents", "$0.50"),
    ("one point five billion euros", "€1.5 billion"),
    ("zero point five", ".5"),
    ("five thirty p.m.", "5:30 pm"),
    ("The U.S.A.", "the usa"),
    ("O.K.", "okay"),
    ("he's been here", "he has been here"),
    ("he's here", "he is here"),
    ("I'd like it, she'd gone", "i would like it she had gone"),
    ("a naïve café", "a naive cafe"),
    ("[noise] well (laughs) <unk> yes", "well yes"),
    ("uh-huh", "uh huh"),
    ("anonymised, dramatised, hypnotised", "anonymized dramatized hypnotized"),
    ("belaboured", "belabored"),
]


@pytest.mark.parametrize(("left", "right"), SAME)
def test_two_ways_of_writing_are_one(left, right):
    normalise = get_normaliser("english")
    assert normalise(left) == normalise(right)


@pytest.mark.parametrize("text", sorted({text for pair in SAME for text in pair}))
def test_applying_twice_is_applying_once(text):
    normalise = get_normaliser("english")
    assert normalise(normalise(text)) == normalise(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ten o'clock", "10 o'clock"),
        ("one two three four", "1 2 3 4"),
        ("thirteen fourteen", "13 14"),
        ("two and three", "2 and 3"),
        ("john's hour", "john's hour"),
        ("our four", "our 4"),
        ("007", "007"),
        ("uh-huh no", "uhhuh no"),
        ("10-20 3/4 24/7", "10-20 3/4 24/7"),
        ("section 1.2.3", "section 1.2.3"),
        ("twenty oh", "20 oh"),
        ("one second", "1 second"),
        ("promise exercise surprise", "promise exercise surprise"),
        ("contour velour", "contour velour"),
        ("hundred and", "hundred and"),
        ("number one hundred", "number 100"),
    ],
)
def test_what_must_not_be_rewritten(text, expected):
    assert get_normaliser("english")(text) == expected

"""Codes of languages: those of other standards are named, and the token of a prompt is the language's own."""

from __future__ import annotations

import pytest
from transformers.models.whisper.tokenization_whisper import LANGUAGES, TO_LANGUAGE_CODE

from speechxfer.errors import UserError
from speechxfer.models import load
from speechxfer.models.languages import _CODES, find_whisper_code, list_iso_codes


def test_every_language_of_whisper_has_its_codes():
    assert [codes[0] for codes in _CODES] == sorted(LANGUAGES)
    for codes in _CODES:
        assert list_iso_codes(codes[0]) and all(len(code) == 3 for code in list_iso_codes(codes[0]))
    others = [other for codes in _CODES for other in codes[1:]]
    assert len(others) == len(set(others))


@pytest.mark.parametrize("language", [*TO_LANGUAGE_CODE, *LANGUAGES, "German", "DE"])
def test_codes_and_names_of_whisper(language):
    assert find_whisper_code(language) == TO_LANGUAGE_CODE.get(language.lower(), language.lower())


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("de-DE", "de"),
        ("deu", "de"),
        ("ger", "de"),
        ("zh-CN", "zh"),
        ("zh_Hans_CN", "zh"),
        ("cmn", "zh"),
        ("pt-BR", "pt"),
        ("nob", "no"),
        ("nb-NO", "no"),
        ("jv", "jw"),
        ("fil", "tl"),
        ("iw", "he"),
    ],
)
def test_another_code_gets_the_one_to_use(language, code):
    with pytest.raises(UserError, match=rf"'{language}' is not one of Whisper's codes: .* is {code}\n") as caught:
        find_whisper_code(language)
    assert f"--language {code} " in (caught.value.fix or "")


def test_hong_kong_may_be_either():
    with pytest.raises(UserError, match="zh is Mandarin, yue is Cantonese"):
        find_whisper_code("zh-HK")


def test_an_unknown_language_gets_the_nearest():
    with pytest.raises(UserError, match=r"does not know the language 'germn' \(did you mean 'german'\?\)"):
        find_whisper_code("germn")


@pytest.mark.parametrize(("language", "codes"), [("de", "deu"), ("German", "deu"), ("de-DE", "deu"), ("zh", "cmn")])
def test_iso_codes(language, codes):
    assert codes in list_iso_codes(language)
    assert list_iso_codes("abc") == ["abc"]


@pytest.mark.parametrize("language", ["yue", "fr", "Cantonese"])
def test_a_language_that_the_checkpoint_has_no_token_for(make_whisper, language):
    """transformers counts from the start token, and takes the token of another language, or of translation."""
    folder = make_whisper(seconds=2, multilingual=True)  # knows en, zh and de
    code = find_whisper_code(language)
    with pytest.raises(UserError, match=rf"does not know the language '{language}'.*no token <\|{code}\|>"):
        load(folder, device="cpu", language=language)


def test_the_prompt_has_the_language_s_own_token(make_whisper):
    folder = make_whisper(seconds=2, multilingual=True)
    for language in ("de", "German"):
        model = load(folder, device="cpu", language=language)
        tokens = model.processor.tokenizer.convert_ids_to_tokens(model.prompt)
        assert tokens == ["<|startoftranscript|>", "<|de|>", "<|transcribe|>", "<|notimestamps|>"]


def test_a_name_is_a_code_in_other_libraries(make_whisper, tmp_path):
    load(make_whisper(seconds=2, multilingual=True), device="cpu", language="German").save(tmp_path / "saved")
    assert load(tmp_path / "saved", device="cpu").whisper.generation_config.language == "de"


def test_english_only_checkpoints_say_so(make_whisper):
    folder = make_whisper(seconds=2)
    assert load(folder, device="cpu", language="English").prompt == load(folder, device="cpu").prompt
    with pytest.raises(UserError, match="knows English only"):
        load(folder, device="cpu", language="de")

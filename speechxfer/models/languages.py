"""Codes of languages: Whisper's own, mostly ISO 639-1 (`de`), and ISO 639-3 (`deu`), in which MMS names its adapters.

A code of another kind is not replaced by a guess: the error gives the code to use.
"""

from __future__ import annotations

import re

from transformers.models.whisper.tokenization_whisper import LANGUAGES, TO_LANGUAGE_CODE

from speechxfer.errors import UserError, suggest_nearest

# Whisper's code of each language to its ISO 639-3 code; after it, other codes of the language, e.g. of ISO 639-2/B.
_ISO_639_3 = """
af afr, am amh, ar ara arb, as asm, az aze azj, ba bak, be bel, bg bul, bn ben, bo bod tib, br bre, bs bos, ca cat,
cs ces cze, cy cym wel, da dan, de deu ger, el ell gre, en eng, es spa, et est ekk, eu eus baq, fa fas per pes,
fi fin, fo fao, fr fra fre, gl glg, gu guj, ha hau, haw haw, he heb iw, hi hin, hr hrv, ht hat, hu hun, hy hye arm,
id ind in, is isl ice, it ita, ja jpn, jw jav jv, ka kat geo, kk kaz, km khm, kn kan, ko kor, la lat, lb ltz, ln lin,
lo lao, lt lit, lv lav lvs, mg mlg, mi mri mao, mk mkd mac, ml mal, mn mon khk, mr mar, ms msa may zsm zlm, mt mlt,
my mya bur, ne nep npi, nl nld dut, nn nno, no nor nob nb, oc oci, pa pan, pl pol, ps pus, pt por, ro ron rum mo,
ru rus, sa san, sd snd, si sin, sk slk slo, sl slv, sn sna, so som, sq sqi alb, sr srp, su sun, sv swe, sw swa swh,
ta tam, te tel, tg tgk, th tha, tk tuk, tl tgl fil, tr tur, tt tat, uk ukr, ur urd, uz uzb uzn, vi vie, yi yid ji,
yo yor, yue yue, zh zho chi cmn
"""
_CODES = [entry.split() for entry in _ISO_639_3.split(",")]
_WHISPER_CODES = {other: codes[0] for codes in _CODES for other in codes}
_CANTONESE_REGIONS = ("zh-hk", "zh-mo")  # either Chinese language may be meant


def find_whisper_code(language: str) -> str:
    """Return Whisper's code of a language, given the code (`de`) or its English name (`German`).

    Raises:
        UserError: for another code of a language (`deu`, `de-DE`), with Whisper's; and for an unknown language.
    """
    key = language.strip().lower()
    if key in LANGUAGES or key in TO_LANGUAGE_CODE:
        return TO_LANGUAGE_CODE.get(key, key)
    code = _WHISPER_CODES.get(re.split(r"[-_]", key)[0])
    if key.replace("_", "-") in _CANTONESE_REGIONS:
        problem = "is not one of Whisper's codes: zh is Mandarin, yue is Cantonese"
        raise UserError(f"'{language}' {problem}", where="encoder.language", fix="use one of these two codes")
    if code is not None:
        raise UserError(
            f"'{language}' is not one of Whisper's codes: its code for this language is {code}",
            where="encoder.language",
            fix=f"set encoder.language={code} (adapt) or --language {code} (other commands)",
        )
    raise UserError(
        f"Whisper does not know the language '{language}'{suggest_nearest(key, [*LANGUAGES, *TO_LANGUAGE_CODE])}",
        where="encoder.language",
        fix="use a code such as de, or an English name such as german",
    )


def list_iso_codes(language: str) -> list[str]:
    """Return the ISO 639-3 codes of a language that is given in any of the codes or names above, the usual one first.

    A code that is not in the list is returned as it is: MMS has a thousand languages more than Whisper.
    """
    key = language.strip().lower()
    code = TO_LANGUAGE_CODE.get(key, key)
    code = _WHISPER_CODES.get(code) or _WHISPER_CODES.get(re.split(r"[-_]", code)[0], code)
    return next(([each for each in codes[1:] if len(each) == 3] for codes in _CODES if codes[0] == code), [language])

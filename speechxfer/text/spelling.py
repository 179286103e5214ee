"""Converting British to American spelling, by families of words and a short list of exceptions."""

from __future__ import annotations

import re

_OUR = """ard arm behavi cand clam col demean endeav fav ferv flav glam harb hon hum lab misdemean neighb od parl
ranc rig rum sav savi splend tum val vap vig discol dishon disfav belab"""
_ISE = """agon alphabet anonym antagon apolog author bapt brutal capital categor central character civil colon critic
crystall custom digit dramat econom emphas energ equal familiar fantas fertil final formal general global harmon
hospital hypnot hypothes ideal immun individual industrial initial item jeopard legal liberal local magnet
material maxim mechan memor mesmer minim mobil modern monopol moral national neutral normal optim organ pasteur
patron penal personal plagiar polar popular pressur priorit privat public random rational real recogn regular
reorgan revital revolution scrutin sensit social special spiritual stabil standard steril stigmat subsid summar
symbol sympath synchron synthes terror theor total trivial util vandal verbal victim visual vocal western"""
_LL = """bevel cancel channel counsel fuel grovel jewel label level marvel model panel pedal quarrel shovel signal
snorkel spiral total travel tunnel unravel dial"""
_PAIRS = """
grey=gray cheque=check tyre=tire tyres=tires programme=program programmes=programs aeroplane=airplane
aeroplanes=airplanes defence=defense offence=offense offences=offenses licence=license licences=licenses
pretence=pretense practise=practice practised=practiced practising=practicing catalogue=catalog catalogues=catalogs
plough=plow ploughed=plowed sceptical=skeptical sceptic=skeptic pyjamas=pajamas moustache=mustache mould=mold
jewellery=jewelry
manoeuvre=maneuver manoeuvres=maneuvers paediatric=pediatric anaemia=anemia encyclopaedia=encyclopedia foetus=fetus
oestrogen=estrogen diarrhoea=diarrhea skilful=skillful fulfil=fulfill enrol=enroll instalment=installment
wilful=willful cosy=cozy aluminium=aluminum ageing=aging judgement=judgment acknowledgement=acknowledgment
doughnut=donut omelette=omelet yoghurt=yogurt kerb=curb woollen=woolen marvellous=marvelous greyer=grayer
analogue=analog
archaeology=archeology counsellor=counselor counsellors=counselors traveller=traveler travellers=travelers
"""
_WORDS = dict(pair.split("=") for pair in _PAIRS.split())
_FAMILIES = (
    (re.compile(rf"({'|'.join(_OUR.split())})our(?=(?:s|ed|ing|able|ably|ite|ites|hood|hoods|ful|er|ers|al|ally|less|y|ies)?$)"),
     r"\1or"),
    (re.compile(rf"({'|'.join(_ISE.split())})is(?=(?:e|es|ed|ing|er|ers|ation|ations)$)"), r"\1iz"),
    (re.compile(r"(anal|paral|catal)ys(?=(?:e|ed|ing|er|ers)$)"), r"\1yz"),
    (re.compile(r"((?:kilo|centi|milli)?met|lit|cent|theat|fib|calib|sab|spect|lust)re(s?)$"), r"\1er\2"),
    (re.compile(r"(cent)red$"), r"\1ered"),
    (re.compile(rf"({'|'.join(_LL.split())})l(?=(?:ed|ing)$)"), r"\1"),
)  # fmt: skip


def to_american(text: str) -> str:
    """Convert the words of a text to American spelling."""
    return " ".join(map(_convert_word, text.split()))


def _convert_word(word: str) -> str:
    known = _WORDS.get(word)
    if known is not None:
        return known
    for pattern, replacement in _FAMILIES:
        found = pattern.match(word)
        if found:
            return pattern.sub(replacement, word, count=1)
    return word

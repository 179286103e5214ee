"""A picture of the report, for the documents: python scripts/picture.py docs/report.png [--report report.html]

Without --report, of an example: two systems whose transcripts, speakers and accents are made up. It needs Debian's
chromium.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from speechxfer.report.html import write_html_report
from speechxfer.scoring import Score, score

SENTENCE = (
    "my neighbour|the captain|an old friend|her sister|our guide|the baker|a young engineer|the doctor",
    "walked to|painted|wrote about|looked for|described|remembered|found|drew a map of",
    "the harbour|the library|the orchard|the workshop|the lighthouse|the market|the bridge|the theatre",
    "before sunrise|late on thursday|in the middle of winter|after the concert|at half past seven|during the storm",
    "and nobody was surprised|because the train was late|so we stayed for dinner|but the door was locked",
)
_HEARD = """
the=a a=the an=and and=in of=off in=and on=an at=and was=is for=four to=two so=saw but=put map=mat late=let
harbour=arbour library=liberty orchard=orchid workshop=worship market=marked bridge=breach theatre=theory
storm=stone friend=front thursday=tuesday winter=winner concert=concept seven=eleven sunrise=surprise
neighbour=labour captain=captains guide=guy sister=system baker=maker engineer=ginger doctor=daughter
walked=worked painted=pointed wrote=road looked=locked found=phoned drew=grew train=drain stayed=state
dinner=thinner door=four locked=looked surprised=supplied
"""
MISHEARD = dict(pair.split("=") for pair in _HEARD.split())
ACCENTS = {"Nigerian": (0.30, 0.14), "Indian": (0.25, 0.12), "Scottish": (0.20, 0.10), "American": (0.10, 0.09)}
SPEAKERS = 6  # of each accent
UTTERANCES = 240


def example() -> dict[str, Score]:
    """Two systems on the same made-up utterances, the second better on most accents."""
    rng = random.Random(7)
    texts, speakers, accents = [], [], []
    said: dict[str, list[str]] = {"before": [], "after": []}
    harder = {s: rng.lognormvariate(0, 0.4) for s in range(len(ACCENTS) * SPEAKERS)}
    for _ in range(UTTERANCES):
        speaker = rng.randrange(len(harder))
        accent = list(ACCENTS)[speaker % len(ACCENTS)]
        text = " ".join(rng.choice(part.split("|")) for part in SENTENCE[: rng.choice((3, 4, 5, 5))])
        texts.append(text)
        speakers.append(f"{accent[:2].lower()}{speaker // len(ACCENTS) + 1:02}")
        accents.append(accent)
        for heard, share in zip(said.values(), ACCENTS[accent], strict=True):
            heard.append(misheard(text, min(0.8, share * harder[speaker]), rng))
    ids = [f"{speaker}-{i:03}" for i, speaker in enumerate(speakers)]
    return {
        name: score(texts, heard, ids=ids, speakers=speakers, columns={"accent": accents}, by=["accent", "speaker"])
        for name, heard in said.items()
    }


def misheard(text: str, share: float, rng: random.Random) -> str:
    words = []
    for word in text.split():
        kind = rng.random() / share
        if kind < 0.65:
            words.append(MISHEARD.get(word, word))
        elif kind >= 0.85:
            words += [word, rng.choice(("the", "a", "of"))] if kind < 1 else [word]
    return " ".join(words)


def picture(page: Path, target: Path, width: int, height: int) -> None:
    with tempfile.TemporaryDirectory(prefix="chromium", ignore_cleanup_errors=True) as folder:
        command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += [
            "--run-all-compositor-stages-before-draw",
            "--virtual-time-budget=5000",
        ]  # else half a page, at times
        command += [f"--user-data-dir={folder}", f"--window-size={width},{height}", f"--screenshot={target.resolve()}"]
        subprocess.run([*command, page.resolve().as_uri()], check=True, stderr=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--report", type=Path, help="a report.html; by default an example is made up")
    parser.add_argument("--width", type=int, default=1120, help="pixels; default %(default)s")
    parser.add_argument("--height", type=int, default=1570, help="pixels; default %(default)s")
    given = parser.parse_args()
    if shutil.which("chromium") is None:
        sys.exit("chromium is not installed\n  fix: apt install chromium")
    given.picture.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        page = given.report or Path(folder, "report.html")
        if given.report is None:
            write_html_report(page, "An example: transcripts made up for 24 speakers", example())
        picture(page, given.picture, given.width, given.height)


if __name__ == "__main__":
    main()

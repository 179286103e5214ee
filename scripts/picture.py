"""Make a screenshot of an HTML report: python scripts/picture.py docs/report.png [--report report.html]

Without --report it shows an example of two systems with made-up transcripts, speakers and accents. Requires Debian's
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
_CONFUSIONS = """
the=a a=the an=and and=in of=off in=and on=an at=and was=is for=four to=two so=saw but=put map=mat late=let
harbour=arbour library=liberty orchard=orchid workshop=worship market=marked bridge=breach theatre=theory
storm=stone friend=front thursday=tuesday winter=winner concert=concept seven=eleven sunrise=surprise
neighbour=labour captain=captains guide=guy sister=system baker=maker engineer=ginger doctor=daughter
walked=worked painted=pointed wrote=road looked=locked found=phoned drew=grew train=drain stayed=state
dinner=thinner door=four locked=looked surprised=supplied
"""
CONFUSIONS = dict(pair.split("=") for pair in _CONFUSIONS.split())
ACCENTS = {"Nigerian": (0.30, 0.14), "Indian": (0.25, 0.12), "Scottish": (0.20, 0.10), "American": (0.10, 0.09)}
NUM_SPEAKERS = 6  # per accent
NUM_UTTERANCES = 240


def make_example() -> dict[str, Score]:
    """Score two systems on the same made-up utterances; the second is better on most accents."""
    rng = random.Random(7)
    texts, speakers, accents = [], [], []
    hypotheses: dict[str, list[str]] = {"before": [], "after": []}
    difficulty = {s: rng.lognormvariate(0, 0.4) for s in range(len(ACCENTS) * NUM_SPEAKERS)}
    for _ in range(NUM_UTTERANCES):
        speaker = rng.randrange(len(difficulty))
        accent = list(ACCENTS)[speaker % len(ACCENTS)]
        text = " ".join(rng.choice(part.split("|")) for part in SENTENCE[: rng.choice((3, 4, 5, 5))])
        texts.append(text)
        speakers.append(f"{accent[:2].lower()}{speaker // len(ACCENTS) + 1:02}")
        accents.append(accent)
        for texts_of_system, share in zip(hypotheses.values(), ACCENTS[accent], strict=True):
            texts_of_system.append(corrupt(text, min(0.8, share * difficulty[speaker]), rng))
    ids = [f"{speaker}-{i:03}" for i, speaker in enumerate(speakers)]
    return {
        name: score(
            texts, hypothesis, ids=ids, speakers=speakers, columns={"accent": accents}, by=["accent", "speaker"]
        )
        for name, hypothesis in hypotheses.items()
    }


def corrupt(text: str, share: float, rng: random.Random) -> str:
    """Substitute, delete or insert words with probability `share`."""
    words = []
    for word in text.split():
        kind = rng.random() / share
        if kind < 0.65:
            words.append(CONFUSIONS.get(word, word))
        elif kind >= 0.85:
            words += [word, rng.choice(("the", "a", "of"))] if kind < 1 else [word]
    return " ".join(words)


def take_screenshot(page: Path, target: Path, width: int, height: int) -> None:
    """Render a page in headless Chromium and write it as PNG."""
    with tempfile.TemporaryDirectory(prefix="chromium", ignore_cleanup_errors=True) as folder:
        command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        # without these the page is sometimes drawn only in part
        command += ["--run-all-compositor-stages-before-draw", "--virtual-time-budget=5000"]
        command += [f"--user-data-dir={folder}", f"--window-size={width},{height}", f"--screenshot={target.resolve()}"]
        subprocess.run([*command, page.resolve().as_uri()], check=True, stderr=subprocess.DEVNULL)


def main() -> None:
    """Parse the arguments and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--report", type=Path, help="a report.html (default: a made-up example)")
    parser.add_argument("--width", type=int, default=1120, help="in pixels (default: %(default)s)")
    parser.add_argument("--height", type=int, default=1570, help="in pixels (default: %(default)s)")
    given = parser.parse_args()
    if shutil.which("chromium") is None:
        sys.exit("chromium is not installed\n  fix: apt install chromium")
    given.picture.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        page = given.report or Path(folder, "report.html")
        if given.report is None:
            write_html_report(page, "An example: transcripts made up for 24 speakers", make_example())
        take_screenshot(page, given.picture, given.width, given.height)


if __name__ == "__main__":
    main()

"""`speechxfer demo`: the whole way on a small synthetic corpus, to see that everything works on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from speechxfer.cli._options import JsonFile, Quiet, silent, write_json

if TYPE_CHECKING:
    from speechxfer.config import Recipe
    from speechxfer.report.progress import Reporter

HELP_ORDER = 10
CORPUS = "demo-corpus-1"  # within the cache folder; another number when the corpus changes

_ABOUT = """\
This demonstration adapts Whisper tiny.en (39 million parameters) to a synthetic voice and accent, spoken by espeak-ng:
once it is set up, it needs no network and no GPU. No voice and no sentence of the test part is heard in training."""

_MEANING = """\
The speech is synthetic: the fall in WER comes from the robot's voice as much as from its accent. It shows that the
machinery works on this machine; it says nothing about people."""


def register(app: typer.Typer) -> None:
    app.command("demo")(demo)


def demo(
    output: Annotated[Path, typer.Option("--output", metavar="DIR", help="The run folder.")] = Path("runs/demo"),
    json: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """The whole way on a small synthetic corpus, offline.

    Adapts the embedded Whisper tiny.en and prints WER before and after. An earlier demonstration in the run folder is
    replaced. Example: speechxfer demo
    """
    from speechxfer.adaptation.run import adapt
    from speechxfer.cli._telling import tell
    from speechxfer.report.progress import Reporter

    narrator = Reporter(quiet=silent(quiet, json))
    narrator.info(_ABOUT)
    recipe = prepare(output, narrator)
    run = adapt(recipe, name="demo", narrator=narrator)
    assert run is not None and run.before is not None and run.after.wer is not None  # tiny.en has a head; all is read
    tell(run, narrator, by="speaker")
    narrator.info(f"\n{_MEANING}\n\nWith speech of your own (a table with the columns audio, text, speaker):")
    program = _program()
    for words in (
        "check train.csv --model whisper-tiny.en",
        "adapt accent-whisper data.train=train.csv data.test=test.csv",
        "evaluate runs/accent-whisper/model test.csv --baseline whisper-tiny.en",
        "transcribe runs/accent-whisper/model interview.wav",
    ):
        narrator.info(f"  {program} {words}")
    speed = run.report["speed"]
    narrator.info(
        f"\n{speed['total_seconds']:.0f} s in all, {speed['training_seconds']:.0f} s of them training; "
        f"at most {speed['peak_memory_mb'] / 1000:.1f} GB of memory"
    )
    write_json(run.report, json)
    narrator.info(f"WER {100 * (run.before.wer or 0):.1f} % before, {100 * run.after.wer:.1f} % after")


def prepare(output: Path, narrator: Reporter) -> Recipe:
    """Write the corpus into the cache folder unless it is there; the recipe over it.

    Raises UserError where `output` holds the run of another recipe or corpus, which is never replaced.
    """
    from speechxfer.config import load_recipe
    from speechxfer.data.demo_corpus import write_demo_corpus
    from speechxfer.encoders.checkpoints import get_cache_dir

    corpus = get_cache_dir() / CORPUS
    tables = {part: str(corpus / f"{part}.csv") for part in ("train", "dev", "test")}
    earlier = _earlier_run(output)
    with narrator.progress("writing the corpus") as progress:
        write_demo_corpus(corpus, progress)
    narrator.info(f"corpus: {corpus}")
    given = [f"data.{part}={table}" for part, table in tables.items()]
    return load_recipe("demo", [*given, f"output={output}", f"overwrite={str(earlier).lower()}"])


def _earlier_run(output: Path) -> bool:
    """Whether a demonstration lies in `output` already. Raises UserError for the run of another recipe."""
    import yaml

    from speechxfer.errors import UserError

    stored = output / "recipe.yaml"
    if not stored.is_file():
        return False
    try:
        train = yaml.safe_load(stored.read_text(encoding="utf-8"))["data"]["train"]
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError):
        train = ""
    if Path(str(train)).parts[-2:] == (CORPUS, "train.csv"):  # wherever the cache folder was then
        return True
    raise UserError("holds a run that is no demonstration", where=str(output), fix="say --output DIR with a new folder")


def _program() -> str:
    """What to type for this program here: `make demo` runs it from .venv, which is on no path."""
    import shutil
    import sys

    typed = Path(sys.argv[0])
    return str(typed) if typed.name == "speechxfer" and not shutil.which("speechxfer") else "speechxfer"

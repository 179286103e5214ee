"""The README's table: one row for each kind of result."""

from __future__ import annotations

from statistics import fmean

from _cells import Document, Rows, between, format_minutes, format_percent, markdown, rated
from _wake_words import means, taken

HEAD = ("what", "data", "zero-shot", "adapted", "minutes", "recipe")
CORPUS = "speechocean762 (English of Mandarin speakers): 25 speakers reported"
# title, data, recipe, names of the files of results
RUNS = (
    ("Whisper tiny.en", f"{CORPUS}, 90 train", "accent-whisper", ("accent-whisper",)),
    ("Whisper tiny.en, most accurate", f"{CORPUS}, 90 train", "accent-best", ("accent-best",)),
    ("Whisper base", f"{CORPUS}, 90 train", "accent-best", ("accent-best-whisper-base",)),
    (
        "Whisper tiny.en, ten minutes of speech",
        f"{CORPUS}; mean of three seeds",
        "accent-little",
        tuple(f"accent-little-seed-{seed}" for seed in range(3)),
    ),
)


def summary_table(found: dict[str, Document], *, commands: str, wake_words: str) -> str:
    """Return the table; a result without a file is not in it.

    Args:
        found: the results by file name.
        commands: name of the file of the spoken commands.
        wake_words: name of the file of the wake words' folds.
    """
    rows: Rows = []
    for title, data, recipe, names in RUNS:
        if all(name in found for name in names):
            rows.append([title, data, *_make_run_cells([found[name] for name in names]), _link(recipe)])
    if commands in found:
        result = found[commands]
        accuracy = f"accuracy {format_percent(result['mean_accuracy'])}{between(result['interval'])}"
        minutes = format_minutes(result["speed"]["total_seconds"], busy=result["busy"])
        data = "Free Spoken Digit Dataset: each of six speakers held out"
        rows.append(["spoken digits", data, "–", accuracy, minutes, _link("spoken-commands")])
    if wake_words in found:
        folds = found[wake_words]
        missed = format_percent(dict(means(folds))["as recorded"]["at_0_alarms"])
        data = (
            f"{len(folds['words'])} words, recordings in {folds['folds']} folds; {folds['hours']:.1f} h of other speech"
        )
        rows.append(["wake words", data, "–", f"{missed} missed at no false alarm", taken(folds), _link("wakeword")])
    return markdown(HEAD, rows)


def _make_run_cells(results: list[Document]) -> list[str]:
    """Return the zero-shot and adapted rates and the minutes; of several results the means."""
    first = results[0]
    minutes = format_minutes(max(result["speed"]["total_seconds"] for result in results), busy=first["busy"])
    before = rated(first["before"], first["metric"])
    if len(results) == 1:
        return [before, rated(first["after"], first["metric"]), minutes]
    rates = [result["after"]["wer"] for result in results]
    shown = f"{format_percent(fmean(rates))} ({100 * min(rates):.1f} to {100 * max(rates):.1f} by seed)"
    return [before, shown, minutes]


def _link(recipe: str) -> str:
    return f"[{recipe}](recipes/{recipe}.yaml)"

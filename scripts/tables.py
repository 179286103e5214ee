"""Write the documents' tables from recipes/results: python scripts/tables.py [--check]

recipes/README.md is written whole: each recipe's purpose and command from its header, its figures from its results. In
README.md what stands between `<!-- table: NAME -->` and `<!-- end -->` is written, where NAME is results, benchmarks,
methods, coverage, wake-words or wake-word-benches. What has no results file is "not measured yet". `--check` writes
nothing, and exits 1 naming what is out of step.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from _cells import Document, Rows, between, format_percent, markdown, rated, timed
from _keys import keys_table
from _peers import PEERS, gpu
from _wake_words import FOLDS, WAKE_WORDS, by_folds, means, taken

from speechxfer.errors import UserError, suggest_nearest

ROOT = Path(__file__).parents[1]
MARK = "<!-- table: "
MARKED = re.compile(r"<!-- table: (\S+) -->\n(.*?)<!-- end -->", re.DOTALL)
NOTE = "<!-- Written by scripts/tables.py: change the recipes' headers or results/*.json, then `make tables`. -->"
NOT_MEASURED = "not measured yet"
KEYS = (
    'Any of them is changed on the command line: `KEY=VALUE`, a list in quotes (`"lora.targets=[q_proj, v_proj]"`), a '
    "stage's by its number, from 0 (`stages.0.epochs=2`). A run's `recipe.yaml` has them all as it took them."
)
METHODS = "bench-methods"
RESULT_HEAD = ("corpus", "before", "after", "padded to 30 s", "minutes")


# -- what is read ----------------------------------------------------------------------------------------------------
@dataclass
class Header:
    """The comment lines that a recipe begins with."""

    name: str
    file: str  # within recipes/
    purpose: str
    run: str = ""
    overrides: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def adapts(self) -> bool:
        """Whether its result is a model before and after: a wake word's is not, and has tables of its own."""
        return not self.run.startswith("speechxfer wakeword")


def headers(folder: Path) -> list[Header]:
    """Of every recipe of the folder."""
    found = []
    for path in sorted(folder.rglob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        lines = [line.lstrip("# ").rstrip() for line in re.match(r"(?:#.*\n)*", text)[0].splitlines()]  # type: ignore[index]
        if not lines:
            raise UserError("begins with no comment line", where=path.name, fix="say first when to use it")
        header = Header(path.stem, path.relative_to(folder).as_posix(), lines[0])
        for line in lines[1:]:
            kind, _, words = line.partition(":")
            parts = re.split(r"\s{2,}", words.strip())
            if kind == "Run":
                header.run = parts[0]
                header.remarks += parts[1:]
            elif kind == "Override":
                header.overrides = parts
            else:
                header.remarks.append(line)
        found.append(header)
    return found


class Kept(NamedTuple):
    """A result that keep_result.py wrote. cells: under `RESULT_HEAD`."""

    cells: list[str]
    command: str
    machine: str


class Results:
    """The files of recipes/results. What a file lacks is a UserError naming both."""

    def __init__(self, folder: Path) -> None:
        self.found: dict[str, Document] = {}
        for path in sorted(folder.glob("*.json"), key=lambda path: path.stem):
            try:
                self.found[path.stem] = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise UserError(f"is no JSON ({error})", where=path.name) from None

    def of_recipe(self, name: str) -> list[Kept]:
        """The results kept for a recipe, in the order of their files' names."""
        kept = []
        for file, found in self.found.items():
            if found.get("recipe") == name:
                with_cells = self._described(file, lambda d: [result_cells(d), [d["command"], d["machine"]]])
                kept.append(Kept(with_cells[0], *with_cells[1]))
        return kept

    def bench(self, name: str, describe: Callable[[Document], Rows], title: str) -> Rows:
        """The rows that `describe` makes of a bench's file, with its command; `title` where there is none."""
        if name not in self.found:
            return [[title, NOT_MEASURED, "", ""]]
        return self._described(name, lambda d: [[*row, f"`{d['command']}`"] for row in describe(d)])

    def wake_word_rates(self) -> str:
        """A wake word's mean misses, in a line; nothing where they are not measured."""
        if FOLDS not in self.found:
            return ""
        rates = self._described(FOLDS, lambda d: [[f"{c} {format_percent(of['at_0_alarms'])}" for c, of in means(d)]])[
            0
        ]
        return f"missed at no false alarm: {', '.join(rates)}"

    def _described(self, name: str, describe: Callable[[Document], Rows]) -> Rows:
        try:
            return describe(self.found[name])
        except KeyError as error:
            raise UserError(f"has no {error}", where=f"{name}.json", fix="measure it, or keep it, again") from None


# -- recipes' results ------------------------------------------------------------------------------------------------
def result_cells(result: Document) -> list[str]:
    """What stands under `RESULT_HEAD`."""
    minutes = f"{'under ' if result['busy'] else ''}{result['speed']['total_seconds'] / 60:.1f}"
    if result["kind"] == "leave one out":
        held = result["held_out"]
        accuracy = f"accuracy {format_percent(result['mean_accuracy'])}{between(result['interval'])}"
        lowest = (
            f"mean of {len(held)}, each held out by {result['column']}; lowest {format_percent(min(held.values()))}"
        )
        return [result["corpus"], "–", f"{accuracy}, {lowest}", "–", minutes]
    measure = result["measure"]
    before, padded, rejected = (result.get(side) for side in ("before", "after_padded_to_30s", "rejected"))
    after = rated(result["after"], measure)
    if rejected:
        heard = [(one["dev"], one.get("dev_beam")) for one in result["candidates"][:2]]
        dev = [min(rate for rate in rates if rate is not None) for rates in heard]
        after += (
            f": the untouched model, kept by dev ({format_percent(dev[0])} against {format_percent(dev[1])}); "
            f"here the trained one has {rated(rejected, measure)}"
        )
    others = [rated(side, measure) if side else "–" for side in (before, padded)]
    untouched = f"{result['settings']['encoder']['name']} {others[0]}" if before else others[0]
    return [result["corpus"], untouched, after, others[1], minutes]


def results_table(recipes: list[Header], results: Results) -> str:
    """Every result of every recipe, with the command that reproduces it."""
    rows: Rows = []
    kept: list[Kept] = []
    for recipe in filter(lambda recipe: recipe.adapts, recipes):
        link = f"[{recipe.name}](recipes/{recipe.file})"
        own = results.of_recipe(recipe.name)
        rows += [[link, *one.cells, f"`{one.command}`"] for one in own] or [[link, NOT_MEASURED, "", "", "", "", ""]]
        kept += own
    return markdown(("recipe", *RESULT_HEAD, "command"), rows) + note(kept)


def note(kept: list[Kept]) -> str:
    """What the cells of a results table mean."""
    if not kept:
        return ""
    where = "; ".join(dict.fromkeys(one.machine for one in kept))
    return (
        "\nWER where no other measure is named; in brackets its 95 % interval over speakers. "
        f"The minutes are those of the whole command on {where}; 'under' where it did other work too.\n"
    )


def recipes_readme(recipes: list[Header], results: Results) -> str:
    text = f"# Recipes\n\n{NOTE}\n\n`speechxfer recipes copy NAME` gives you a copy to change.\n\n"
    kept = {recipe.name: results.of_recipe(recipe.name) for recipe in recipes}
    rows = []
    for recipe in recipes:
        measured = "<br>".join(f"{one.cells[1]} → {one.cells[2]}" for one in kept[recipe.name])
        if not recipe.adapts:
            measured = results.wake_word_rates()
        rows.append([f"[{recipe.name}]({recipe.file})", recipe.purpose, measured or NOT_MEASURED])
    text += markdown(("recipe", "when to use it", "measured, before → after"), rows)
    for recipe in recipes:
        text += f"\n## {recipe.name}\n\n{recipe.purpose}\n\n    {recipe.run}\n\n"
        if recipe.overrides:
            text += f"To change: {', '.join(f'`{words}`' for words in recipe.overrides)}.\n\n"
        if recipe.remarks:
            text += " ".join(recipe.remarks) + "\n\n"
        if own := kept[recipe.name]:
            text += markdown(RESULT_HEAD, [one.cells for one in own]) + note(own)
            text += "\nMade by:\n\n" + "".join(f"    {one.command}\n" for one in own)
        elif not recipe.adapts and FOLDS in results.found:
            text += wake_words_table(recipes, results)
        else:
            text += f"Its result: {NOT_MEASURED}.\n"
    return f"{text}\n## Every key\n\n{KEYS}\n\n{keys_table()}"


# -- benches ---------------------------------------------------------------------------------------------------------
def startup(bench: Document) -> Rows:
    seconds = bench["seconds"]
    floor = timed(seconds["python -c pass"])
    return [
        [f"`{name}`, start to end", timed(seconds[name]), f"bar {bar:g} s; Python alone {floor}"]
        for name, bar in bench["targets"].items()
    ]


def encode(bench: Document) -> Rows:
    seconds, ratios = bench["seconds"], bench["times_as_long"]
    beside = [f"{name} {timed(seconds[name]['both'])}, {timed(r, ' times')} as long" for name, r in ratios.items()]
    what = f"{bench['audio_seconds'] / 60:.0f} min of speech encoded by {bench['model']}, unpadded"
    return [[f"{what} ({bench['corpus']})", timed(seconds["unpadded"]["both"]), "; ".join(beside)]]


def adapt(bench: Document) -> Rows:
    parts = bench["parts"]
    what = f"`{bench['what']}` on {parts['train']} utterances, dev {parts['dev']}, test {parts['test']}"
    memory = f"{bench['peak_memory_mb']['median'] / 1000:.1f} GB of memory"
    whole, training = (timed(bench["seconds"][name]) for name in ("whole process", "training"))
    return [[what, f"{whole}, {memory}", f"of it training {training}"]]


def score(bench: Document) -> Rows:
    seconds, programs = bench["seconds"], bench["programs"]
    pairs, jiwer = f"{bench['pairs']:,} pairs scored by speaker", seconds["jiwer.process_words"]
    rows = []
    for align in ("min", "sclite"):
        name = f"read and score, {align}"
        beside = f"jiwer.process_words {jiwer:.2f} s: {bench['of_jiwer'][name]:.2f} of its time"
        what = f"{pairs}, `--align {align}`, {bench.get('statistic', 'the best of three')}"
        rows.append([what, f"{seconds[name]:.2f} s", beside])
    whole = {name: f"{of['seconds']:.1f} s, {of['peak_memory_mb']:,} MB" for name, of in programs.items()}
    others = "; ".join(f"{name} {shown}" for name, shown in whole.items() if name != "speechxfer score")
    return [*rows, ["`speechxfer score`, the whole program", whole["speechxfer score"], others]]


def invariance(bench: Document) -> Rows:
    transcripts = bench["transcripts"].items()
    counts = "; ".join(f"{name}: {of['equal']} of {of['utterances']} equal" for name, of in transcripts)
    largest = f"largest difference of a frame {bench['largest_frame_difference']:.0e}"
    return [[f"transcripts at batch 1 and {bench['batch']}", counts, largest]]


def coverage(bench: Document) -> Rows:
    return [
        [name, format_percent(of["over_speakers"]), format_percent(of["over_utterances"])]
        for name, of in bench["coverage"].items()
    ]


BENCHES: dict[str, tuple[Callable[[Document], Rows], str]] = {
    "bench-startup": (startup, "start-up of `speechxfer --help` and `speechxfer score`"),
    "bench-encode": (encode, "encoding unpadded beside padded to 30 s"),
    "bench-adapt": (adapt, "time and memory of `speechxfer adapt`"),
    "bench-score": (score, "scoring beside jiwer and sclite"),
    **PEERS,
    "batch-invariance": (invariance, "transcripts at batch 1 and 32"),
    "bench-gpu": (gpu, "training on a GPU, by `python scripts/bench/gpu.py`"),
}


def benchmarks_table(recipes: list[Header], results: Results) -> str:
    rows = [row for name, (describe, title) in BENCHES.items() for row in results.bench(name, describe, title)]
    here = [results.found[name] for name in BENCHES if name in results.found and name != "bench-gpu"]
    machines = "; ".join(dict.fromkeys(found["machine"] for found in here if "machine" in found))
    said = f"\nMedian and range in brackets, on {machines}.\n" if machines else ""
    return markdown(("what", "measured", "beside it", "by"), rows) + said


def coverage_table(recipes: list[Header], results: Results) -> str:
    """How often a 95 % interval holds the truth."""
    rows = results.bench("bench-coverage", coverage, "simulated corpora")
    return markdown(("simulated corpus", "interval over speakers", "interval over utterances", "by"), rows)


def methods_table(recipes: list[Header], results: Results) -> str:
    """Ways of adapting beside each other: WER, what trains, time and memory."""
    if METHODS not in results.found:
        return markdown(("what", "measured"), [["ways of adapting", NOT_MEASURED]])
    found = results.found[METHODS]
    rows = [
        [
            name,
            f"`{of['settings']}`",
            rated(of["after"], "WER"),
            f"{of['trained_parameters'] / 1e6:.2f} M",
            f"{'under ' if of['busy'] else ''}{of['training_seconds'] / 60:.1f}",
            f"{of['peak_memory_mb'] / 1000:.1f} GB",
        ]
        for name, of in found["methods"].items()
    ]
    rows += [[name, NOT_MEASURED, "", "", "", ""] for name in found["missing"]]
    of_one = next(iter(found["methods"].values()))
    before = of_one["before"]
    machines = "; ".join(dict.fromkeys(of["machine"] for of in found["methods"].values()))
    share = f"one training speaker in {found['every']}" if found["every"] > 1 else "every training speaker"
    said = (
        "\nWER on the reported speakers, decoded greedily, "
        f"trained on {of_one['train_utterances']} utterances ({share}); "
        f"untouched {rated(before, 'WER')}. Memory is the whole command's, on {machines}. "
        f"By `{found['command']}`.\n"
    )
    return markdown(("method", "recipe", "WER", "trained", "minutes of training", "memory"), rows) + said


# -- wake words ------------------------------------------------------------------------------------------------------
def wake_words_table(recipes: list[Header], results: Results) -> str:
    rows = results.bench(FOLDS, by_folds, "misses by five folds")
    if FOLDS not in results.found:
        return markdown(("what", "measured", "", ""), rows)
    head = ("word", "heard", "missed at no false alarm", "at one", "at its own threshold", "delay")
    found = results.found[FOLDS]
    bounds = found["upper_bounds_per_hour"]
    said = (
        f"\nIn {found['hours']:.1f} h of real speech that its detector never heard: no false alarm refutes more than "
        f"{bounds['0 alarms']} an hour, one refutes more than {bounds['1 alarms']} (95 %, Poisson). The intervals of "
        f"misses are binomial. Noise and babble: {found['snr']}. {found['speakers'].capitalize()}. "
        f"A detector's own threshold was chosen by training, without the fold that it is heard on. "
        f"Training took {taken(found)} CPU minutes a detector. By `{found['command']}`.\n"
    )
    return markdown(head, [row[:-1] for row in rows]) + said


def wake_word_benches(recipes: list[Header], results: Results) -> str:
    rows = [row for name, (describe, title) in WAKE_WORDS.items() for row in results.bench(name, describe, title)]
    return markdown(("what", "measured", "beside it", "by"), rows)


# -- what is written -------------------------------------------------------------------------------------------------
TABLES = {
    "results": results_table,
    "benchmarks": benchmarks_table,
    "methods": methods_table,
    "coverage": coverage_table,
    "wake-words": wake_words_table,
    "wake-word-benches": wake_word_benches,
}


def filled(text: str, recipes: list[Header], results: Results) -> tuple[str, list[str]]:
    """README.md's text with its marked tables written anew, and the names of those that changed."""
    changed: list[str] = []
    if text.count(MARK) != len(MARKED.findall(text)):
        raise UserError("a table's mark has no end", where="README.md", fix="close it with a line <!-- end -->")

    def write(found: re.Match[str]) -> str:
        name, before = found[1], found[2]
        if name not in TABLES:
            known = ", ".join(TABLES)
            raise UserError(
                f"no table is called '{name}'{suggest_nearest(name, TABLES)}; there are {known}", where="README.md"
            )
        table = f"\n{TABLES[name](recipes, results)}\n"
        if table != before:
            changed.append(name)
        return f"{MARK}{name} -->\n{table}<!-- end -->"

    return MARKED.sub(write, text), changed


def bring_in_step(root: Path, *, write: bool) -> list[str]:
    """What differs from what the results say; it is written where `write` says so."""
    folder, readme = root / "recipes", root / "README.md"
    recipes, results = headers(folder), Results(folder / "results")
    text, changed = filled(readme.read_text(encoding="utf-8"), recipes, results)
    found = [f"README.md, table '{name}'" for name in changed]
    if write and changed:
        readme.write_text(text, encoding="utf-8")
    generated, target = recipes_readme(recipes, results), folder / "README.md"
    if not target.is_file() or target.read_text(encoding="utf-8") != generated:
        found.append("recipes/README.md")
        if write:
            target.write_text(generated, encoding="utf-8")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if anything is out of step")
    parser.add_argument("--root", type=Path, default=ROOT, help="where README.md and recipes/ are; default: here")
    given = parser.parse_args(arguments)
    found = bring_in_step(given.root, write=not given.check)
    for name in found:
        print(f"{name}: out of step with recipes/results" if given.check else f"{name}: written")
    if given.check and found:
        sys.exit("  fix: make tables")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)

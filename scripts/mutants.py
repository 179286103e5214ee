"""Draw one-line mutants of what must not be wrong, and run the tests against each: python scripts/mutants.py draw|run

`draw` lists every one-line mutant of six areas (scoring, CTC, selection, cache keys, masks, events), draws forty with
seed 0, no two in one file closer than ten lines and no operator more than twice in an area, and writes
scripts/mutants.json. An entry whose `equivalent` gives a reason why no test could ever tell stays in the file, and
drawing again adds the next of its area in its place. The draw belongs to the commit that the file names: draw again
from a checkout of it, with `--tree`. `drawn` keeps what was drawn; `file`, `line`, `before` and `after` follow the
code when it moves.

`run` applies one mutant at a time to a copy of the tree and runs its `tests` there, the one in `killed_by` first. It
exits 1 where one survives or a killing test fails without the mutant too, and 2 where a line is no longer there.
`--record` writes the killing tests into scripts/mutants.json, and leaves each mutant the files of those alone.

cosmic-ray and mutmut make every mutant of a module; neither samples by area and distance.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from _one_line import Site, sites

ROOT = Path(__file__).parents[1]
LISTED = Path(__file__).with_suffix(".json")
SEED, APART = 0, 10  # lines between two mutants of one file, at least
OF_A_KIND = 2  # mutants of one operator in an area, at most: constants are everywhere
LIMIT = 300.0  # s of a mutant's tests; what takes longer is killed by that
COPIED = ("tests", "scripts", "recipes", "docs")  # beside the package, and the files at the root


@dataclass(frozen=True)
class Area:
    """Where mutants are drawn: how many, and of which files; `file: names` is of these functions alone."""

    quota: int
    files: dict[str, tuple[str, ...]]


def _whole(folder: str, *names: str) -> dict[str, tuple[str, ...]]:
    return {f"{folder}/{name}.py": () for name in names}


_OF_COPIES = [f"TrainingUtterances.{name}" for name in ("__init__", "copy_of", "waveform", "key", "_content")]
AREAS = {
    "scoring": Area(
        10, _whole("scoring", "align", "counts", "statistics", "compare", "result", "notation", "tokens", "matching")
    ),
    "CTC": Area(
        7,
        _whole("heads", "ctc")
        | _whole("decoding", "ctc", "alignment", "ctc_beam")
        | {"data/bad_rows.py": ("ctc_frames",)},
    ),
    "selection": Area(
        6, _whole("adaptation", "candidates", "judge", "rescoring", "tuning") | _whole("decoding", "hybrid")
    ),
    "cache keys": Area(
        4,
        {
            "encoders/cache.py": ("utterance_key", "padded", "fingerprint"),
            "adaptation/batches.py": ("Contents.of", "Contents._file", *_OF_COPIES),
            "adaptation/baseline.py": ("_key",),
        },
    ),
    "masks": Area(
        7,
        {"shapes.py": (), "data/augment.py": ("spec_augment", "_spans")}
        | _whole("encoders", "base", "_wav2vec2_like", "conformer", "_adapter")
        | _whole("heads", "whisper_decoder", "context"),
    ),
    "events": Area(6, _whole("wakeword", "events", "intervals", "evaluation")),
}
# beside the tests that mirror a module, those of what stands on it
ALSO = {
    "scoring/": ["tests/cli/test_score.py"],
    "decoding/hybrid.py": ["tests/models/test_joint.py", "tests/adaptation/test_tuning.py"],
    "heads/": ["tests/models", "tests/encoders/test_families.py"],
    "shapes.py": ["tests/encoders", "tests/heads", "tests/decoding", "tests/models"],
    "encoders/": ["tests/adaptation/test_caching.py", "tests/models"],
}


# -- the drawing -----------------------------------------------------------------------------------------------------
def package(tree: Path) -> str:
    """The name of the tree's package, which is another at another commit."""
    return next(tree.glob("*/py.typed")).parent.name


def in_order(tree: Path) -> Iterator[tuple[str, list[Site]]]:
    """Each area's mutants, all of them, in the order in which they are drawn."""
    rng = random.Random(SEED)
    for area, where in AREAS.items():
        pool = [site for file, names in where.files.items() for site in sites(tree, f"{package(tree)}/{file}", names)]
        rng.shuffle(pool)
        yield area, pool


def tests_of(tree: Path, file: str) -> list[str]:
    """The tests likeliest to tell: the module's own, its folder's, those of what stands on it."""
    inside = file.partition("/")[2]
    folder = Path("tests") / Path(inside).parent
    own = folder / f"test_{Path(inside).stem.strip('_')}.py"
    wanted = [own.as_posix()] if (tree / own).is_file() else []
    if folder != Path("tests"):
        wanted.append(folder.as_posix())
    return wanted + [path for part, paths in ALSO.items() if inside.startswith(part) for path in paths]


def _entry(tree: Path, area: str, site: Site) -> dict[str, Any]:
    return {
        "id": 0,
        "area": area,
        "file": site.file,
        "line": site.line,
        "operator": site.operator,
        "before": site.before,
        "after": site.after,
        "drawn": {"file": site.file, "line": site.line, "before": site.before, "after": site.after},
        "tests": tests_of(tree, site.file),
        "killed_by": None,
        "equivalent": None,
        "replaces": None,
    }


def draw(tree: Path, known: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The quota of every area, then one more for each that `known` calls equivalent; what `known` says of one stays."""
    said = {json.dumps(one["drawn"], sort_keys=True): one for one in known}
    found: list[dict[str, Any]] = []
    more: list[tuple[dict[str, Any], dict[str, Any]]] = []  # the equivalent one, and what replaces it
    for area, pool in in_order(tree):
        taken: list[dict[str, Any]] = []
        owed: list[dict[str, Any] | None] = [None] * AREAS[area].quota
        for site in pool:
            if not owed:
                break
            if any(
                one["drawn"]["file"] == site.file and abs(one["drawn"]["line"] - site.line) < APART for one in taken
            ):
                continue
            if sum(one["operator"] == site.operator and not one["equivalent"] for one in taken) >= OF_A_KIND:
                continue
            entry = _entry(tree, area, site)
            entry |= said.get(json.dumps(entry["drawn"], sort_keys=True), {})
            taken.append(entry)
            instead = owed.pop(0)
            if instead is None:
                found.append(entry)
            else:
                more.append((instead, entry))
            if entry["equivalent"]:
                owed.append(entry)
    drawn = [*found, *(entry for _, entry in more)]
    last = max((one["id"] for one in known), default=0)
    for number, entry in enumerate((entry for entry in drawn if not entry["id"]), last + 1):
        entry["id"] = number
    for instead, entry in more:
        entry["replaces"] = instead["id"]
    return sorted(drawn, key=lambda one: one["id"])


def _read() -> dict[str, Any]:
    return json.loads(LISTED.read_text(encoding="utf-8"))


def _write(listed: dict[str, Any]) -> None:
    LISTED.write_text(json.dumps(listed, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def draw_command(asked: argparse.Namespace) -> int:
    listed = _read() if LISTED.is_file() else {"mutants": []}
    commit = subprocess.run(
        ["git", "-C", asked.tree, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    if listed.get("drawn_from_commit", commit) != commit:
        print(f"the mutants were drawn from {listed['drawn_from_commit']}: draw from a checkout of it, with --tree")
        return 2
    mutants = draw(asked.tree, listed["mutants"])
    _write({"drawn_from_commit": commit, "seed": SEED, "lines_apart": APART, "mutants": mutants})
    for one in mutants:
        print(f"{one['id']:3} {one['area']:10} {one['file']}:{one['line']} {one['operator']}: {one['after'].strip()}")
    return 0


# -- the run ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Outcome:
    """What the tests made of one mutant. killed_by: a test, "timeout" or how they broke off; None where it survived."""

    id: int
    area: str
    where: str
    killed_by: str | None
    seconds: float


def mutated(text: str, mutant: dict[str, Any]) -> str:
    """The file's text with the mutant in it, at the place nearest to its line. Raises LookupError where none is."""
    lines = text.split("\n")
    places = [place for place, line in enumerate(lines) if line == mutant["before"]]
    if not places:
        raise LookupError(f"no line {mutant['before'].strip()!r}")
    lines[min(places, key=lambda place: abs(place + 1 - mutant["line"]))] = mutant["after"]
    return "\n".join(lines)


def stale(tree: Path, mutants: Sequence[dict[str, Any]]) -> list[str]:
    """What of the mutants is not in the tree: lines that have changed, tests that have gone."""
    found = []
    for one in mutants:
        try:
            mutated((tree / one["file"]).read_text(encoding="utf-8"), one)
        except (OSError, LookupError) as error:
            found.append(f"mutant {one['id']}: {one['file']}:{one['line']}: {error}")
        found += [f"mutant {one['id']}: no {path}" for path in one["tests"] if not (tree / path).exists()]
    return found


class Copy:
    """A copy of the tree in a folder of its own, in which tests run on the copied package."""

    def __init__(self, tree: Path, place: Path) -> None:
        self.folder, self.scratch = place / "tree", place / "tmp"
        self.scratch.mkdir(parents=True)
        for name in (package(tree), *COPIED):
            shutil.copytree(tree / name, self.folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        for path in tree.iterdir():
            if path.is_file() and not path.name.startswith("."):
                shutil.copy(path, self.folder)
        # nothing compiled is kept: a mutant within a second of another, of the same size, would not be seen
        single = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONDONTWRITEBYTECODE": "1"}
        self.environment = {**os.environ, **single, "PYTHONPATH": str(self.folder), "TMPDIR": str(self.scratch)}
        asked = [sys.executable, "-c", f"import {package(tree)} as found; print(found.__file__)"]
        imported = subprocess.run(
            asked, cwd=self.scratch, env=self.environment, capture_output=True, text=True, check=True
        )
        if not Path(imported.stdout.strip()).is_relative_to(self.folder):
            raise RuntimeError(f"the tests would run on {imported.stdout.strip()}, which is not the copy")

    def pytest(self, *arguments: str, limit: float | None = None) -> tuple[int | None, str]:
        """Exit status, None where the time was up, and what was printed."""
        command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-p", "no:cacheprovider", *arguments]
        with subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                printed, _ = process.communicate(timeout=limit)
            except BaseException as error:
                os.killpg(process.pid, signal.SIGKILL)  # and what the tests started
                if isinstance(error, subprocess.TimeoutExpired):
                    return None, ""
                raise
        return process.returncode, printed

    def try_out(self, mutant: dict[str, Any], limit: float) -> Outcome:
        """Run the mutant's tests on it; the file is as before afterwards."""
        path, began, killer = self.folder / mutant["file"], time.perf_counter(), None
        text = path.read_text(encoding="utf-8")
        path.write_text(mutated(text, mutant), encoding="utf-8")
        first = [mutant["killed_by"]] if "::" in (mutant["killed_by"] or "") else []
        try:
            # the likeliest alone: pytest takes a folder's files in their own order, whichever was named first
            for tests in (first, mutant["tests"][:1], mutant["tests"][1:]):
                killer = self._killer(tests, limit) if tests and killer is None else killer
        finally:
            path.write_text(text, encoding="utf-8")
        where = f"{mutant['file']}:{mutant['line']}"
        return Outcome(mutant["id"], mutant["area"], where, killer, round(time.perf_counter() - began, 1))

    def _killer(self, tests: Sequence[str], limit: float) -> str | None:
        status, printed = self.pytest("-x", *tests, limit=limit)
        if status is None:
            return "timeout"
        if status == 0 or (status == 4 and "not found: " in printed):  # the test has another name by now
            return None
        if named := re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", printed, re.MULTILINE):
            return named[1]
        return f"pytest's exit status {status}"


def chosen(asked: argparse.Namespace, mutants: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The mutants that are asked for, without the equivalent ones."""
    wanted = {int(number) for number in asked.ids.split(",")} if asked.ids else {one["id"] for one in mutants}
    return [one for one in mutants if one["id"] in wanted and not one["equivalent"]]


def run_command(asked: argparse.Namespace) -> int:
    mutants = chosen(asked, _read()["mutants"])
    if problems := stale(asked.tree, mutants):
        print(*problems, "fix: update file, line, before, after or tests in scripts/mutants.json", sep="\n")
        return 2
    with tempfile.TemporaryDirectory(prefix="mutants-") as place:
        free: SimpleQueue[Copy] = SimpleQueue()
        for number in range(asked.jobs):
            free.put(Copy(asked.tree, Path(place) / str(number)))

        def one_at_a_time(mutant: dict[str, Any]) -> Outcome:
            copy = free.get()
            try:
                outcome = copy.try_out(mutant, asked.limit)
            finally:
                free.put(copy)
            fate = "SURVIVED" if outcome.killed_by is None else f"killed by {outcome.killed_by}"
            print(f"{outcome.id:3} {outcome.area:10} {outcome.where}  {fate}  {outcome.seconds:.0f} s", flush=True)
            return outcome

        with ThreadPoolExecutor(asked.jobs) as pool:
            outcomes = list(pool.map(one_at_a_time, mutants))
        tests = sorted({one.killed_by for one in outcomes if "::" in (one.killed_by or "")})
        status, printed = free.get().pytest(*tests) if tests else (0, "")
    survivors = [one for one in outcomes if one.killed_by is None]
    print(
        f"{len(outcomes)} mutants, {len(survivors)} survived, {sum(one.seconds for one in outcomes) / 60:.1f} minutes"
    )
    if status:
        print(f"tests that fail without a mutant too:\n{printed}")
    if asked.json:
        asked.json.write_text(json.dumps([asdict(one) for one in outcomes], indent=2) + "\n", encoding="utf-8")
    if asked.record and not status:
        record(outcomes)
    return 1 if survivors or status else 0


def record(outcomes: Sequence[Outcome]) -> None:
    """Write what killed each mutant; the file of a killing test is the one that runs next time."""
    listed = _read()  # as it is by now
    by_id = {one["id"]: one for one in listed["mutants"]}
    for outcome in outcomes:
        if outcome.killed_by is not None:
            by_id[outcome.id]["killed_by"] = outcome.killed_by
            if ".py" in outcome.killed_by:
                by_id[outcome.id]["tests"] = [outcome.killed_by.partition("::")[0]]
    _write(listed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    drawing = commands.add_parser("draw", help="write scripts/mutants.json")
    drawing.add_argument("--tree", type=Path, default=ROOT)
    drawing.set_defaults(command=draw_command)
    running = commands.add_parser("run", help="run the tests against each mutant")
    running.add_argument("--tree", type=Path, default=ROOT, help="the source tree that is copied")
    running.add_argument("--ids", default="", help="such as 3,7; all by default")
    running.add_argument("--jobs", type=int, default=1)
    running.add_argument("--limit", type=float, default=LIMIT, help="seconds after which a mutant counts as killed")
    running.add_argument("--json", type=Path, help="write the outcomes there")
    running.add_argument("--record", action="store_true", help="write the killing tests into scripts/mutants.json")
    running.set_defaults(command=run_command)
    asked = parser.parse_args()
    return asked.command(asked)


if __name__ == "__main__":
    sys.exit(main())

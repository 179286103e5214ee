"""Full disks for scripts/torture.py: commands that write to file systems of a few megabytes.

Each must end with one message, and leave a file that was there before as it was.
"""

from __future__ import annotations

import subprocess
from collections.abc import Collection
from pathlib import Path

import numpy as np
from _torture import Case, Command, Outcome
from _torture_audio import load_conftest
from _torture_kills import make_targets, run_in_fork

_KILOBYTES = {  # sizes of the file systems, by target: from nothing to nearly enough
    "adapt": (40, 3_000),
    "transcribe": (4, 8),
    "export": (20, 1_000),
    "wakeword train": (8, 200),
}
_OLD = "an older result\n"


def run(
    work: Path, count: int, seed: int, wave: np.ndarray, _: int = 1, skip: Collection[str] = ()
) -> list[tuple[Case, list[Outcome]]]:
    """Run the targets, and the commands that write tables and reports, in turn, `count` times in all."""
    targets = {target.name: target.first for target in make_targets(work, wave)}
    table = load_conftest().write_corpus(work / "corpus")
    text = _write_texts(work / "texts")
    targets |= {
        "score": lambda o: ["score", *map(str, text), "--html", str(o / "r.html"), "--json", str(o / "r.json")],
        "check": lambda o: ["check", str(table), "--output", str(o / "keep.csv"), "--overwrite"],
        "lm": lambda o: ["lm", str(text[0]), "--output", str(o / "keep.arpa"), "--overwrite"],
    }
    targets = {name: target for name, target in targets.items() if name not in skip}
    results = []
    for number in range(count):
        name = list(targets)[number % len(targets)]
        low, high = _KILOBYTES.get(name, (4, 4))
        kilobytes = int(np.random.default_rng([seed, number]).integers(low, high + 1))
        mount = work / "mounts" / f"{number:03}"
        mount.mkdir(parents=True)
        _run(["mount", "-t", "tmpfs", "-o", f"size={max(8, kilobytes)}k", "tmpfs", str(mount)])
        try:
            results.append(_run_on_full_disk(name, targets[name](mount), mount, kilobytes))
        finally:
            _run(["umount", str(mount)])
    return results


def _run_on_full_disk(name: str, arguments: list[str], mount: Path, kilobytes: int) -> tuple[Case, list[Outcome]]:
    old = [mount / file for file in ("keep.csv", "keep.arpa") if str(mount / file) in arguments]
    for path in old:
        path.write_text(_OLD)
        (mount / "ballast").write_bytes(bytes(2_000))
    code, output, memory, stopped = run_in_fork(arguments)
    violations = [stopped] if stopped else []
    if not stopped and ("Traceback" in output or code not in (0, 1, 2)):
        violations.append(f"exit code {code}: {output.strip()[-300:]}")
    violations += [f"{path.name} was lost" for path in old if code != 0 and path.read_text() != _OLD]
    verdict = "finished" if code in (0, 1) else "one message"
    command = Command(name, lambda _: arguments, lambda *_: verdict)
    outcome = Outcome(command, verdict, 0.0, memory, code, output, tuple(violations))
    return Case(f"full disk of {kilobytes} kB", mount), [outcome]


def _write_texts(folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "ref.csv", folder / "hyp.csv"]
    for path, column in zip(paths, ("text", "hypothesis"), strict=True):
        rows = [f"u{k},one two three four {k}" for k in range(200)]
        path.write_text("\n".join([f"id,{column}", *rows]) + "\n", encoding="utf-8")
    return paths


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.strip()}; run it as root, on Linux")

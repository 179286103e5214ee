"""Rows of scripts/tables.py from the results of scripts/bench/wakeword_*.py."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from _cells import Document, Rows, between, format_percent, timed


def means(folds: Document) -> Iterable[tuple[str, Document]]:
    """Return (condition, mean miss rates over the words)."""
    return folds["mean_miss_rate"].items()


def format_misses(result: Document) -> str:
    """Format as `3.2 % [9 of 282] (1.5 to 6.0)`."""
    rate, interval = format_percent(result["miss_rate"]), between(result["intervals"]["miss_rate"])
    return f"{rate} [{result['misses']} of {result['positives']}]{interval}"


def _alarms(count: int) -> str:
    return f"{count} alarm{'s' * (count != 1)}"


def by_folds(folds: Document) -> Rows:
    """Return a row per word and condition, then the means."""
    rows = []
    for word, of in folds["words"].items():
        for condition, at in of["conditions"].items():
            none, one = at["at_0_alarms"], at["at_1_alarms"]
            delay = f"{none['delay_ms']['median']:.0f} ms" if none["delay_ms"] else "–"
            own = of["as_calibrated"][condition]
            at_own = f"{format_percent(own['misses'] / own['positives'])}, {_alarms(own['false_alarms'])}"
            rows.append([word, condition, format_misses(none), format_misses(one), at_own, delay])
    for condition, at in means(folds):
        every = [of["as_calibrated"][condition] for of in folds["words"].values()]
        rate = sum(own["misses"] / own["positives"] for own in every) / len(every)
        at_own = f"{format_percent(rate)}, {_alarms(sum(own['false_alarms'] for own in every))}"
        rows.append(
            ["mean", condition, format_percent(at["at_0_alarms"]), format_percent(at["at_1_alarms"]), at_own, ""]
        )
    return rows


def taken(folds: Document) -> str:
    """Format the smallest and the largest CPU minutes of a training."""
    minutes = [minute for of in folds["words"].values() for minute in of["cpu_minutes_of_training"]]
    return f"{min(minutes):.1f} to {max(minutes):.1f}"


def few_shots(bench: Document) -> Rows:
    return [
        [
            f"{bench['recordings']} recordings of *{bench['word']}*, {condition}",
            f"missed at no false alarm, median {format_percent(of['at_0_alarms']['median'])}",
            f"{format_percent(of['at_0_alarms']['low'])} to {format_percent(of['at_0_alarms']['high'])} over "
            f"{of['at_0_alarms']['repeats']} draws",
        ]
        for condition, of in bench["miss_rate"].items()
    ]


def newcomers(bench: Document) -> Rows:
    rows = []
    for word, of in bench["words"].items():
        made_up, real = of["synthetic"], of["real"]
        at_real = f"{format_misses(real)} missed, {real['false_alarms']} false alarms in {real['hours']:.1f} h"
        at_made_up = f"{made_up['misses']} of {made_up['positives']} missed, {made_up['alarms']} false alarms"
        what = f"*{word}* from synthetic voices alone, {of['minutes']:.1f} min"
        rows.append([what, f"on real speech: {at_real}", f"on synthetic speech: {at_made_up}"])
    return rows


def peers(bench: Document) -> Rows:
    ours, theirs = bench["speed"]["speechxfer"], bench["speed"]["openWakeWord"]
    rows = [
        ["CPU for an hour of sound, one core", *(timed(side["cpu_seconds_an_hour"]) for side in (ours, theirs))],
        ["peak memory of the process", *(timed(side["peak_memory_mb"], " MB") for side in (ours, theirs))],
    ]
    sides = bench["mean_miss_rate"]
    for condition, of in sides["speechxfer"].items():
        both = (of, sides["head on their embedding"][condition])
        rates = (f"{format_percent(at['at_0_alarms'])}, {format_percent(at['at_1_alarms'])}" for at in both)
        rows.append([f"missed at no false alarm, and at one, {condition}", *rates])
    for name, of in bench["stock"]["models"].items():
        rows.append(["false alarms", "–", f"stock `{name}`: {of['false_alarms']} in {of['hours']:.1f} h"])
    return [[what, left, f"openWakeWord: {right}"] for what, left, right in rows]


def day(bench: Document) -> Rows:
    growth = f"memory grew by {bench['memory_growth_mb']:.1f} MB from the first hour on"
    what = f"{bench['hours']:.0f} h of sound, a second at a time"
    return [[what, growth, f"{bench['cpu_seconds_an_hour']:.1f} s of CPU an hour"]]


def teachers(bench: Document) -> Rows:
    """Return the mean miss rate over the seeds at 0 false alarms, with and without the teacher."""
    without, (teacher, with_it) = bench["sides"]["none"], next(i for i in bench["sides"].items() if i[0] != "none")

    def mean(side: list[Document], condition: str) -> str:
        return format_percent(sum(one["miss_rate"][condition]["at_0_alarms"] for one in side) / len(side))

    return [
        [
            f"*{bench['word']}* taught by {teacher} too, {bench['steps']} steps, {condition}",
            f"missed at no false alarm {mean(with_it, condition)}",
            f"without a teacher {mean(without, condition)} ({len(without)} seeds)",
        ]
        for condition in without[0]["miss_rate"]
    ]


FOLDS = "wakeword-folds"
WAKE_WORDS: dict[str, tuple[Callable[[Document], Rows], str]] = {
    "wakeword-newcomer": (newcomers, "a detector from synthetic voices alone"),
    "wakeword-fewshot": (few_shots, "five recordings"),
    "wakeword-peers": (peers, "beside openWakeWord"),
    "wakeword-day": (day, "a day of sound"),
    "wakeword-teacher": (teachers, "with a teacher and without"),
}

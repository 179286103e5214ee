"""The rows that scripts/tables.py makes of what scripts/bench/cache.py, gpu.py and against_*.py measured."""

from __future__ import annotations

from collections.abc import Callable

from _cells import Document, Rows, between, format_percent, timed

_THEIRS = "transformers"


def cache(bench: Document) -> Rows:
    """A row a head: an epoch from kept frames, beside one that encodes again."""
    rows = []
    for head, of in bench["heads"].items():
        seconds, ratios = of["seconds_an_epoch"], of["times_as_long"]
        kept = next(name for name in seconds if name not in ratios)
        beside = [f"{name} {timed(seconds[name])}, {timed(ratio, ' times')} as long" for name, ratio in ratios.items()]
        what = f"an epoch of {head} on {bench['audio_seconds'] / 60:.0f} min ({bench['corpus']}), {kept}"
        filled = f"filling the store once {of['filling_the_store_seconds']:.1f} s"
        rows.append([what, timed(seconds[kept]), "; ".join([*beside, filled])])
    return rows


def against_transformers(bench: Document) -> Rows:
    """A row a kind of model and side of ours, beside the usual script."""
    rows = []
    for kind, sides in bench["training"].items():
        theirs = sides[_THEIRS]
        beside = f"transformers' usual script {timed(theirs['seconds_an_epoch'])}, {_gigabytes(theirs)}"
        model = bench["model"] if kind == "whisper" else "a CTC head on a random wav2vec2"
        for side, of in sides.items():
            if side != _THEIRS:
                what = f"an epoch of {model} on {bench['corpus']}, {side}"
                fast = f"{timed(of['times_as_fast'], ' times')} as fast"
                before = of.get("seconds_beforehand", {"median": 0.0})
                once = f", after {timed(before)} once" if before["median"] >= 1 else ""
                rows.append([what, f"{timed(of['seconds_an_epoch'])}{once}, {_gigabytes(of)}", f"{beside}: {fast}"])
    return rows


def until_dev(bench: Document) -> Rows:
    """Wall time to the best dev WER of the usual script."""
    found = bench["until_dev"]
    best, ours = found["their_best"], found["ours_as_good"]
    what = f"until the usual script's best dev WER, {format_percent(best['dev'])}, on {bench['corpus']}"
    theirs = f"transformers' usual script {best['seconds'] / 60:.1f} min"
    if ours is None:
        return [[what, "not reached", theirs]]
    reached = f"{ours['seconds'] / 60:.1f} min ({format_percent(ours['dev'])})"
    return [[what, reached, f"{theirs}: {found['times_as_fast']:.1f} times as fast, one run"]]


def against_faster_whisper(bench: Document) -> Rows:
    """A row a side: throughput and WER; the ratios stand beside the first."""
    rows = []
    minutes = bench["audio_seconds"] / 60
    ratios = [
        f"{timed(ratio, ' times')} as fast as {ratio['against']}" for ratio in bench["times_as_fast"].values()
    ]  # fmt: skip
    for side, of in bench["sides"].items():
        what = f"{minutes:.0f} min transcribed ({bench['corpus']}), beam {bench['beams']}: {side}"
        rate = f"WER {format_percent(of['wer'])}{between(of['interval'])}"
        fast = f"{timed(of['throughput'], ' s')} of speech a second, {_gigabytes(of)}"
        rows.append([what, fast, "; ".join([rate, *(ratios if not rows else [])])])
    return rows


def gpu(bench: Document) -> Rows:
    rows = []
    for name, of in bench["training"].items():
        what = f"{name}, an epoch of {of['audio_seconds'] / 60:.0f} min in {of['precision']} on {bench['machine']}"
        memory = f"{of['peak_memory_mb'] / 1000:.1f} GB of the GPU's memory"
        beside = [f"{of['parameters']['trained']:,} parameters train"]
        if of["utilisation"] is not None:
            beside.append(f"GPU busy {of['utilisation']} %")
        if of["seconds_beforehand"] is not None:
            beside.append(f"frames kept once in {of['seconds_beforehand']:.1f} s")
        rows.append([what, f"{timed(of['seconds_an_epoch'])}, {memory}", "; ".join(beside)])
    return rows


def _gigabytes(of: Document) -> str:
    return f"{of['peak_memory_mb']['median'] / 1000:.1f} GB"


PEERS: dict[str, tuple[Callable[[Document], Rows], str]] = {
    "bench-cache": (cache, "an epoch from the cache beside encoding again"),
    "bench-cache-wav2vec2": (cache, "the same with wav2vec2, whose head is linear"),
    "bench-against-transformers": (against_transformers, "training beside transformers' usual scripts"),
    "bench-against-transformers-ctc": (against_transformers, "training a CTC head beside transformers' usual script"),
    "bench-until-dev": (until_dev, "wall time until the usual script's best dev WER"),
    "bench-against-faster-whisper": (against_faster_whisper, "transcribing beside faster-whisper"),
}

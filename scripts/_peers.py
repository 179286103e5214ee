"""Table rows of scripts/tables.py for the results of scripts/bench/cache.py, gpu.py, long_files.py
and against_*.py."""

from __future__ import annotations

from collections.abc import Callable

from _cells import Document, Rows, between, format_percent, timed

_THEIRS = "transformers"


def cache(bench: Document) -> Rows:
    """Make one row per head: an epoch with cached frames, compared with encoding again."""
    rows = []
    for head, result in bench["heads"].items():
        seconds, ratios = result["seconds_an_epoch"], result["times_as_long"]
        cached = next(name for name in seconds if name not in ratios)
        others = [f"{name} {timed(seconds[name])}, {timed(ratio, ' times')} as long" for name, ratio in ratios.items()]
        title = f"an epoch of {head} on {bench['audio_seconds'] / 60:.0f} min ({bench['corpus']}), {cached}"
        filling = f"filling the store once {result['filling_the_store_seconds']:.1f} s"
        rows.append([title, timed(seconds[cached]), "; ".join([*others, filling])])
    return rows


def against_transformers(bench: Document) -> Rows:
    """Make one row per model and side of ours, compared with transformers' script."""
    rows = []
    for kind, sides in bench["training"].items():
        theirs = sides[_THEIRS]
        their_result = f"transformers' usual script {timed(theirs['seconds_an_epoch'])}, {_format_memory(theirs)}"
        model = bench["model"] if kind == "whisper" else "a CTC head on a random wav2vec2"
        for side, ours in sides.items():
            if side != _THEIRS:
                title = f"an epoch of {model} on {bench['corpus']}, {side}"
                speed = f"{timed(ours['times_as_fast'], ' times')} as fast"
                preparation = ours.get("seconds_beforehand", {"median": 0.0})
                once = f", after {timed(preparation)} once" if preparation["median"] >= 1 else ""
                our_result = f"{timed(ours['seconds_an_epoch'])}{once}, {_format_memory(ours)}"
                rows.append([title, our_result, f"{their_result}: {speed}"])
    return rows


def time_to_dev(bench: Document) -> Rows:
    """Make the row of the wall time until the best dev WER of transformers' script."""
    result = bench["until_dev"]
    best, ours = result["their_best"], result["ours_as_good"]
    title = f"until the usual script's best dev WER, {format_percent(best['dev'])}, on {bench['corpus']}"
    theirs = f"transformers' usual script {best['seconds'] / 60:.1f} min"
    if ours is None:
        return [[title, "not reached", theirs]]
    reached = f"{ours['seconds'] / 60:.1f} min ({format_percent(ours['dev'])})"
    return [[title, reached, f"{theirs}: {result['times_as_fast']:.1f} times as fast, one run"]]


def against_faster_whisper(bench: Document) -> Rows:
    """Make one row per side: throughput and WER; the first row has the speed ratios."""
    rows = []
    minutes = bench["audio_seconds"] / 60
    ratios = [f"{timed(ratio, ' times')} as fast as {ratio['against']}" for ratio in bench["times_as_fast"].values()]
    for side, result in bench["sides"].items():
        title = f"{minutes:.0f} min transcribed ({bench['corpus']}), beam {bench['beams']}: {side}"
        rate = f"WER {format_percent(result['wer'])}{between(result['interval'])}"
        throughput = f"{timed(result['throughput'], ' s')} of speech a second, {_format_memory(result)}"
        rows.append([title, throughput, "; ".join([rate, *(ratios if not rows else [])])])
    return rows


def gpu(bench: Document) -> Rows:
    """Make one row per model that was trained on the GPU."""
    rows = []
    for name, result in bench["training"].items():
        minutes = f"{result['audio_seconds'] / 60:.0f} min"
        title = f"{name}, an epoch of {minutes} in {result['precision']} on {bench['machine']}"
        memory = f"{result['peak_memory_mb'] / 1000:.1f} GB of the GPU's memory"
        details = [f"{result['parameters']['trained']:,} parameters train"]
        if result["utilisation"] is not None:
            details.append(f"GPU busy {result['utilisation']} %")
        if result["seconds_beforehand"] is not None:
            details.append(f"frames kept once in {result['seconds_beforehand']:.1f} s")
        rows.append([title, f"{timed(result['seconds_an_epoch'])}, {memory}", "; ".join(details)])
    return rows


def long_files(bench: Document) -> Rows:
    """Make one row per library that transcribed the joined utterances."""
    sides = bench["sides"]
    single = sides.get("one by one")
    rows = []
    for side, result in sides.items():
        if side != "one by one":
            files = f"{bench['files']} files of joined utterances"
            title = f"{bench['minutes']:.0f} min in {files} ({bench['corpus']}), {side}"
            rate = f"WER {format_percent(result['wer'])}{between(result['interval'])}"
            deleted = f"longest run of deleted words {result['longest_deletion']}"
            compared = "" if single is None else f"; the utterances one by one {format_percent(single['wer'])}"
            rows.append([title, rate, deleted + compared])
    return rows


def _format_memory(result: Document) -> str:
    return f"{result['peak_memory_mb']['median'] / 1000:.1f} GB"


PEERS: dict[str, tuple[Callable[[Document], Rows], str]] = {
    "bench-cache": (cache, "an epoch with cached frames, compared with encoding again"),
    "bench-cache-wav2vec2": (cache, "the same with wav2vec2, whose head is linear"),
    "bench-against-transformers": (against_transformers, "training, compared with transformers"),
    "bench-against-transformers-ctc": (
        against_transformers,
        "training a CTC head, compared with transformers",
    ),
    "bench-until-dev": (time_to_dev, "wall time until the usual script's best dev WER"),
    "bench-against-faster-whisper": (against_faster_whisper, "transcription, compared with faster-whisper"),
    "bench-long-files": (long_files, "long files, compared with their utterances one by one"),
}

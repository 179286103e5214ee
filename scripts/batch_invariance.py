"""Does an utterance's transcript depend on its batch? python scripts/batch_invariance.py MODEL TABLE [--json FILE]

Transcribes the first 200 utterances of a seeded shuffle of TABLE one by one and in batches of 32 (unsorted lengths).
Prints how many transcripts are equal, and the largest difference of any frame. Decoding is greedy, and with
`--beam-size N` also by beam search. MODEL is a run folder or any other MODEL. Exit code 1 if a transcript differs.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from speechxfer.adaptation.provenance import make_provenance
from speechxfer.data import audio
from speechxfer.data.reader import read
from speechxfer.encoders.checkpoints import hash_model_dir, resolve_transformers_dir
from speechxfer.errors import UserError
from speechxfer.models import SpeechModel, load
from speechxfer.shapes import SAMPLE_RATE


def predict_in_batches(model: SpeechModel, waveforms: Sequence[np.ndarray], size: int) -> list[str]:
    """Transcribe `size` waveforms at a time, in order."""
    return [text for at in range(0, len(waveforms), size) for text in model.predict(waveforms[at : at + size])]


@torch.no_grad()
def frame_difference(model: SpeechModel, waveforms: Sequence[np.ndarray], size: int) -> float:
    """Return the largest difference between an utterance's frames alone and in its batch of `size`.

    Raises: UserError if the numbers of frames differ.
    """
    largest = 0.0
    for start in range(0, len(waveforms), size):
        batch = waveforms[start : start + size]
        encoded = _encode(model, batch)
        for waveform, length, frames in zip(batch, encoded.lengths.tolist(), encoded.states, strict=True):
            alone = _encode(model, [waveform]).states[0]
            if len(alone) != length:
                raise UserError(f"an utterance has {len(alone)} frames alone and {length} in its batch")
            largest = max(largest, float((alone - frames[:length]).abs().max()))
    return largest


def _encode(model: SpeechModel, waveforms: Sequence[np.ndarray]) -> Any:
    return model.encoder(model.encoder.prepare(waveforms).to(model.device))


def compare(model: SpeechModel, ids: Sequence[str], waveforms: Sequence[np.ndarray], size: int, beams: int) -> dict:
    """Count the equal transcripts, and list the different ones."""
    model.settings.beam_size = beams
    alone, in_batch = predict_in_batches(model, waveforms, 1), predict_in_batches(model, waveforms, size)
    different = [
        {"id": name, "alone": one, "in_batch": other}
        for name, one, other in zip(ids, alone, in_batch, strict=True)
        if one != other
    ]
    return {"equal": len(ids) - len(different), "utterances": len(ids), "different": different}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("table")
    parser.add_argument("--utterances", type=int, default=200, help="default %(default)s")
    parser.add_argument("--batch", type=int, default=32, help="utterances per batch; default %(default)s")
    parser.add_argument("--beam-size", type=int, help="also decode with a beam of this width")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps; default %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result to this file")
    given = parser.parse_args(arguments)
    model = load(given.model, device=given.device)
    if given.beam_size is not None and model.kind != "seq2seq":
        raise UserError(f"a {model.kind} model has no beam search", where="--beam-size")
    rows = read(given.table).shuffle(seed=0)
    rows = rows.select(range(min(given.utterances, len(rows))))
    ids, waveforms = list(rows["id"]), [audio.load_waveform(row) for row in rows]
    lengths = sorted(len(waveform) / SAMPLE_RATE for waveform in waveforms)
    searches = {"greedy": 1} | ({} if given.beam_size is None else {f"beam {given.beam_size}": given.beam_size})
    found = {name: compare(model, ids, waveforms, given.batch, beams) for name, beams in searches.items()}
    result = {
        "command": "python scripts/batch_invariance.py",
        "batch": given.batch,
        "padded_to_30s": getattr(model.encoder, "pad_to_30s", None),
        "transcripts": found,
        "largest_frame_difference": frame_difference(model, waveforms, given.batch),
        "audio_seconds": {"shortest": round(lengths[0], 2), "longest": round(lengths[-1], 2)},
        "provenance": make_provenance(
            {"checkpoint": hash_model_dir(resolve_transformers_dir(given.model)), "kind": model.kind}
        ),
    }
    for name, counts in found.items():
        print(f"{name}: {counts['equal']} of {counts['utterances']} transcripts equal at batch 1 and {given.batch}")
        for pair in counts["different"]:
            print(f"  {pair['id']}\n    alone     {pair['alone']}\n    in batch  {pair['in_batch']}")
    print(f"largest difference of frames: {result['largest_frame_difference']:.1e}")
    if given.json is not None:
        given.json.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if any(counts["different"] for counts in found.values()):
        sys.exit(1)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)

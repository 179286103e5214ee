"""Compute the WER of a hypothesis file: python scripts/wer.py REF HYP. `speechxfer score` has more options."""

import sys
from pathlib import Path

from speechxfer.errors import UserError
from speechxfer.scoring import score
from speechxfer.scoring.pairing import read_pairs


def main(reference: str, hypothesis: str) -> None:
    """Print the WER and the warnings."""
    pairs = read_pairs(Path(reference), [Path(hypothesis)])[-1]
    result = score(pairs.references, pairs.hypotheses, ids=pairs.ids, speakers=pairs.speakers)
    print(result.summary(), *(f"warning: {text}" for text in (*pairs.notes, *result.warnings)), sep="\n")


if __name__ == "__main__":
    try:
        if len(sys.argv) != 3:
            raise UserError(str(__doc__))
        main(*sys.argv[1:])
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)

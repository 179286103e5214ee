"""Test whether two systems differ: python scripts/compare.py REF BEFORE AFTER. `speechxfer score` has more options."""

import sys
from pathlib import Path

from speechxfer.errors import UserError
from speechxfer.scoring import compare_scores, score
from speechxfer.scoring.pairing import read_pairs


def main(reference: str, *hypotheses: str) -> None:
    """Print the WER of both systems and their difference."""
    systems = read_pairs(Path(reference), list(map(Path, hypotheses)))[-2:]
    before, after = (score(s.references, s.hypotheses, ids=s.ids, speakers=s.speakers) for s in systems)
    print(before.summary(), after.summary(), compare_scores(before, after).summary(), sep="\n")


if __name__ == "__main__":
    try:
        if len(sys.argv) != 4:
            raise UserError(str(__doc__))
        main(*sys.argv[1:])
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)

"""The WER of a file of hypotheses: python scripts/wer.py REF HYP. For more, `speechxfer score`."""

import sys
from pathlib import Path

from speechxfer.errors import UserError
from speechxfer.scoring import score
from speechxfer.scoring.matching import read_pairs


def main() -> None:
    (pairs,) = read_pairs(Path(sys.argv[1]), [Path(sys.argv[2])])
    print(score(pairs.references, pairs.hypotheses, pairs.ids, pairs.speakers).summary())


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        main()
    except UserError as error:
        sys.exit(str(error))

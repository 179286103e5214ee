"""Do two systems differ? python scripts/compare.py REF BEFORE AFTER. For more, `speechxfer score`."""

import sys
from pathlib import Path

from speechxfer.errors import UserError
from speechxfer.scoring import compare, score
from speechxfer.scoring.matching import read_pairs


def main() -> None:
    systems = read_pairs(Path(sys.argv[1]), [Path(sys.argv[2]), Path(sys.argv[3])])
    before, after = (score(s.references, s.hypotheses, s.ids, s.speakers) for s in systems)
    print(f"{before.summary()}\n{after.summary()}\n{compare(before, after).summary()}")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    try:
        main()
    except UserError as error:
        sys.exit(str(error))

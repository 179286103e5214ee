"""Makes two trn files of random words: 10 words per utterance, about 16 % errors, 125 speakers."""

import random
from pathlib import Path


def write(folder: Path, utterances: int, seed: int = 0) -> tuple[Path, Path]:
    """Write the reference and the hypothesis line by line, and return their paths."""
    rng = random.Random(seed)
    vocabulary = [f"w{i}" for i in range(3000)]
    paths = folder / f"ref{utterances}.trn", folder / f"hyp{utterances}.trn"
    with paths[0].open("w", encoding="utf-8") as reference, paths[1].open("w", encoding="utf-8") as hypothesis:
        for i in range(utterances):
            text = rng.choices(vocabulary, k=10)
            hypothesis_words = []
            for word in text:
                kind = rng.random()
                if kind >= 0.12:
                    hypothesis_words.append(word)
                elif kind < 0.08:
                    hypothesis_words.append(rng.choice(vocabulary))
                if rng.random() < 0.04:
                    hypothesis_words.append(rng.choice(vocabulary))
            name = f"(s{i % 125:03}-{i:07})"
            reference.write(f"{' '.join(text)} {name}\n")
            hypothesis.write(f"{' '.join(hypothesis_words)} {name}\n")
    return paths

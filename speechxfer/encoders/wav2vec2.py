"""wav2vec2, and the models with its architecture: XLS-R and MMS (with or without language adapters).

The group norm of the base models has statistics over time. In a padded batch they include the padding (transformers'
issue 18501: 22.6 % WER at batch size 1, 35 % at batch size 8), so here they are computed per utterance.
"""

from __future__ import annotations

from speechxfer.encoders._wav2vec2_like import Wav2Vec2Like


class Wav2Vec2(Wav2Vec2Like):
    """Encoder of wav2vec2, XLS-R and MMS checkpoints, with group or layer norm in the feature extractor.

    Adds nothing to `Wav2Vec2Like`. Supports `do_stable_layer_norm` on and off.
    """

    family = "wav2vec2"

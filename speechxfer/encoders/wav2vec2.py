"""wav2vec2, and what has its architecture in transformers: XLS-R and MMS (with or without its language adapters).

The group norm of the base models takes its statistics over time. Over a padded batch they are another utterance's
(transformers' issue 18501: 22.6 % WER at batch 1, 35 % at batch 8), so here each utterance has its own.
"""

from __future__ import annotations

from speechxfer.encoders._wav2vec2_like import Wav2Vec2Like


class Wav2Vec2(Wav2Vec2Like):
    """The shared plan as it stands; `feat_extract_norm` group and layer, `do_stable_layer_norm` both ways."""

    family = "wav2vec2"

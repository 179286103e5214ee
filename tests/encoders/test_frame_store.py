"""The store of frozen frames: what is read is what was computed, whatever happens to the disk in between."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from forked_python import ForkServer
from safetensors.torch import load_file

from speechxfer.encoders import frame_store
from speechxfer.encoders.frame_store import (
    FrameStore,
    clear_stores,
    fingerprint_encoder,
    list_stores,
    make_utterance_key,
)
from speechxfer.encoders.whisper import WhisperEncoderWrapper
from speechxfer.errors import UserError
from speechxfer.shapes import Hidden


@pytest.fixture
def encoder(tiny_whisper: Path) -> WhisperEncoderWrapper:
    from transformers import WhisperFeatureExtractor, WhisperModel

    network = WhisperModel.from_pretrained(tiny_whisper).eval()
    return WhisperEncoderWrapper(network.encoder, WhisperFeatureExtractor.from_pretrained(tiny_whisper))


@pytest.fixture
def store(encoder: WhisperEncoderWrapper, tmp_path: Path) -> Any:
    """store(layer=1, **options): one in tmp_path."""
    return lambda layer=1, **options: FrameStore(encoder, layer, root=tmp_path, name="tiny", **options)


def states(*lengths: int, seed: int = 0) -> Hidden:
    generator = torch.Generator().manual_seed(seed)
    return Hidden(torch.randn(len(lengths), max(lengths), 4, generator=generator), torch.tensor(lengths), 1)


def waveforms(*samples: int) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.standard_normal(count).astype(np.float32) * 0.1 for count in samples]


@pytest.mark.parametrize("layer", [-1, 0, 1, 2])
@torch.no_grad()
def test_frames_from_the_store_are_the_encoders_own(encoder: WhisperEncoderWrapper, store: Any, layer: int) -> None:
    heard = waveforms(4_000, 20_000, 9_000)
    written = store(layer)
    written.add(["a", "b", "c"], encoder.forward_to(encoder.prepare(heard), layer))
    written.flush()
    read = store(layer).get(["c", "a"])  # another process would read the same folder
    assert read.layer == layer
    above = encoder.forward_from(read)
    for row, wave in enumerate((heard[2], heard[0])):
        alone = encoder(encoder.prepare([wave]))
        length = int(alone.lengths[0])
        assert int(above.lengths[row]) == length
        assert float((above.states[row, :length] - alone.states[0]).abs().max()) < 1e-4


def test_states_come_back_bit_equal_and_padding_is_zero(store: Any) -> None:
    hidden = states(3, 7)
    written = store()
    written.add(["a", "b"], hidden)
    for step in ("waiting to be written", "written"):
        read = (written if step == "waiting to be written" else store()).get(["b", "a"])
        assert read.states[0].equal(hidden.states[1])
        assert read.states[1, :3].equal(hidden.states[0, :3]) and not read.states[1, 3:].any()
        assert read.lengths.tolist() == [7, 3]
        written.flush()


def test_half_precision_is_rounded_once(store: Any) -> None:
    hidden = states(5)
    half = store(dtype=torch.float16)
    half.add(["a"], hidden)
    half.flush()
    assert half.get(["a"]).states.equal(hidden.states.half().float())
    assert half.path != store().path


def test_only_what_is_not_held_is_missing(store: Any) -> None:
    one = store()
    one.add(["a"], states(2))
    assert one.find_missing(["b", "a", "c", "b"]) == ["b", "c"]
    assert store().find_missing(["a"]) == ["a"]  # an interrupted run leaves what it flushed
    one.flush()
    assert store().find_missing(["a", "b"]) == ["b"]
    with pytest.raises(KeyError):
        one.get(["b"])


def test_a_damaged_or_half_written_shard_is_encoded_again(store: Any) -> None:
    one = store()
    one.add(["a"], states(2))
    one.flush()
    one.add(["b"], states(3))
    one.flush()
    first = one._shard_of["a"]
    content = bytearray(first.read_bytes())
    content[-1] ^= 1  # one bit of one number
    first.write_bytes(content)
    (one.path / "tmpx.part").write_bytes(b"half")
    again = store()
    assert again.find_missing(["a", "b"]) == ["a"]
    assert not first.exists()
    again.add(["a"], states(2))
    again.flush()
    assert store().find_missing(["a", "b"]) == []


def test_two_processes_that_keep_the_same_do_no_harm(store: Any) -> None:
    one, two = store(), store()
    for other in (one, two):
        other.add(["a", "b"], states(2, 3))
        other.flush()
    assert len(list(one.path.glob("*.safetensors"))) == 1  # the same content has the same name
    assert store().get(["b"]).states.equal(states(2, 3).states[1:])


KEEPING = """
import sys
from pathlib import Path

import torch

from speechxfer.encoders import frame_store
from speechxfer.shapes import Hidden

frame_store.fingerprint_encoder = lambda *_: sys.argv[2]  # as many checkpoints as processes
encoder = type("Encoder", (), {"family": "made up"})()
store = frame_store.FrameStore(encoder, 1, root=Path(sys.argv[1]), max_bytes=4_000)
for number in range(200):
    name = f"{sys.argv[3]}-{number}"
    store.add([name], Hidden(torch.full((1, 10, 4), float(number)), torch.tensor([10]), 1))
    store.flush()
    store.refresh()
    try:
        assert store.get([name]).states.eq(number).all()
    except KeyError:
        pass  # the other has made room
"""


@pytest.mark.parametrize("stores", ["one", "two"])
def test_processes_at_once_that_make_room_do_each_other_no_harm(
    tmp_path: Path, stores: str, fork_server: ForkServer
) -> None:
    """Four thousand bytes hold a few shards of one store, so that every write removes what another may be reading."""
    names = ["0" * 32, "0" * 32 if stores == "one" else "1" * 32]
    started = [fork_server.start("-c", KEEPING, tmp_path, name, number) for number, name in enumerate(names)]
    for process in started:
        assert process.wait() == 0, process.errors
    held = [shard for shard in tmp_path.rglob("*.safetensors") if load_file(shard)]  # each whole
    assert 0 < sum(shard.stat().st_size for shard in held) <= 2 * 4_000
    assert not list(tmp_path.rglob("*.part"))


def test_a_shard_that_cannot_be_read_is_not_removed(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be another user's, in a folder that a group shares."""
    one = store()
    one.add(["a"], states(2))
    one.flush()
    (shard,) = one.path.glob("*.safetensors")
    assert shard.stat().st_mode == (one.path / "about.json").stat().st_mode  # as the user's umask has it
    with monkeypatch.context() as refusing:
        refusing.setattr(Path, "read_bytes", lambda _: (_ for _ in ()).throw(PermissionError("not yours")))
        assert store().find_missing(["a"]) == ["a"]
    assert shard.is_file() and store().find_missing(["a"]) == []


def test_the_fingerprint_covers_what_lies_below_and_nothing_above(encoder: WhisperEncoderWrapper) -> None:
    def now(layer: int = 1) -> str:
        return fingerprint_encoder(encoder, layer, torch.float32)

    before = now()
    assert now(0) != before != now(2)
    with torch.no_grad():
        encoder.layers[1].fc1.weight += 1
    assert now() == before  # layer 1 is above the split
    with torch.no_grad():
        encoder.layers[0].fc1.weight[0, 0] += 1
    changed = now()
    assert changed != before
    encoder.pad_to_30s = True
    assert now() not in (before, changed)


@pytest.mark.parametrize(
    "other", [(b"b", None, None, ""), (b"a", 0.5, None, ""), (b"a", None, 0.5, ""), (b"a", None, None, "speed 0.9")]
)
def test_an_utterance_is_its_audio_its_cut_and_its_augmentation(other: tuple) -> None:
    assert (
        make_utterance_key(*other) != make_utterance_key(b"a", None, None, "") == make_utterance_key(b"a", None, None)
    )


def test_the_least_recently_used_stores_make_room(store: Any, tmp_path: Path) -> None:
    sizes = {}
    for layer, used in ((0, 100), (2, 200), (-1, 300)):
        one = store(layer)
        one.add(["a"], states(1_000))
        one.flush()
        os.utime(one.path / "used", (used, used))
        sizes[layer] = sum(file.stat().st_size for file in one.path.glob("*.safetensors"))
    size = max(sizes.values())
    new = store(1, max_bytes=3.5 * size)
    new.add(["a"], states(1_000))
    new.flush()
    left = {found.path for found in list_stores(tmp_path)}
    assert left == {new.path, store(2).path, store(-1).path}  # layer 0 was used longest ago
    assert new.removed == [store(0).path.name]
    with pytest.raises(UserError, match=r"more than the 0\.001 GB allowed") as caught:
        small = store(0, max_bytes=1e6)
        small.add(["a"], Hidden(torch.zeros(1, 100_000, 4), torch.tensor([100_000]), 1))
        small.flush()
    assert caught.value.where == "cache.max_gb"


def test_what_a_run_does_not_need_of_its_own_store_makes_room(store: Any) -> None:
    """Another seed's copies lie in the same store."""
    one = store(1, max_bytes=3.5 * 1_000 * 4 * 4)
    one.protected_keys = {"a", "d"}
    for place, key in enumerate("abcd"):
        one.add([key], states(1_000, seed=place))
        one.flush()
        if key != "d":
            os.utime(one._shard_of[key], (100 + place, 100 + place))
    assert one.find_missing("abcd") == ["b"]  # the oldest but for what is needed
    assert store().find_missing("abcd") == ["b"]
    assert one.get(["a", "d"]).states[1].equal(states(1_000, seed=3).states[0])


def test_a_shard_is_written_when_it_is_full(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_store, "SHARD_BYTES", 100 * 4 * 4)
    one = store()
    one.add(["a"], states(60))
    assert store().find_missing(["a"]) == ["a"]
    one.add(["b"], states(60))
    assert store().find_missing(["a", "b"]) == []


def test_a_full_disk_is_one_message(store: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    one = store()
    one.add(["a"], states(2))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(frame_store.Path, "write_bytes", full)
    with pytest.raises(UserError, match=r"cannot be written .*No space left") as caught:
        one.flush()
    assert caught.value.where == str(tmp_path)
    assert not list(one.path.glob("*.safetensors"))


def test_what_is_kept_can_be_listed_and_cleared(store: Any, tmp_path: Path) -> None:
    one = store()
    one.add(["a", "b"], states(2, 3))
    one.flush()
    (found,) = list_stores(tmp_path)
    assert (found.path, found.utterances) == (one.path, 2)
    assert found.megabytes > 0 and (found.encoder, found.layer, found.dtype) == ("whisper tiny", 1, "float32")
    other = store(2)
    other.add(["a"], states(2))
    other.flush()
    assert clear_stores(tmp_path, "nothing") == [] and len(list_stores(tmp_path)) == 2
    assert [gone.path for gone in clear_stores(tmp_path, other.path.name[:8])] == [other.path]
    assert clear_stores(tmp_path) == [found]
    assert list_stores(tmp_path) == [] == list_stores(tmp_path / "nothing")


def test_nothing_is_written_before_there_are_frames(store: Any, tmp_path: Path) -> None:
    assert store().find_missing(["a"]) == ["a"]
    assert not list(tmp_path.iterdir())


def test_what_another_process_removes_is_missing(store: Any) -> None:
    one = store()
    one.add(["a"], states(2))
    one.flush()
    assert len(clear_stores(one.root)) == 1
    with pytest.raises(KeyError):
        one.get(["a"])
    assert one.find_missing(["a"]) == ["a"]
    one.add(["a"], states(2))
    one.flush()
    assert store().find_missing(["a"]) == []


def test_what_is_held_outlives_another_process_s_making_room(store: Any) -> None:
    one = store()
    one.add(["a", "b"], states(2, 3))
    one.flush()
    one.add(["c"], states(4))
    truth = {key: one.read(key).clone() for key in "abc"}
    held = store()
    held.add(["c"], states(4))
    assert held.pin(["a", "b", "c"]) and not held.pin(["a", "d"])
    clear_stores(one.root)
    assert all(held.read(key).equal(truth[key]) for key in "abc")
    assert not store().pin(["a"])
    gone = store()
    gone._shard_of["a"] = one.path / "0.safetensors"
    assert not gone.pin(["a"])


def test_what_another_process_adds_is_found(store: Any) -> None:
    one, two = store(), store()
    two.add(["a"], states(2))
    two.flush()
    assert one.find_missing(["a"]) == ["a"]
    one.refresh()
    assert one.find_missing(["a"]) == []


def test_scratch_that_a_stopped_process_left_is_removed(store: Any) -> None:
    one = store()
    one.add(["a"], states(2))
    one.flush()
    old, new = one.path / "old.part", one.path / "new.part"
    for scratch in (old, new):
        scratch.write_bytes(b"half")
    os.utime(old, (100, 100))
    store()
    assert not old.exists() and new.exists()


def test_states_too_large_for_half_precision_are_refused(store: Any) -> None:
    huge = Hidden(torch.full((1, 2, 4), 70_000.0), torch.tensor([2]), 1)
    with pytest.raises(UserError, match="too large for float16"):
        store(dtype=torch.float16).add(["a"], huge)
    store().add(["a"], huge)


def test_the_fingerprint_knows_what_no_weight_tells(encoder: WhisperEncoderWrapper) -> None:
    before = fingerprint_encoder(encoder, 1, torch.float32)
    config = encoder.module.config
    config.vocab_size, config.dropout = config.vocab_size + 1, 0.3  # folds have other vocabularies
    assert fingerprint_encoder(encoder, 1, torch.float32) == before
    for change in (
        lambda: setattr(config, "encoder_attention_heads", 4),
        lambda: setattr(encoder, "pad_silence", 0.5),
        lambda: setattr(encoder.extractor, "n_fft", 512),
    ):
        change()
        after = fingerprint_encoder(encoder, 1, torch.float32)
        assert after != before
        before = after


def test_a_user_s_own_folders_beside_the_stores_are_neither_listed_nor_removed(
    encoder: WhisperEncoderWrapper, tmp_path: Path
) -> None:
    root = tmp_path / "home"
    for name, file in (("Documents", "thesis.txt"), ("0" * 32, "notes.txt"), (".ssh", "key")):
        (root / name).mkdir(parents=True)
        (root / name / file).write_text("mine")
    (tmp_path / "elsewhere").mkdir()
    (root / ("1" * 32)).symlink_to(tmp_path / "elsewhere")
    before = sorted(root.rglob("*"))
    assert list_stores(root) == [] and clear_stores(root) == [] and sorted(root.rglob("*")) == before
    # nor do they make room, though they were never used
    own = FrameStore(encoder, 1, root=root, max_bytes=20)
    own.add(["a"], states(1))
    own.flush()
    assert set(before) < set(root.rglob("*")) and own.removed == []

"""Frozen frames from the store train what encoding anew trains; interruptions, damage and full disks lose nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from speechxfer.adaptation.cache.feature_cache import (
    CachedDataset,
    cache_eval_features,
    cache_features,
    count_augmented_copies,
    estimate_cache,
)
from speechxfer.adaptation.run import adapt
from speechxfer.adaptation.run_dir import RunDir
from speechxfer.adaptation.training import batching
from speechxfer.adaptation.training.batching import TrainingDataset
from speechxfer.adaptation.training.context import StageContext
from speechxfer.adaptation.training.staged_module import StagedModule
from speechxfer.adaptation.training.trainer import train_stage
from speechxfer.config import Recipe, load_recipe
from speechxfer.data import audio
from speechxfer.data.augment import WaveformAugmenter
from speechxfer.data.reader import read
from speechxfer.encoders import frame_store
from speechxfer.encoders.frame_store import clear_stores, list_stores
from speechxfer.errors import UserError
from speechxfer.models import build_trainable
from speechxfer.report.progress import Reporter

AUGMENT = {"speed": [0.9, 1.0, 1.1], "noise": 0.5, "gain": 6.0, "room": 0.3, "time_masks": 1, "freq_masks": 1}
TEXTS = ["one", "two", "six"]


class Setting:
    """A recipe's first stage, begun, on nine utterances of 0.4 to 0.9 s."""

    def __init__(
        self, values: dict[str, Any], table: Path, overrides: tuple[str, ...], order: list[int] | None
    ) -> None:
        self.recipe: Recipe = load_recipe(values, overrides)
        torch.manual_seed(0)
        self.model = build_trainable(self.recipe, TEXTS)
        self.staged_module = StagedModule(self.model, self.recipe.augment)
        self.stage = self.recipe.stages[0]
        self.staged_module.apply_stage(self.stage)
        rows = read(table)
        self.rows = rows.select(order if order is not None else range(9))
        self.seconds = [audio.measure_duration(row) for row in self.rows]
        targets = [self.model.encode_target(text) for text in self.rows["text"]]
        augment = WaveformAugmenter(self.recipe.augment, max_samples=self.model.encoder.max_samples)
        copies = count_augmented_copies(self.recipe.cache, self.staged_module.split)
        self.utterances = TrainingDataset(self.rows, targets, augment, self.recipe.seed, copies)

    def context(self, reporter: Any = None, run_dir: RunDir | None = None) -> StageContext:
        return StageContext(
            0, self.stage, self.staged_module, self.utterances, self.seconds, self.recipe, reporter, run_dir
        )

    @property
    def expected(self):
        return estimate_cache(self.context())

    def kept(self, narrator: Any) -> TrainingDataset | CachedDataset:
        return cache_features(self.context(narrator))

    def losses(self, utterances: Any, folder: Path, meanwhile: Callable[[], Any] = lambda: None) -> list[float]:
        """The loss of every step of the stage."""
        found: list[float] = []
        whole = self.staged_module.forward

        def forward(**inputs: Any) -> Any:
            made = whole(**inputs)
            found.append(float(made["loss"].detach()))
            return made

        def measure() -> float:
            meanwhile()
            return 1 / len(found)

        self.staged_module.forward = forward  # type: ignore[method-assign]
        train_stage(self.context(Reporter(quiet=True), RunDir(folder)), utterances, measure=measure)
        return found


@pytest.fixture(autouse=True)
def frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPEECHXFER_FRAMES", str(tmp_path / "frames"))
    return tmp_path / "frames"


@pytest.fixture
def make(tiny_whisper: Path, make_encoder: Callable[..., Path], corpus_table: Path) -> Callable[..., Setting]:
    """make("whisper", "stages.0.epochs=4", ...): three epochs of a CTC head, two copies, the frames always kept."""

    def build(family: str = "whisper", *overrides: str, order: list[int] | None = None, **values: Any) -> Setting:
        checkpoint = tiny_whisper if family == "whisper" else make_encoder(family)
        stage = {"train": "head", "epochs": 3, "lr": 1e-2, "batch_seconds": 2}
        given = {
            "encoder": {"name": str(checkpoint)},
            "head": {"kind": "ctc"},
            "stages": [stage],
            "cache": {"use": "always", "copies": 2},
            "augment": AUGMENT,
            "device": "cpu",
            "precision": "float32",
        }
        return Setting(given | values, corpus_table, overrides, order)

    return build


@pytest.mark.parametrize(
    ("family", "overrides"),
    [
        ("whisper", ("stages.0.train=[head, top-1]", "augment.pad_to_30s=0.3")),
        ("whisper", ("stages.0.train=all", "cache.features=true", "encoder.pad_silence=0.1")),
        ("whisper", ("head.kind=seq2seq",)),
        ("wav2vec2", ("stages.0.train=[head, top-1]",)),
        ("wav2vec2", ("stages.0.train=all", "cache.features=true")),
        ("hubert", ()),
        ("wavlm", ("stages.0.train=[head, top-1]",)),
        ("data2vec", ()),
        ("conformer", ("stages.0.train=[head, top-1]",)),
        ("bert", ("stages.0.train=[head, top-1]",)),
    ],
)
def test_the_same_loss_step_by_step(make, recording_reporter, tmp_path, family, overrides):
    """Four epochs over two augmented copies, masks, dropout and accumulated batches in every one."""
    given = ("stages.0.epochs=4", "stages.0.gradient_accumulation=2", *overrides)
    cached = make(family, *given)
    utterances = cached.kept(recording_reporter())
    assert isinstance(utterances, CachedDataset)
    found = cached.losses(utterances, tmp_path / "cached")
    never = make(family, *given, "cache.use=never")
    anew = never.kept(recording_reporter())
    assert anew is never.utterances
    truth = never.losses(anew, tmp_path / "anew")
    assert len(found) == len(truth) >= 16
    assert found == pytest.approx(truth, rel=1e-5, abs=1e-5)
    assert len({*truth}) == len(truth)


def test_epochs_read_and_do_not_encode(make, recording_reporter, tmp_path, monkeypatch):
    setting = make()
    encoder, calls = setting.model.encoder, []
    whole = encoder.forward_to
    monkeypatch.setattr(
        encoder, "forward_to", lambda inputs, layer: calls.append(len(inputs.lengths)) or whole(inputs, layer)
    )
    utterances = setting.kept(recording_reporter())
    assert sum(calls) == 1 + 2 * 9  # the probe, and two copies
    calls.clear()
    setting.losses(utterances, tmp_path)
    assert calls == []


def test_a_file_that_has_changed_is_encoded_again_and_no_other(make, recording_reporter, tmp_path, monkeypatch):
    """The paths and the table are as they were; of nine utterances one was recorded anew."""
    setting = make()
    moved = tmp_path / "audio"
    moved.mkdir()
    for row in setting.rows:
        (moved / Path(row["path"]).name).write_bytes(Path(row["path"]).read_bytes())
    paths = [str(moved / Path(path).name) for path in setting.rows["path"]]
    rows = setting.rows.remove_columns("path").add_column("path", paths)

    def encoded() -> int:
        again = make()
        again.utterances = TrainingDataset(
            rows, again.utterances.targets, again.utterances.augment, again.recipe.seed, again.utterances.copies
        )
        with monkeypatch.context() as counting:
            counting.setattr(frame_store.FrameStore, "add", _counting(counts := [], frame_store.FrameStore.add))
            again.kept(recording_reporter())
        return sum(counts)

    assert encoded() == 18  # two copies of each
    assert encoded() == 0
    content = Path(paths[4]).read_bytes()
    Path(paths[4]).write_bytes(content[:-2] + b"\x01\x02")
    assert encoded() == 2


def _counting(counts: list[int], add: Callable[..., None]) -> Callable[..., None]:
    """`FrameStore.add`, which notes how many states it was given."""

    def counted(store: Any, keys: Any, hidden: Any) -> None:
        counts.append(len(keys))
        add(store, keys, hidden)

    return counted


def test_the_size_is_told_and_is_right(make, recording_reporter, frames):
    for dtype, width in (("float32", 4), ("float16", 2)):
        narrator = recording_reporter()
        setting = make("whisper", f"cache.dtype={dtype}", "stages.0.epochs=2")
        assert isinstance(setting.kept(narrator), CachedDataset)
        (store,) = [one for one in list_stores() if one.dtype == dtype]
        assert store.utterances == 2 * 9 and store.layer == 2
        assert setting.expected.megabytes == pytest.approx(store.megabytes, rel=0.12)
        assert store.megabytes > 2 * 25 * sum(setting.seconds) * 32 * width / 1e6  # half of 50 frames a second
        assert narrator.logged("frozen features: encoding 18 utterances, about ") and narrator.logged(str(store.path))


def test_another_fold_finds_what_it_shares(make, recording_reporter):
    make().kept(recording_reporter())
    narrator = recording_reporter()
    fold = make(order=[7, 2, 5, 0])  # other rows, the same utterances
    assert isinstance(fold.kept(narrator), CachedDataset)
    assert narrator.logged("frozen features: cached in")
    other = make("whisper", "seed=1")
    other.kept(narrator)  # other copies
    assert narrator.logged("frozen features: encoding 18 utterances")
    plain = [make("whisper", f"seed={seed}", augment={}) for seed in (0, 1)]
    narrator = recording_reporter()
    assert [isinstance(one.kept(narrator), CachedDataset) for one in plain] == [True, True]
    assert narrator.logged("frozen features: encoding 9 utterances") and narrator.logged("frozen features: cached in")


@pytest.mark.parametrize(
    ("overrides", "pays"),
    [
        (("stages.0.epochs=3", "augment.speed=[]", "augment.noise=0", "augment.gain=0", "augment.room=0"), True),
        (("stages.0.epochs=1", "augment.speed=[]", "augment.noise=0", "augment.gain=0", "augment.room=0"), False),
        (("stages.0.epochs=3", "cache.copies=2"), True),
        (("stages.0.epochs=3", "cache.copies=4"), False),  # each copy would be read once
        (("stages.0.epochs=9", "stages.0.train=all"), False),  # nothing is frozen but the convolutions
        (("stages.0.epochs=9", "stages.0.train=all", "cache.features=true"), True),
    ],
)
def test_auto_keeps_where_it_pays(make, recording_reporter, frames, overrides, pays):
    setting = make("whisper", "cache.use=auto", *overrides)
    assert isinstance(setting.kept(recording_reporter()), CachedDataset) is pays
    assert frames.exists() is pays


def test_frames_too_large_are_not_begun(make, recording_reporter, frames):
    narrator = recording_reporter()
    setting = make("whisper", "cache.use=auto", "cache.max_gb=1e-5")
    assert setting.kept(narrator) is setting.utterances
    assert narrator.logged("training without cached features") and narrator.logged("cache.max_gb")
    with pytest.raises(UserError, match="1e-05 GB are allowed"):
        make("whisper", "cache.max_gb=1e-5").kept(recording_reporter())
    assert not frames.exists()


@pytest.mark.parametrize("use", ["auto", "always"])
def test_a_disk_without_room_is_seen_beforehand(make, recording_reporter, frames, monkeypatch, use):
    monkeypatch.setattr(
        "speechxfer.adaptation.cache.feature_cache.shutil.disk_usage", lambda _: type("Usage", (), {"free": 1e6})()
    )
    setting, narrator = make("whisper", f"cache.use={use}"), recording_reporter()
    if use == "auto":
        assert setting.kept(narrator) is setting.utterances
        assert narrator.logged("1 MB are free")
    else:
        with pytest.raises(UserError, match="1 MB are free"):
            setting.kept(narrator)
    assert not frames.exists()


def test_an_encoding_that_is_interrupted_goes_on(make, recording_reporter, frames, monkeypatch, tmp_path):
    """Each state is bit-equal to that of an encoding that nothing interrupted: no batch is composed in another way."""
    batches = ("decoding.batch_seconds=2",)

    def states(utterances: CachedDataset) -> dict[str, torch.Tensor]:
        keys = [utterances.dataset.cache_key(row, copy) for copy in (0, 1) for row in range(9)]
        return {key: utterances.store.read(key) for key in keys}

    truth = states(make("whisper", *batches).kept(recording_reporter()))
    clear_stores()
    monkeypatch.setattr(frame_store, "SHARD_BYTES", 1)  # a shard a batch

    def stop() -> None:
        raise KeyboardInterrupt

    one = make("whisper", *batches)
    steps: list[int] = []
    narrator = recording_reporter()
    with pytest.raises(KeyboardInterrupt):
        narrator.act = {(f"{one.context().title}, encoding", done): stop for done in range(5, 19)}
        one.kept(narrator)
    (left,) = list_stores()
    assert 5 <= left.utterances < 18
    narrator = recording_reporter()
    resumed = make("whisper", *batches).kept(narrator)
    assert narrator.logged(f"frozen features: encoding {18 - left.utterances} utterances")
    found = states(resumed)
    assert found.keys() == truth.keys() and all(found[key].equal(truth[key]) for key in truth)
    del steps
    # a shard that is damaged later is encoded again, to the same numbers
    shard = sorted(left.path.glob("*.safetensors"))[0]
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    again = states(make("whisper", *batches).kept(recording_reporter()))
    assert all(again[key].equal(truth[key]) for key in truth)


def test_batches_prepared_by_other_processes_are_the_same(make, recording_reporter, monkeypatch):
    def states() -> list[torch.Tensor]:
        kept = make("whisper", "decoding.batch_seconds=2").kept(recording_reporter())
        return [kept.store.read(kept.dataset.cache_key(row, copy)) for copy in (0, 1) for row in range(9)]

    truth = states()
    clear_stores()
    here: list[int] = []  # what a forked process adds stays with it
    waveform = TrainingDataset.load_waveform
    monkeypatch.setattr(TrainingDataset, "load_waveform", lambda *given: here.append(1) or waveform(*given))
    monkeypatch.setattr(batching, "count_loader_workers", lambda device: 2)
    found = states()
    assert not here
    assert all(one.equal(other) for one, other in zip(found, truth, strict=True))


def test_a_disk_that_fills_while_encoding(make, recording_reporter, frames, monkeypatch, tmp_path):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(frame_store.Path, "write_bytes", full)
    with pytest.raises(UserError, match="No space left"):
        make().kept(recording_reporter())
    narrator = recording_reporter()
    setting = make("whisper", "cache.use=auto")
    assert setting.kept(narrator) is setting.utterances
    assert sum("No space left" in line for line in narrator.lines) == 1
    assert list_stores() == []  # nothing that checkpoints would lack


def test_a_store_that_another_process_removes_is_done_without(make, recording_reporter, tmp_path):
    setting = make()
    found = setting.losses(setting.kept(recording_reporter()), tmp_path / "removed", meanwhile=clear_stores)
    never = make("whisper", "cache.use=never")
    assert found == pytest.approx(never.losses(never.utterances, tmp_path / "never"), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("family", ["whisper", "wavlm"])
def test_dev_is_heard_once_a_stage(make, recording_reporter, make_speech, monkeypatch, family):
    waves = [make_speech("one", 0, 0.5), make_speech("two", 1, 0.8)]
    calls: list[int] = []

    def listen(changed: float, times: int) -> None:
        """Frames of a stage whose layers below differ by `changed`, with the store and without it."""
        setting = make(family, "stages.0.train=[head, top-1]")
        model = setting.model
        with torch.no_grad():
            next(model.encoder.layers[0].parameters()).add_(changed)
        truth = model.infer(waves, lambda frames: frames.states)
        utterances, whole = setting.kept(recording_reporter()), model.encoder.forward_to
        monkeypatch.setattr(model.encoder, "forward_to", lambda *given: calls.append(1) or whole(*given))
        for _ in range(times):
            with cache_eval_features(model, utterances):
                found = model.infer(waves, lambda frames: frames.states)
            torch.testing.assert_close(found, truth, atol=1e-5, rtol=1e-5)
        assert model.frame_source is None

    listen(0.0, times=3)
    assert len(calls) == 1
    listen(0.0, times=1)
    assert len(calls) == 1
    listen(0.5, times=1)
    assert len(calls) == 2


def test_dev_is_not_measured_through_rounded_states(make, recording_reporter):
    half = make("whisper", "cache.dtype=float16")
    with cache_eval_features(half.model, half.kept(recording_reporter())):
        assert half.model.frame_source is None


def test_stages_of_other_splits_have_other_stores(make_small_recipe, quiet, frames, weights_of):
    stages = "[{train: head, epochs: 2, lr: 1e-3}, {train: [head, top-1], epochs: 2, lr: 1e-3}, "
    stages += "{train: all, epochs: 1, lr: 1e-3}]"
    run = adapt(make_small_recipe(f"stages={stages}"), reporter=quiet)
    assert [stage["cached"] for stage in run.report.to_json()["stages"]] == [True, True, False]
    assert sorted(store.layer for store in list_stores()) == [1, 2]
    assert all(stage["encoding_seconds"] <= stage["seconds"] for stage in run.report.to_json()["stages"])


@pytest.mark.parametrize("family", ["whisper", "wav2vec2", "conformer"])
def test_in_bfloat16_too(make, recording_reporter, tmp_path, family):
    """Arithmetic of eight bits above frames that are kept, or made again, in float32; the weights stay float32."""
    given = ("stages.0.train=[head, top-1]", "stages.0.epochs=4", "precision=bfloat16")
    cached = make(family, *given)
    found = cached.losses(cached.kept(recording_reporter()), tmp_path / "cached")
    never = make(family, *given, "cache.use=never")
    truth = never.losses(never.kept(recording_reporter()), tmp_path / "anew")
    assert found == pytest.approx(truth, rel=0.02)
    single = make(family, *given[:-1], "precision=float32")
    precise = single.losses(single.kept(recording_reporter()), tmp_path / "single")
    assert truth == pytest.approx(precise, rel=0.05) and truth != precise
    assert {parameter.dtype for parameter in never.model.network.parameters()} == {torch.float32}

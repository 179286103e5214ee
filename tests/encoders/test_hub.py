"""What is downloaded from the hub: safetensors, else those of the conversion pull request, else the .bin file."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from speechxfer.encoders import hub
from speechxfer.encoders.checkpoints import fetch_language_adapter, resolve_transformers_dir

MAIN, CONVERTED = "a" * 40, "b" * 40


class FakeHub:
    """A repository with a commit on main and a pull request; downloads copy the files that match the patterns."""

    def __init__(self, home: Path) -> None:
        self.home, self.asked = home, []
        self.pull_request: SimpleNamespace | None = None
        self.searches = 0
        (home / "origin" / MAIN).mkdir(parents=True)

    def commit(self, name: str) -> Path:
        return self.home / "origin" / name

    def snapshot_download(self, repository, *, allow_patterns, revision=None):
        commit = {None: MAIN, "refs/pr/7": CONVERTED}.get(revision, revision)
        self.asked.append((revision, allow_patterns))
        target = self.home / "models--owner--name" / "snapshots" / commit
        for path in sorted(self.commit(commit).rglob("*")):
            inside = path.relative_to(self.commit(commit))
            if path.is_file() and any(inside.match(pattern) for pattern in allow_patterns):
                (target / inside).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target / inside)
        return str(target)

    def previous_pr(self, api, repository, title, token):
        assert (repository, title) == ("owner/name", "Adding `safetensors` variant of this model")
        self.searches += 1
        if isinstance(self.pull_request, Exception):
            raise self.pull_request
        return self.pull_request


@pytest.fixture
def fake(tmp_path, monkeypatch, make_encoder) -> FakeHub:
    """A hub whose main branch has a .bin file only, and whose pull request has the same model as safetensors."""
    found = FakeHub(tmp_path)
    folder = make_encoder("wav2vec2", words="one two six")
    shutil.copytree(folder, found.commit(CONVERTED))
    shutil.copytree(folder, found.commit(MAIN), ignore=shutil.ignore_patterns("*.safetensors"), dirs_exist_ok=True)
    torch.save(load_file(folder / "model.safetensors"), found.commit(MAIN) / "pytorch_model.bin")
    (found.commit(MAIN) / "training_args.bin").write_bytes(b"a pickle")
    monkeypatch.setattr(hub.huggingface_hub, "snapshot_download", found.snapshot_download)
    monkeypatch.setattr(hub, "previous_pr", found.previous_pr)
    monkeypatch.setenv("SPEECHXFER_CACHE", str(tmp_path / "cache"))
    return found


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_safetensors_on_main_are_all_that_is_asked_for(fake):
    shutil.copy(fake.commit(CONVERTED) / "model.safetensors", fake.commit(MAIN))
    folder = resolve_transformers_dir("hub:owner/name")
    assert folder.name == MAIN and "model.safetensors" in names_in(folder)
    assert not {"pytorch_model.bin", "training_args.bin"} & names_in(folder)
    assert len(fake.asked) == 1 and not fake.searches


def test_the_conversion_pull_request_is_used(fake):
    fake.pull_request = SimpleNamespace(num=7, author="SFconvertbot")
    folder = resolve_transformers_dir("hub:owner/name")
    assert folder.name == CONVERTED and "model.safetensors" in names_in(folder)
    assert [revision for revision, _ in fake.asked] == [None, "refs/pr/7"]
    assert not list(folder.parents[1].rglob("*.bin"))


def test_the_pull_request_is_looked_for_once(fake):
    """So the next run needs no network, if the hub's files are in its cache."""
    fake.pull_request = SimpleNamespace(num=7, author="SFconvertbot")
    first = resolve_transformers_dir("hub:owner/name")
    fake.pull_request = ConnectionError("no network")
    assert resolve_transformers_dir("hub:owner/name") == first
    assert fake.searches == 1


@pytest.mark.parametrize(
    "pull_request",
    [None, SimpleNamespace(num=7, author="somebody"), ConnectionError("no network"), hub.httpx.ConnectError("refused")],
)
def test_else_the_bin_file_is_read(fake, pull_request):
    """A pull request of that title by anybody but the hub's bot may hold any weights."""
    fake.pull_request = pull_request
    folder = resolve_transformers_dir("hub:owner/name")
    assert folder.name == MAIN and "pytorch_model.bin" in names_in(folder)
    assert "training_args.bin" not in names_in(folder)
    assert not (fake.home / "cache").exists()


def test_a_ctranslate2_repository_is_a_model(fake, ctranslate2_folder):
    shutil.rmtree(fake.commit(MAIN))
    shutil.copytree(ctranslate2_folder(), fake.commit(MAIN))
    folder = resolve_transformers_dir("hub:owner/name")
    assert folder.parent == fake.home / "cache" / "models" and "model.safetensors" in names_in(folder)


def test_a_language_adapter_is_downloaded_alone(fake):
    """MMS has an adapter of 9 MB for each of more than a thousand languages."""
    shutil.copy(fake.commit(CONVERTED) / "model.safetensors", fake.commit(MAIN))
    for name in ("adapter.deu.safetensors", "adapter.deu.bin", "adapter.fra.safetensors", "adapter.ita.bin"):
        (fake.commit(MAIN) / name).write_bytes(b"weights")
    folder = resolve_transformers_dir("hub:owner/name")
    assert not [name for name in names_in(folder) if name.startswith("adapter.")]
    fetch_language_adapter("hub:owner/name", folder, "deu")
    fetch_language_adapter("hub:owner/name", folder, "ita")
    fetch_language_adapter("hub:owner/name", folder, "xyz")
    assert {name for name in names_in(folder) if name.startswith("adapter.")} == {
        "adapter.deu.safetensors",
        "adapter.ita.bin",
    }
    fetch_language_adapter(folder, folder, "fra")
    assert "adapter.fra.safetensors" not in names_in(folder)  # a folder on disk is as it is

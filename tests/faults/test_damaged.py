"""A file of the stage store that is not what was written is noticed, made again, and never used."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from fitting import fit

from atso_bench.benchmark.store import packs, stages
from atso_bench.benchmark.store.packs import DamagedError, PseudoLabels, read_label
from atso_bench.benchmark.store.record import Phase
from atso_bench.benchmark.store.stages import Stages
from atso_bench.benchmark.training import loop

DAMAGES = {
    "truncated": lambda content: content[: len(content) // 2],
    "flipped": lambda content: flipped(content, len(content) // 2),
    "empty": lambda content: b"",
}
FILES = {
    "weights": "model.pt",
    "facts of a training": "phase.json",
    "facts of a labelling": "phase.json",
    "manifest": "labels.json",
    "labels": "labels.pack",
}


def flipped(content, place):
    """The content with one bit of one of its bytes flipped."""
    return content[:place] + bytes([content[place] ^ (1 << place % 8)]) + content[place + 1 :]


def damage(file, how):
    content = file.read_bytes()
    if how == "flipped" and file.suffix == ".pt":  # the middle of the file may be padding between tensors
        with zipfile.ZipFile(file) as archive:
            tensor = archive.read(max(archive.infolist(), key=lambda info: info.file_size))
        file.write_bytes(flipped(content, content.index(tensor) + len(tensor) // 2))
    else:
        file.write_bytes(DAMAGES[how](content))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return fit("self-learning", tmp_path_factory.mktemp("whole"))[0]


@pytest.mark.parametrize("how", [*DAMAGES, "removed"])
@pytest.mark.parametrize("what", FILES)
def test_a_finished_phase_that_is_damaged_is_made_again_with_a_warning_in_the_record(what, how, tmp_path, undisturbed):
    _, trainer, _ = fit("self-learning", tmp_path)
    first = next(
        phase for phase in trainer.phases if (phase.kind == "train") == (what in ("weights", "facts of a training"))
    )
    file = Stages(tmp_path).folder(first.key) / FILES[what]
    if how == "removed":
        file.unlink()
    else:
        damage(file, how)
    weights, trainer, _ = fit("self-learning", tmp_path)
    assert weights == undisturbed
    again = [phase.name for phase in trainer.phases if not phase.reused]
    assert again == [first.name]
    if not (how == "removed" and FILES[what] == "phase.json"):  # as if it had never been finished
        assert any(warning.startswith(f"{first.name}: {file.parent}") for warning in trainer.warnings)
    weights, trainer, _ = fit("self-learning", tmp_path)
    assert weights == undisturbed
    assert not trainer.warnings
    assert all(phase.reused for phase in trainer.phases)


def stopped(folder, monkeypatch, steps=5):
    """An unfinished training with a checkpoint after each step."""
    left, one_step = iter(range(steps)), loop.Training._one_step

    def stopping(training, batch):
        if next(left, None) is None:
            raise KeyboardInterrupt
        one_step(training, batch)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
        patch.setattr(loop.Training, "_one_step", stopping)
        with pytest.raises(KeyboardInterrupt):
            fit("self-learning", folder)
    return [next(folder.glob(f"*/*/{name}")) for name in ("progress.pt", "progress-before.pt")]


def steps_begun(monkeypatch):
    """The steps of all trainings from now on."""
    begun, one_step = [], loop.Training._one_step

    def noting(training, batch):
        begun.append(training.done)
        one_step(training, batch)

    monkeypatch.setattr(loop.Training, "_one_step", noting)
    return begun


@pytest.mark.parametrize("how", DAMAGES)
def test_a_training_goes_on_from_the_checkpoint_before_a_damaged_one_or_from_the_start(
    how, tmp_path, undisturbed, monkeypatch
):
    for count, begin in ((0, 5), (1, 4), (2, 0)):
        folder = tmp_path / str(count)
        checkpoints = stopped(folder, monkeypatch)
        for file in checkpoints[:count]:
            damage(file, how)
        made = steps_begun(monkeypatch)
        weights, trainer, _ = fit("self-learning", folder)
        assert weights == undisturbed
        assert made[0] == begin
        assert [str(file) for file in checkpoints[:count]] == [warning.split()[0] for warning in trainer.warnings]
        assert not list(folder.rglob("progress*"))


@pytest.mark.parametrize("how", DAMAGES)
def test_damaged_labels_of_an_unfinished_labelling_are_made_again(how, tmp_path, undisturbed):
    _, trainer, _ = fit("self-learning", tmp_path)
    folder = Stages(tmp_path).folder(trainer.phases[1].key)
    (folder / "phase.json").unlink()
    damage(folder / "labels.pack", how)
    weights, trainer, _ = fit("self-learning", tmp_path)
    assert weights == undisturbed
    assert trainer.warnings
    assert all("labels.pack, the labels of" in warning for warning in trainer.warnings)
    assert (how == "flipped") == (len(trainer.warnings) == 1)  # of the others the end is gone, or all


def every_flip(file):
    """The file with each of its bytes flipped in turn."""
    content = file.read_bytes()
    for place in range(len(content)):
        file.write_bytes(flipped(content, place))
        yield place
    file.write_bytes(content)


def test_no_flipped_bit_of_a_checkpoint_is_used(tmp_path):
    file, state = tmp_path / "model.pt", {"weight": torch.arange(5.0), "done": 3}
    Stages.save(file, state)
    noticed = 0
    for _ in every_flip(file):
        noticed += 1
        with contextlib.suppress(DamagedError):
            found = Stages.load(file)
            noticed -= 1  # it hit a date, or what fills a page up
            assert torch.equal(found["weight"], state["weight"])
            assert found["done"] == 3
    assert noticed > 300


def test_no_flipped_bit_of_a_phases_facts_is_used(tmp_path):
    phase = Phase("M0", "train", 2.5, steps=5, key="k", losses={"step": [5], "loss": [0.1]})
    Stages.finish(tmp_path, phase)
    noticed = 0
    for _ in every_flip(tmp_path / "phase.json"):
        noticed += 1
        with contextlib.suppress(DamagedError):
            found = Stages.finished(tmp_path)
            noticed -= 1  # it hit the name of the checksum, or white space
            assert (found.seconds, found.steps, found.losses) == (2.5, 5, phase.losses)
    assert noticed > 100


def test_no_flipped_bit_of_labels_or_their_manifest_is_used(tmp_path):
    label = np.random.default_rng(0).integers(0, 3, (6, 6)).astype(np.uint8)
    stored = Stages.write_label(tmp_path, label)
    Stages.write_manifest(tmp_path, {"case": stored}, 1.0, None)
    for _ in every_flip(stored.file):
        assert Stages.read_labels(tmp_path)[0] == {}
    for _ in every_flip(tmp_path / "labels.json"):
        found = Stages.read_labels(tmp_path)[0]
        assert found in ({}, {"case": stored})
    assert np.array_equal(read_label(stored), label)


def test_a_file_of_labels_is_hashed_once_when_it_is_written_and_once_when_it_is_taken_up(tmp_path, monkeypatch):
    """Seen: hashed again as soon as it was written, and twice when it was reused."""
    hashed, hash_of = [], packs.content_hash
    for module in (packs, stages):
        monkeypatch.setattr(module, "content_hash", lambda content: hashed.append(bytes(content)) or hash_of(content))
    for _ in range(2):
        hashed.clear()
        _, trainer, _ = fit("self-learning", tmp_path)
        seen = list(hashed)
        folders = [Stages(tmp_path).folder(phase.key) for phase in trainer.phases]
        contents = [stored.content() for folder in folders for stored in Stages.read_labels(folder)[0].values()]
        assert len(contents) > 40
        assert {seen.count(content) - contents.count(content) for content in contents} == {0}


def test_labels_that_are_damaged_while_a_run_uses_them_are_an_error_that_names_them(tmp_path):
    stored = Stages.write_label(tmp_path, np.zeros((64, 64), np.uint8))
    damage(stored.file, "truncated")
    with pytest.raises(DamagedError, match=r"labels\.pack is damaged"):
        PseudoLabels({"case": stored})["case"]


def test_a_manifest_from_before_there_were_checksums_is_read(tmp_path):
    """And before there were packs."""
    label = np.eye(4, dtype=np.uint8)
    (tmp_path / "labels").mkdir()
    np.savez_compressed(tmp_path / "labels" / "000000.npz", label=label)
    content = {"seconds": 1.0, "labels": {"case": ["000000.npz", "digest"]}}
    (tmp_path / "labels.json").write_text(json.dumps(content))
    labels, *spent = Stages.read_labels(tmp_path)
    assert (labels["case"].digest, spent) == ("digest", [1.0, None, None])
    assert np.array_equal(read_label(labels["case"]), label)


def test_phases_from_before_they_had_folders_by_letters_are_found(tmp_path, undisturbed):
    fit("self-learning", tmp_path / "new")
    for folder in (tmp_path / "new").glob("*/*"):
        shutil.copytree(folder, tmp_path / "old" / folder.name)
    weights, trainer, _ = fit("self-learning", tmp_path / "old")
    assert weights == undisturbed
    assert all(phase.reused for phase in trainer.phases)


def test_a_new_file_and_its_name_are_on_disk_before_the_next_step(tmp_path, monkeypatch):
    """The name is in the folder, which is flushed as well."""
    flushed, fsync = [], os.fsync

    def noting(handle):
        flushed.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", noting)
    Stages.save(tmp_path / "model.pt", {})
    assert flushed[0].endswith(".partial")
    assert flushed[1:] == [str(tmp_path)]

"""What every dataset must obey. A new file in ``datasets/`` is tested here without touching this file."""

from __future__ import annotations

import re

import pytest

from atso_bench.benchmark import registry

NAMES = registry.names("datasets")
EMBEDDED = ("phantom", "phantom-shifted", "streets")  # they make themselves


@pytest.fixture
def nothing(monkeypatch, tmp_path):
    """No data anywhere."""
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "CITYSCAPES_DATASET"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("ATSO_BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("ATSO_BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
def test_says_what_it_is_and_where_it_comes_from(name):
    kind = registry.load("datasets", name)
    assert kind.summary
    assert "\n" not in kind.summary
    assert kind.source
    assert re.fullmatch(r"[a-z0-9-]+", name)


@pytest.mark.parametrize("name", NAMES)
def test_without_data_it_says_what_to_do(name, nothing):
    there, hint = registry.dataset(name).is_ready()
    if there or name in EMBEDDED:
        return
    assert "prepare" in hint or "name or id" in hint


@pytest.mark.parametrize("name", [name for name in NAMES if name not in (*EMBEDDED, "nnunet")])
def test_a_folder_of_something_else_is_refused_and_leaves_nothing(name, nothing):
    source = nothing / "something else"
    source.mkdir()
    (source / "notes.txt").write_text("no images")
    dataset = registry.dataset(name)
    with pytest.raises((ValueError, FileNotFoundError)) as refused:
        dataset.prepare(source)
    assert str(source) in str(refused.value)
    assert not [*nothing.rglob("dataset.json"), *nothing.rglob("prepared.json")]


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_configuration_is_refused(name):
    with pytest.raises(ValueError, match=registry.load("datasets", name).configurations[0]):
        registry.dataset(name, "5d")


def test_the_parts_are_disjoint_and_a_group_lies_in_one_of_them(tiny):
    parts = [set(tiny.pool), set(tiny.unlabelled), set(tiny.test)]
    assert all(parts)
    assert len(set().union(*parts)) == sum(map(len, parts))
    groups = [{tiny.group(case) for case in part} for part in parts]
    assert not groups[0] & groups[2]


def test_unknown_names_are_answered_with_what_there_is():
    with pytest.raises(LookupError, match="Did you mean 'hippocampus'"):
        registry.dataset("hipocampus")

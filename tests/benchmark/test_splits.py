"""Splits: grouped, seeded, nested, disjoint; and the peers' published lists."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atso_bench.benchmark.spec import Budget, LabelFraction, RunSpec
from atso_bench.benchmark.splits import Split, make_split, read_list


@dataclass
class Cases:
    """As much of a `Dataset` as a split needs. A case is named ``<group>-<number>``."""

    pool: tuple[str, ...]
    test: tuple[str, ...] = ("t-0", "t-1")
    unlabelled: tuple[str, ...] = ()
    name: str = "cases"
    groups: dict[str, str] = field(default_factory=dict)
    groupings: tuple[str, ...] = ("patient",)
    labels_from: tuple[str, ...] = ()
    images: dict[str, str] = field(default_factory=dict)

    def group(self, case_id: str, by: str = "") -> str:
        return self.groups.get(case_id, case_id.split("-")[0])

    def content(self, case_id: str) -> str:
        return self.images.get(case_id, case_id)


def cases_of(sizes: list[int], **more: Any) -> Cases:
    """A dataset whose groups have these sizes."""
    return Cases(tuple(f"g{g:02}-{i}" for g, size in enumerate(sizes) for i in range(size)), **more)


def spec_of(fraction: str | float = "10", seed: int = 0, **more: Any) -> RunSpec:
    text = LabelFraction(fraction)
    return RunSpec("cases", "supervised", text, seed, Budget.parse("smoke"), **more)


def split(dataset: Cases, fraction: str | float = "10", seed: int = 0, **more: Any) -> Split:
    return make_split(cast("Any", dataset), spec_of(fraction, seed, **more))


sizes = st.lists(st.integers(1, 9), min_size=1, max_size=12)
percents = st.floats(0.01, 100)
seeds = st.integers(0, 5)


@given(sizes, percents, percents, seeds)
def test_small_fractions_are_contained_in_large_ones(sizes: list[int], one: float, other: float, seed: int) -> None:
    dataset = cases_of(sizes)
    small, large = (set(split(dataset, f, seed).labelled) for f in sorted((one, other)))
    assert small <= large


@given(sizes, st.data(), seeds)
def test_numbers_of_cases_nest_with_fractions(sizes: list[int], data: st.DataObject, seed: int) -> None:
    dataset = cases_of(sizes)
    count = data.draw(st.integers(1, sum(sizes)))
    by_count = set(split(dataset, f"{count}cases", seed).labelled)
    by_percent = set(split(dataset, data.draw(percents), seed).labelled)
    assert by_count <= by_percent or by_percent <= by_count


@given(sizes, percents, seeds, st.sampled_from([0.0, 10.0, 33.3]))
def test_every_case_is_in_one_part_and_no_group_is_divided(
    sizes: list[int], percent: float, seed: int, validation: float
) -> None:
    dataset = cases_of([*sizes, 1], unlabelled=("u-0", "u-1"))
    made = split(dataset, percent, seed, validation=validation)
    parts = [made.labelled, made.unlabelled, made.validation, made.test]
    assert made.labelled
    assert sorted(case for part in parts for case in part) == sorted(
        (*dataset.pool, *dataset.unlabelled, *dataset.test)
    )
    groups = [{dataset.group(case) for case in part} for part in parts]
    assert sum(map(len, groups)) == len(set().union(*groups))


@given(sizes, percents, seeds)
def test_the_number_of_labelled_cases_is_the_nearest_that_whole_groups_allow(
    sizes: list[int], percent: float, seed: int
) -> None:
    dataset = cases_of(sizes)
    fraction = LabelFraction(percent)
    target = max(1, int(Fraction(fraction) * sum(sizes) / 100 + Fraction(1, 2)))
    assert abs(len(split(dataset, percent, seed).labelled) - target) <= max(sizes) / 2 or target <= max(sizes)


@given(sizes, percents, seeds, st.randoms())
def test_a_split_hangs_on_the_ids_alone_and_not_on_their_order(
    sizes: list[int], percent: float, seed: int, random: Any
) -> None:
    dataset = cases_of(sizes)
    shuffled = replace(dataset, pool=tuple(random.sample(dataset.pool, len(dataset.pool))))
    assert split(dataset, percent, seed) == split(shuffled, percent, seed)


def test_the_draw_is_the_same_on_every_machine_and_version() -> None:
    made = split(cases_of([1] * 20), 25, seed=7, validation=10)
    assert made.labelled == ("g03-0", "g08-0", "g10-0", "g16-0", "g18-0")
    assert made.validation == ("g01-0", "g11-0")
    assert made.hash == "ffd645f975ed"


def test_half_a_case_rounds_up() -> None:
    assert [len(split(cases_of([1] * 10), percent).labelled) for percent in (1, 14.9, 15, 25, 35)] == [1, 1, 2, 3, 4]


def test_of_two_equally_near_prefixes_the_shorter_is_labelled() -> None:
    assert len(split(cases_of([4, 4, 4]), "6cases").labelled) == 4


def test_single_cases_give_the_exact_number() -> None:
    assert [len(split(cases_of([1] * 40), f"{n}cases").labelled) for n in (1, 16, 40)] == [1, 16, 40]


def test_more_cases_than_there_are_is_an_error_that_names_the_largest_number() -> None:
    with pytest.raises(ValueError, match=r"16cases is more than the 9 cases.*the largest possible is 9cases"):
        split(cases_of([1] * 10), "16cases", validation=10)


def test_at_100_percent_only_unlabelled_images_remain() -> None:
    assert split(cases_of([3, 1, 2]), 100).unlabelled == ()
    assert split(cases_of([3, 1, 2], unlabelled=("u-0",)), 100).unlabelled == ("u-0",)


def test_seeds_differ_in_what_is_labelled_and_agree_on_validation_and_test() -> None:
    dataset = cases_of([1] * 50)
    made = [split(dataset, percent, seed, validation=20) for percent in (5, 50) for seed in range(4)]
    assert len({one.labelled for one in made}) == 8
    assert len({one.validation for one in made}) == len({one.test for one in made}) == 1
    assert len(made[0].validation) == 10


def test_validation_is_at_least_one_group_and_leaves_one() -> None:
    assert len(split(cases_of([2] * 10), validation=1).validation) == 2
    with pytest.raises(ValueError, match=r"takes 1 of the pool's 1 groups and leaves none"):
        split(cases_of([5]), validation=1)


def test_unlabelled_images_of_validation_and_test_patients_are_left_out() -> None:
    dataset = cases_of([1] * 5, unlabelled=("t-9", "u-0", *(f"g{g:02}-9" for g in range(5))))
    made = split(dataset, 100, validation=20)
    hidden = {"t-9", made.validation[0].replace("-0", "-9")}
    assert set(made.unlabelled) == set(dataset.unlabelled) - hidden


def test_a_patient_in_the_pool_and_in_test_is_an_error() -> None:
    with pytest.raises(ValueError, match="must not divide a group, but 't' are in the training pool and in test"):
        split(Cases(("a-0", "t-5")))


def test_a_case_in_two_parts_is_an_error_that_names_it() -> None:
    with pytest.raises(ValueError, match="one part of a split only, but 'b' occur more than once"):
        Split(("a", "b"), ("c",), ("b",), ("d",))
    with pytest.raises(ValueError, match=r"'0', '1', '2', '3', '4' \.\.\. \(7 in all\)"):
        Split(tuple("0123456"), tuple("0123456"), (), ("t",))


@pytest.mark.parametrize(("parts", "what"), [(((), ("a",), (), ("b",)), "labelled"), ((("a",), (), (), ()), "test")])
def test_labelled_and_test_are_never_empty(parts: tuple[tuple[str, ...], ...], what: str) -> None:
    with pytest.raises(ValueError, match=f"{what} is empty"):
        Split(*parts)


def test_the_hash_is_of_the_parts_content_in_any_order() -> None:
    one = Split(("a", "b"), ("c",), (), ("d",))
    assert one.hash == Split(("b", "a"), ("c",), (), ("d",)).hash
    assert one.hash != Split(("a",), ("b", "c"), (), ("d",)).hash
    assert one.hash != Split(("a", "b"), (), ("c",), ("d",)).hash
    parts = {"labelled": ["a", "b"], "unlabelled": ["c"], "validation": [], "test": ["d"]}
    assert one.to_json() == {**parts, "hash": one.hash}


PUBLISHED = Cases(tuple("jihgfedcba"), test=("x", "y"), unlabelled=("u",), groups={case: case for case in "jihgfedcba"})


def test_a_published_pool_labels_its_first_cases_whatever_the_seed() -> None:
    made = {split(PUBLISHED, 20, seed, lists={"pool": list("edcba")}) for seed in range(3)}
    assert made == {Split(("e",), tuple("abcdu"), (), ("x", "y"))}
    assert split(PUBLISHED, "3cases", lists={"pool": list("edcba")}).labelled == tuple("cde")


def test_a_published_pool_and_test_replace_the_datasets_own() -> None:
    made = split(PUBLISHED, 50, lists={"pool": ["x", "a"], "test": ["b"], "validation": ["c"]})
    assert made == Split(("x",), ("a", "u"), ("c",), ("b",))


def test_without_a_published_pool_all_labelled_cases_outside_test_are_the_pool() -> None:
    made = split(PUBLISHED, 100, lists={"test": ["a", "b"]})
    assert made.labelled == (*"cdefghij", "x", "y")


def test_a_published_labelled_list_is_exactly_what_is_labelled() -> None:
    lists = {"labelled": ["b", "h"]}
    made = {split(PUBLISHED, fraction, lists=lists) for fraction in ("20", "2cases", "19.9")}
    assert made == {Split(("b", "h"), tuple("acdefgiju"), (), ("x", "y"))}
    assert split(PUBLISHED, 40, lists={**lists, "pool": list("hgfba")}).unlabelled == ("a", "f", "g", "u")


@pytest.mark.parametrize("fraction", ["26", "10", "3cases"])
def test_a_labelled_list_that_is_not_the_fraction_is_an_error(fraction: str) -> None:
    message = f"labelled list has 2 of the 10 cases of the training pool, not {fraction}; give --fraction 2cases"
    with pytest.raises(ValueError, match=message):
        split(PUBLISHED, fraction, lists={"labelled": ["b", "h"]})


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        (
            {"pool": list("abc0123456")},
            r"pool list names '0', '1', '2', '3', '4' \.\.\. \(7 in all\), not among the labelled cases of cases",
        ),
        ({"labelled": ["u"]}, "labelled list names 'u', not among the labelled cases of cases"),
        ({"pool": ["a", "x"]}, r"'x' are in pool and in test \(the dataset's own test set; .* replaces it\)"),
        ({"pool": ["a", "b"], "test": ["b"]}, "'b' are in pool and in test$"),
        ({"labelled": ["a"], "test": ["a"]}, "'a' are in labelled and in test$"),
        ({"labelled": ["a"], "validation": ["a"]}, "'a' are in labelled and in validation"),
        ({"labelled": ["a"], "pool": ["b", "c"]}, "labelled list names 'a', not in the rest of the training pool$"),
        ({"pool": ["a", "b", "a"]}, "pool list names 'a' more than once"),
        ({"pool": []}, "the pool list is empty"),
        ({"labeled": ["a"]}, "one of pool, labelled, validation, test; got labeled"),
    ],
)
def test_a_wrong_published_list_is_an_error(lists: dict[str, list[str]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split(PUBLISHED, "1cases", lists=lists)


def test_validation_beside_published_lists() -> None:
    made = split(PUBLISHED, 25, validation=20, lists={"pool": list("jihgfedcba")})
    rest = [case for case in PUBLISHED.pool if case not in made.validation]
    assert len(made.validation) == 2
    assert made.labelled == tuple(sorted(rest[:2]))
    with pytest.raises(
        ValueError, match=r"the validation set is given by a list or by a percentage, but got a list and 20 %"
    ):
        split(PUBLISHED, validation=20, lists={"validation": ["a"]})
    with pytest.raises(ValueError, match="give the validation set as a list too, or none"):
        split(PUBLISHED, "10cases", validation=20, lists={"labelled": list("jihgfedcba")})


PAIR = "leftImg8bit/train/jena/jena_{0}_leftImg8bit.png gtFine/train/jena/jena_{0}_gtFine_labelTrainIds.png"


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("06SR5RBREL16DQ6M8LWS\n0RZDK210BSMWAA6467LU\n", ("06SR5RBREL16DQ6M8LWS", "0RZDK210BSMWAA6467LU")),
        ("patient099_frame01\npatient099_frame02", ("patient099_frame01", "patient099_frame02")),
        (f"{PAIR.format('1_9')}\n{PAIR.format('2_9')}", ("jena_1_9", "jena_2_9")),
        ("\ufeffb\r\n\r\n  a \r\n\n", ("b", "a")),
    ],
)
def test_a_list_is_read_in_its_order(text: str, ids: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "some.list"
    path.write_bytes(text.encode())
    assert read_list(path) == ids


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\nb\na\n", "names 'a' more than once"),
        ("\n \n", "names no case"),
        ("images/a.png labels/b.png\n", "neither a case id nor a pair of an image and its label"),
    ],
)
def test_a_wrong_list_is_an_error_that_names_the_file(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "some.list"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"some.list.*{message}"):
        read_list(path)


# the real lists are beside the real data; outside the project's workplace there are none
ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("ATSO_BENCH_REAL_DATA") or ROOT.parent / "shared" / "data")
LISTS = DATA.parent / "reference" / "splits"
real = pytest.mark.skipif(not LISTS.is_dir(), reason="the published lists are not here")


@real
@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("cityscapes_unimatch_1_16_labeled.txt", 186),
        ("cityscapes_unimatch_1_8_labeled.txt", 372),
        ("cityscapes_unimatch_1_4_labeled.txt", 744),
        ("cityscapes_unimatch_1_2_labeled.txt", 1488),
        ("cityscapes_unimatch_1_30_labeled.txt", 100),
        ("la_uamt_train.list", 80),
        ("la_uamt_test.list", 20),
        ("acdc_ssl4mis_train.list", 140),
        ("acdc_ssl4mis_val.list", 20),
        ("acdc_ssl4mis_test.list", 40),
    ],
)
def test_a_real_list_has_as_many_cases_as_the_papers_say(name: str, count: int) -> None:
    assert len(read_list(LISTS / name)) == count


@real
@pytest.mark.real
def test_the_real_cityscapes_lists_are_nested_and_their_fractions_true() -> None:
    names = {"1/16": "1_16", "1/8": "1_8", "1/4": "1_4", "1/2": "1_2"}
    lists = {part: read_list(LISTS / f"cityscapes_unimatch_{name}_labeled.txt") for part, name in names.items()}
    assert set(lists["1/16"]) < set(lists["1/8"]) < set(lists["1/4"]) < set(lists["1/2"])
    others = tuple(f"other_{i}" for i in range(2975 - 1488))
    dataset = Cases((*lists["1/2"], *others), test=("munster_0",))
    for fraction, labelled in lists.items():
        made = split(replace(dataset, groups={}), fraction, lists={"labelled": list(labelled)})
        assert set(made.labelled) == set(labelled)
        assert len(made.unlabelled) == 2975 - len(labelled)


@real
@pytest.mark.real
def test_the_real_acdc_and_la_lists_make_the_peers_splits() -> None:
    train, val, test = (read_list(LISTS / f"acdc_ssl4mis_{part}.list") for part in ("train", "val", "test"))
    patients = {case: case.split("_")[0] for case in (*train, *val, *test)}
    dataset = Cases((*train, *val, *test), test=("unused",), groups=patients)
    lists = {"pool": list(train), "validation": list(val), "test": list(test)}
    three, seven = (split(dataset, f"{2 * n}cases", lists=lists) for n in (3, 7))
    assert {patients[case] for case in three.labelled} == {"patient038", "patient050", "patient099"}
    assert {patients[case] for case in seven.labelled} - {patients[case] for case in three.labelled} == {
        f"patient{number}" for number in ("021", "049", "058", "100")
    }
    la = [read_list(LISTS / f"la_uamt_{part}.list") for part in ("train", "test")]
    atria = Cases((*la[0], *la[1]), test=("unused",))
    made = split(atria, 20, lists={"pool": list(la[0]), "test": list(la[1])})
    assert made.labelled == tuple(sorted(la[0])[:16])


# -- the same image under two names -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("twins", "percent", "parts"),
    [
        (("g00-0", "t-0"), 20, "'t-0' (test)"),
        (("u-0", "t-0"), 20, "'t-0' (test) and 'u-0' (unlabelled)"),
        (("g00-0", "g01-0", "g02-0", "g03-0", "g04-0"), 20, "(labelled)"),
        (("g00-0", "u-0"), 100, "'g00-0' (labelled) and 'u-0' (unlabelled)"),
    ],
)
def test_an_image_in_two_parts_is_an_error_that_names_both_and_says_what_to_do(
    twins: tuple[str, ...], percent: int, parts: str
) -> None:
    dataset = cases_of([1] * 5, unlabelled=("u-0",), images=dict.fromkeys(twins, "one image"))
    with pytest.raises(ValueError, match="the same image is in") as refused:
        split(dataset, percent, seed=2)
    assert all(repr(name) in str(refused.value) for name in twins)
    assert parts in str(refused.value)
    assert "remove one of them from cases, or put both into one group" in str(refused.value)


def test_an_image_in_training_and_validation_is_an_error() -> None:
    dataset = cases_of([1] * 10, images=dict.fromkeys((f"g{g:02}-0" for g in range(10)), "one image"))
    with pytest.raises(ValueError, match=r"\(validation\)"):
        split(dataset, 100, validation=10)


def test_an_image_twice_in_one_part_or_in_one_group_divides_nothing() -> None:
    dataset = cases_of([1, 1], unlabelled=("u-0", "v-0"), images={"u-0": "x", "v-0": "x", "t-0": "y", "t-1": "y"})
    assert split(dataset, 50).unlabelled[-2:] == ("u-0", "v-0")
    together = cases_of([2, 2, 2], images={"g00-0": "x", "g00-1": "x"})
    for seed in range(4):
        split(together, 30, seed)


def test_lists_of_the_users_that_part_two_equal_test_images_are_refused() -> None:
    dataset = Cases(("a-0", "b-0"), test=("x-0", "y-0"), images={"x-0": "same", "y-0": "same"})
    split(dataset, 50)
    with pytest.raises(ValueError, match=r"'x-0' \(\w+\) and 'y-0' \(test\)"):
        split(dataset, 100, lists={"test": ["y-0"]})


@given(sizes, st.data(), percents, seeds, st.sampled_from([0.0, 20.0]))
def test_no_split_that_is_made_holds_an_image_in_two_parts(
    sizes: list[int], data: st.DataObject, percent: float, seed: int, validation: float
) -> None:
    dataset = cases_of([*sizes, 1], unlabelled=("u-0", "u-1"))
    every = (*dataset.pool, *dataset.unlabelled, *dataset.test)
    dataset.images = {case: str(data.draw(st.integers(0, 40))) for case in every}
    made = None
    with contextlib.suppress(ValueError):
        made = split(dataset, percent, seed, validation=validation)
    if made is not None:
        parts = (made.labelled, made.unlabelled, made.validation, made.test)
        images = [{dataset.content(case) for case in part} for part in parts]
        assert sum(map(len, images)) == len(set().union(*images))


@pytest.mark.parametrize("line", ["a" * 10_000_000, "a/" * 5_000_000, "a,b " * 2_500_000])
def test_a_list_that_is_one_long_line_is_refused_without_showing_all_of_it(line, tmp_path):
    path = tmp_path / "list.txt"
    path.write_text(line)
    with pytest.raises(ValueError, match=r"is not a case id; a list has one case|is neither a case id") as error:
        read_list(path)
    assert str(path) in str(error.value)
    assert len(str(error.value)) < 600


def test_unknown_cases_of_a_list_are_shown_in_part(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("\n".join(f"{letter * 250}" for letter in "abcdefgh"))
    assert len(read_list(path)) == 8
    with pytest.raises(ValueError, match="characters") as error:
        make_split(Cases(("x", "y", "z")), spec_of("10", lists={"labelled": list(read_list(path))}))
    assert len(str(error.value)) < 1200

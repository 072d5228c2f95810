"""Groups of methods, and settings of other people's code by name."""

from __future__ import annotations

import pytest

from atso_bench.benchmark import registry
from atso_bench.benchmark.grid import Options, make_specs
from atso_bench.benchmark.spec import Budget

METHODS = registry.names("methods")
PRESETS = [(name, preset) for name in METHODS for preset in registry.load("methods", name).presets]


def test_all_is_every_method_and_groups_are_their_members():
    assert registry.expand(["all"]) == METHODS
    members = {group: registry.expand([group]) for name in METHODS for group in registry.groups(name)}
    for group, names in members.items():
        assert names == [name for name in METHODS if group in registry.groups(name)]
    # those that the README and docs/methods.md name; more may have joined them
    assert {"mean-teacher", "self-learning", "supervised"} <= set(members["baselines"])
    assert {"atso", "noisy-student", "self-learning", "st-plus-plus"} <= set(members["generations"])
    assert "cps" in members["consistency"]


def test_a_method_that_is_named_twice_is_run_once_and_what_is_no_method_stays_for_the_message():
    assert registry.expand(["atso", "generations"])[0] == "atso"
    assert registry.expand(["atso", "generations"]).count("atso") == 1
    assert registry.expand(["nonsense"]) == ["nonsense"]
    groups = sorted({group for name in METHODS for group in registry.groups(name)})
    with pytest.raises(LookupError, match=f"groups: {', '.join(['all', *groups])}"):
        registry.load("methods", "nonsense")


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_a_preset_is_what_it_stands_for(name, preset):
    kind = registry.load("methods", name)
    given = kind.presets[preset]
    found = registry.method(name, {"preset": preset})
    assert found == kind(**given)
    assert {option: getattr(found, option) for option in given} == given


def test_what_is_given_goes_before_a_preset_also_where_it_is_the_default(tmp_path):
    default = registry.method("mean-teacher", {}).weight
    options = Options.parse(["mean-teacher.preset=ssl4mis", f"mean-teacher.weight={default}"], ["mean-teacher"])
    (spec,) = make_specs(["phantom"], ["mean-teacher"], ["10"], [0], Budget("smoke", 24), options)
    assert spec.options == {"rampup": 1.0}
    again = registry.method(spec.method, spec.options)
    assert (again.weight, again.rampup) == (default, 1.0)


def test_a_wrong_preset_is_answered_with_those_that_there_are():
    with pytest.raises(ValueError, match="preset is one of ssl4mis, torchsemiseg"):
        registry.method("cps", {"preset": "x"})
    with pytest.raises(ValueError, match="it has no preset"):
        registry.method("atso", {"preset": "x"})


@pytest.mark.parametrize("value", [float("inf"), float("nan"), -1.0])
def test_a_weight_is_a_number_from_0_on(value):
    with pytest.raises(ValueError, match=r"mean-teacher\.weight"):
        registry.method("mean-teacher", {"weight": value})

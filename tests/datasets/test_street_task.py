"""The natural task: its network, weights, recipes, protocols, and what is exported."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import torch
from torchvision.models import resnet18

from atso_bench.benchmark import registry
from atso_bench.benchmark.spec import Budget
from atso_bench.benchmark.task import IGNORE, Image, Pool
from atso_bench.benchmark.training.origin import build
from atso_bench.datasets._frames.cityscapes import CityscapesDataset
from atso_bench.datasets._frames.classes import CITYSCAPES
from atso_bench.datasets._frames.network import StreetNetwork, pretrained
from atso_bench.datasets._frames.recipes import CONFIGURATIONS, ENCODERS, PROTOCOLS, StreetOverrides, recipes
from atso_bench.datasets._frames.task import FramesTask

SMOKE = Budget.parse("smoke")
CPU = torch.device("cpu")
RNG = np.random.default_rng(0)
IMAGES = {name: Image(RNG.integers(0, 256, (3, 40, 72), np.uint8), {"size": [40, 72]}) for name in "abcd"}
LABELS = {name: RNG.integers(0, 19, (40, 72)).astype(np.uint8) for name in "ab"}


def task(configuration="512x1024", budget=SMOKE, listed=False, labelled=tuple(LABELS), unlabelled=2, **overrides):
    return FramesTask(
        classes=CITYSCAPES,
        configuration=configuration,
        budget=budget,
        overrides=overrides,
        images=IMAGES,
        labels=LABELS,
        visible={name: name for name in IMAGES},
        labelled={name: name for name in labelled},
        unlabelled=unlabelled,
        listed=listed,
    )


def test_the_classes_are_the_nineteen_of_cityscapes_in_the_order_of_their_train_ids():
    assert len(CITYSCAPES.names) == 19
    assert (CITYSCAPES.names[0], CITYSCAPES.names[13], CITYSCAPES.names[18]) == ("road", "car", "bicycle")


@pytest.mark.parametrize("size", [(40, 72), (33, 17), (64, 64), (1, 5)])
def test_the_network_takes_any_size_and_gives_logits_at_full_resolution(size):
    network = task().network().eval()
    with torch.inference_mode():
        assert network(torch.randn(2, 3, *size)).shape == (2, 19, *size)


def test_padding_does_not_change_sizes_that_need_none():
    network = task().network().eval()
    image = torch.randn(1, 3, 32, 48)
    with torch.inference_mode():
        assert torch.equal(network(image), network.network(image))


@pytest.mark.parametrize(("stride", "rates"), [(8, [12, 24, 36]), (16, [6, 12, 18])])
def test_the_output_stride_is_the_recipes_and_the_pyramid_fits_it(stride, rates):
    network = task(output_stride=stride).network().network
    features = network.encoder(torch.randn(1, 3, 64, 64))
    assert 64 // features[-1].shape[-1] == stride
    dilations = [
        m.dilation[0] for m in network.decoder.aspp.modules() if isinstance(m, torch.nn.Conv2d) and m.dilation[0] > 1
    ]
    assert dilations == rates


def test_a_training_step_and_a_prediction_fit_together():
    made = task()
    pool = Pool(("a", "b"), made.images, made.labels)
    np.random.seed(0)
    image, label = made.draws(pool, 4)()
    network = made.network().train()
    made.loss(network(image), label).backward()
    assert image.shape == (4, 3, 64, 64)
    assert all(parameter.grad is not None for parameter in network.parameters())
    logits = made.predict(network, IMAGES["a"], CPU, mirror=False)
    assert build(network, learning=True) == build(made.network(), learning=True)  # so that its phases are everybody's
    prediction = made.restore(IMAGES["a"], logits)
    assert prediction.shape == (40, 72)
    assert prediction.dtype == np.uint8
    assert prediction.max() < 19


def test_hard_examples_are_mined_in_true_labels_alone():
    made = task(ohem_threshold=0.05, ohem_kept=0.01)
    logits, label = torch.randn(2, 19, 8, 8), torch.randint(0, 19, (2, 8, 8))
    everywhere = torch.nn.functional.cross_entropy(logits, label)
    assert made.loss(logits, label, pseudo=True) == pytest.approx(everywhere.item())
    assert made.loss(logits, label) > everywhere
    assert task(ohem_threshold=None).loss(logits, label) == pytest.approx(everywhere.item())


def test_pixels_without_a_class_do_not_train():
    made = task()
    logits = torch.randn(1, 19, 8, 8, requires_grad=True)
    loss = made.loss(logits, torch.full((1, 8, 8), IGNORE))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_the_identity_changes_with_what_determines_training_and_with_nothing_else():
    assert task().identity == task().identity == task("512x1024", Budget.parse("smoke:30")).identity
    changes = {"lr": 0.2, "encoder": "resnet34", "scales": [0.9, 1.1], "ohem_kept": 0.5}
    others = [task(**{name: value}) for name, value in changes.items()]
    assert len({other.identity for other in (task(), *others)}) == 5
    spelled_out = {"scales": [0.5, 2], "evaluation": "sliding", "window": 640, "mirror": True, "mirror_pseudo": True}
    assert {task(**{name: value}).identity for name, value in spelled_out.items()} == {task().identity}


def test_what_concerns_inference_alone_trains_nothing_anew_but_labels_anew(tmp_path):
    from atso_bench.benchmark.store.stages import Stages
    from atso_bench.benchmark.trainer import Trainer
    from atso_bench.benchmark.training.labels import Style

    keys = set()
    for changes in ({}, {"evaluation": "sliding"}, {"evaluation": "sliding", "window": 640}, {"mirror_pseudo": True}):
        trainer = Trainer(task(**changes), SMOKE, 0, Stages(tmp_path), method=registry.method("supervised", {}))
        mirror = trainer.task.recipe.mirror_pseudo
        keys.add(trainer.keys.predict(torch.nn.Identity(), Pool(("a",), IMAGES), Style(soft=False, mirror=mirror)))
    assert len(keys) == 4


def test_a_task_goes_to_another_process():
    copy = pickle.loads(pickle.dumps(task()))
    assert copy.identity == task().identity


# Weights


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_the_encoder_starts_from_a_local_file_of_torchvision_and_the_rest_at_random(tmp_path, ending):
    theirs = resnet18(weights=None)
    file = tmp_path / f"resnet18.{ending}"
    if ending == "pth":
        torch.save({"state_dict": {f"module.{name}": value for name, value in theirs.state_dict().items()}}, file)
    else:
        from safetensors.torch import save_file

        save_file(theirs.state_dict(), file)
    made = task(weights=str(file))
    encoder = made.network().network.encoder.state_dict()
    assert all(torch.equal(encoder[name], value) for name, value in theirs.state_dict().items() if name[:2] != "fc")
    assert made.details["weights"].startswith("file, sha256 ")
    assert made.identity != task().identity


def test_the_same_weights_in_another_file_are_the_same_task(tmp_path):
    state = resnet18(weights=None).state_dict()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        torch.save(state, tmp_path / name / "weights.pth")
    one, two = (task(weights=str(tmp_path / name / "weights.pth")) for name in ("one", "two"))
    assert one.identity == two.identity
    assert one.details == two.details


def test_a_grid_pins_the_file_of_weights_by_its_content(tmp_path, monkeypatch):
    file = tmp_path / "weights.pth"
    torch.save(resnet18(weights=None).state_dict(), file)
    monkeypatch.chdir(tmp_path)
    dataset = CityscapesDataset()
    first = dataset.settled({"weights": "weights.pth"})
    assert first["weights"] == str(file)
    task(**first).network()
    torch.save(resnet18(weights=None).state_dict(), file)
    assert dataset.settled({"weights": "weights.pth"}) != first
    with pytest.raises(ValueError, match="is no longer the file with SHA-256"):
        task(**first).network()
    assert dataset.settled({"weights": "none", "lr": 1}) == {"weights": "none", "lr": 1}
    with pytest.raises(ValueError, match="cannot be read"):
        dataset.settled({"weights": "absent.pth"})


def test_a_trained_model_needs_its_start_weights_no_more(tmp_path):
    file = tmp_path / "weights.pth"
    torch.save(resnet18(weights=None).state_dict(), file)
    model = task(weights=str(file)).network()
    file.unlink()
    later = task(weights=str(file))
    later.network(start=False).load_state_dict(model.state_dict())
    assert later.predict(model, IMAGES["a"], CPU, mirror=False).shape == (19, 40, 72)
    with pytest.raises(ValueError, match="cannot be read"):
        later.network()


def test_weights_of_another_encoder_are_refused(tmp_path):
    torch.save(resnet18(weights=None).state_dict(), tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"does not fit resnet34.*is it another ResNet"):
        task(weights=str(tmp_path / "weights.pth"), encoder="resnet34").network()


def test_a_file_that_holds_code_or_nothing_is_refused(tmp_path):
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(print))
    (tmp_path / "text.safetensors").write_text("no weights")
    torch.save([1, 2], tmp_path / "list.pth")
    circle: dict = {"conv1.weight": torch.zeros(1)}
    circle["model"] = circle
    torch.save(circle, tmp_path / "circle.pth")
    torch.save({"model": torch.zeros(2)}, tmp_path / "tensor.pth")
    torch.save({1: torch.zeros(2)}, tmp_path / "number.pth")
    torch.save({"conv1.weight": torch.zeros(2, 2).to_sparse()}, tmp_path / "sparse.pth")
    bad = resnet18(weights=None).state_dict()
    bad["conv1.weight"][0] = float("nan")
    torch.save(bad, tmp_path / "nan.pth")
    (tmp_path / "folder.pth").mkdir()
    names = [path.name for path in tmp_path.iterdir()]
    for name in (*names, "absent.pth"):
        with pytest.raises(ValueError, match=name):
            pretrained(str(tmp_path / name), "resnet18")
    assert len(names) == 9


def test_weights_in_half_precision_or_with_gradients_are_weights_too(tmp_path):
    state = {
        name: value.bfloat16() if value.is_floating_point() else value
        for name, value in resnet18().state_dict().items()
    }
    state["conv1.weight"] = torch.nn.Parameter(state["conv1.weight"])
    torch.save(state, tmp_path / "weights.pth")
    found, _ = pretrained(str(tmp_path / "weights.pth"), "resnet18")
    assert found is not None
    assert found["conv1.weight"].dtype == torch.float32


def test_without_network_imagenet_says_what_to_do(monkeypatch, tmp_path):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match=r"recipe.weights=FILE.*recipe.weights=none"):
        pretrained("imagenet", "resnet18")


def test_the_library_fetches_imagenets_weights_for_every_encoder():
    from segmentation_models_pytorch.encoders import encoders

    for name in ENCODERS:
        assert encoders[name]["pretrained_settings"]["imagenet"]["repo_id"]


# Recipes and protocols


def test_a_dataset_offers_the_configurations_that_have_a_recipe():
    kinds = (registry.load("datasets", name) for name in registry.names("datasets"))
    offered = [kind.configurations for kind in kinds if kind.track == "natural"]
    assert {name for names in offered for name in names} == set(CONFIGURATIONS)


def test_smoke_and_small_fit_a_cpu_whatever_the_configuration():
    for name in CONFIGURATIONS:
        for budget in ("smoke", "demo", "small"):
            recipe, street = recipes(name, Budget.parse(budget), {})
            assert recipe.patch[0] <= 128
            assert (street.encoder, street.weights) == ("resnet18", "none")


def test_a_protocols_constants_are_those_that_were_published():
    recipe, street = recipes("unimatch-801", Budget.parse("standard"), {})
    assert (recipe.patch, recipe.batch, recipe.lr, recipe.nesterov, recipe.clip) == ((801, 801), 16, 0.005, False, None)
    assert (street.encoder, street.weights, street.output_stride) == ("resnet50", "imagenet", 16)
    assert street.inference == "sliding window 801, stride 534, cut off at the edge"
    assert round(street.ohem_kept * 2 * 801 * 801, -3) == 200_000
    recipe, street = recipes("cps-800", Budget.parse("standard"), {})
    assert (recipe.patch, recipe.lr, len(street.scales)) == ((800, 800), 0.02, 6)
    assert PROTOCOLS["unimatch-801"].steps == {
        n: 240 * (-(-(2975 - n) // 4) // 2) for n in (100, 186, 372, 744, 1488)
    }  # epochs x batches of 2 on each of 4 devices, the last incomplete one dropped
    epochs = {16: 128, 8: 137, 4: 160, 2: 240}
    assert list(PROTOCOLS["cps-800"].steps.values()) == [n * ((2975 - 2975 // k) // 8) for k, n in epochs.items()]


def test_the_record_names_everything_in_which_a_run_differs_from_its_protocol():
    budget, s = Budget.parse("small"), tuple(map(str, range(186)))
    small = task("unimatch-801", budget, labelled=s, unlabelled=2789, mirror_pseudo=True).details["protocol"]
    assert small["name"] == "unimatch-801"
    assert "UniMatch" in small["source"]
    said = "\n".join(small["differs"])
    for words in (
        "patch: 128 128, the protocol's 801 801",
        "encoder: resnet18, the protocol's resnet50",
        "weights: none, the protocol's imagenet",
        "evaluation: whole, the protocol's sliding",
        "optimiser steps: 3,000, the protocol's 83,760",
        "mirror_pseudo: True, the protocol's False",
        "separable convolutions",
        "labelled frames: drawn by our seeds",
        "best of those scored on the test set",
    ):
        assert words in said
    assert "frames to learn from" not in said
    assert "protocol" not in task().details
    other = "\n".join(task("unimatch-801", budget).details["protocol"]["differs"])
    assert "labelled frames: 2, the protocol has 100, 186, 372, 744, 1488; optimiser steps: 3,000" in other
    assert "frames to learn from: 4, the protocol's 2,975" in other


def test_what_agrees_with_the_protocol_is_not_named():
    budget, s = Budget.parse(str(83_760)), tuple(map(str, range(186)))
    made = task("unimatch-801", budget, listed=True, labelled=s, unlabelled=2789, weights="none")
    own = [text for text in made.details["protocol"]["differs"] if text not in PROTOCOLS["unimatch-801"].always]
    assert own == ["weights: none, the protocol's imagenet"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"encoder": "vgg"}, "recipe.encoder must be resnet18 or"),
        ({"output_stride": 4}, "recipe.output_stride must be 8 or 16"),
        ({"patch": [64]}, "recipe.patch must be height and width"),
        ({"batch": 1}, "recipe.batch must be at least 2"),
        ({"scales": [1]}, "recipe.scales must be two numbers"),
        ({"scales": [-1, 2]}, "recipe.scales must be two numbers"),
        ({"ohem_threshold": 2}, "recipe.ohem_threshold must be a probability"),
        ({"ohem_kept": 0}, "recipe.ohem_kept must be a share"),
        ({"evaluation": "both"}, "recipe.evaluation must be whole or sliding"),
        ({"window": 10, "stride": 20}, "leaves pixels out"),
        ({"width": 8}, "unknown recipe field"),
        ({"lr": "fast"}, "recipe.lr must be a number above 0"),
    ],
)
def test_a_wrong_recipe_is_refused_with_the_fields_name(override, message):
    with pytest.raises(ValueError, match=message):
        task(**override)


def test_every_field_of_the_recipe_is_in_the_list_that_the_command_line_shows():
    from atso_bench.benchmark.commands.known import RECIPE

    assert [name for name in StreetOverrides.__annotations__ if f"recipe.{name}" not in RECIPE] == []


# Export


def test_the_exported_model_loads_in_five_lines_and_gives_the_same_logits(tmp_path):
    made = task()
    model = made.network().eval()
    example = made.export(model, tmp_path / "model", {"score": 0.5})
    assert len(example.strip().splitlines()) == 5
    frame = torch.from_numpy(IMAGES["a"].array[:, :32, :64].copy())
    scope = {"image": frame[None].float()}
    with torch.inference_mode():
        exec(example, scope)
        ours = made.predict(model, Image(frame.numpy(), {}), CPU, mirror=False)
    assert torch.allclose(scope["logits"][0], ours, atol=1e-4)
    description = json.loads((tmp_path / "model" / "model.json").read_text())
    assert description["classes"][13] == {"train_id": 13, "label_id": 26, "name": "car"}
    assert description["facts"] == {"score": 0.5}
    assert description["example"][1] == "model = json.load(open('model.json'))"
    awkward = tmp_path / 'a "b" c'
    exec(made.export(model, awkward, {}), {"image": torch.zeros(1, 3, 32, 32)})


def test_an_exported_model_is_a_starting_point_for_others(tmp_path):
    made = task()
    model = made.network()
    made.export(model, tmp_path / "model", {})
    state, _ = pretrained(str(tmp_path / "model" / "weights.safetensors"), "resnet18")
    assert state is not None
    assert torch.equal(state["conv1.weight"], model.network.encoder.conv1.weight)


def test_a_folder_with_something_in_it_is_not_overwritten(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="not empty"):
        task().export(StreetNetwork(task()._arguments), tmp_path, {})
    assert (tmp_path / "mine.txt").read_text() == "mine"

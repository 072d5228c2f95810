"""Batched transforms against batchgeneratorsv2's own: value by value given the parameters, and in distribution."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from batchgeneratorsv2.transforms.intensity.brightness import MultiplicativeBrightnessTransform
from batchgeneratorsv2.transforms.intensity.contrast import ContrastTransform
from batchgeneratorsv2.transforms.intensity.gamma import GammaTransform
from batchgeneratorsv2.transforms.intensity.gaussian_noise import GaussianNoiseTransform
from batchgeneratorsv2.transforms.noise.gaussian_blur import GaussianBlurTransform
from batchgeneratorsv2.transforms.spatial.low_resolution import SimulateLowResolutionTransform
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.spatial.spatial import (
    SpatialTransform,
    create_affine_matrix_2d,
    create_affine_matrix_3d,
)
from batchgeneratorsv2.transforms.utils.random import RandomTransform
from scipy import stats
from torch import Tensor

from atso_bench.benchmark.task import Pool
from atso_bench.datasets._volumes import chances as _chances
from atso_bench.datasets._volumes import transforms
from atso_bench.datasets._volumes.chances import Geometry, chances, rotations
from atso_bench.datasets._volumes.draws import BatchDraw, SampleDraw, pipeline
from atso_bench.datasets._volumes.opened import MaskedImage
from atso_bench.datasets._volumes.patches import PatchDraw
from atso_bench.datasets._volumes.transforms import OUTSIDE

SHAPES = {"2d": (40, 28), "3d": (20, 28, 24), "layered": (6, 28, 24)}


@pytest.fixture(params=SHAPES)
def shape(request: pytest.FixtureRequest) -> tuple[int, ...]:
    torch.manual_seed(0)
    np.random.seed(0)
    return SHAPES[request.param]


@pytest.fixture
def rows(shape: tuple[int, ...]) -> Tensor:
    return 3 * torch.randn(5, *shape) - 1


def one_by_one(transform: Any, rows: Tensor, parameters: list[dict[str, Any]]) -> Tensor:
    """batchgeneratorsv2 on each row, as an image of one channel."""
    return torch.stack(
        [transform._apply_to_image(row[None].clone(), **each)[0] for row, each in zip(rows, parameters, strict=True)]
    )


def close(ours: Tensor, theirs: Tensor) -> bool:
    return torch.allclose(ours, theirs, rtol=1e-5, atol=1e-5)


# Given the same parameters


def test_brightness_is_batchgenerators(rows: Tensor) -> None:
    factors = torch.rand(5) + 0.5
    transform = MultiplicativeBrightnessTransform((1, 1), False)
    given = [{"apply_to_channel": [0], "multipliers": [factor]} for factor in factors]
    assert close(transforms.brighten(rows, factors), one_by_one(transform, rows, given))


def test_contrast_is_batchgenerators(rows: Tensor) -> None:
    factors = torch.tensor([0.75, 0.9, 1.0, 1.1, 1.25])
    transform = ContrastTransform((1, 1), preserve_range=True, synchronize_channels=False)
    given = [{"apply_to_channel": torch.tensor([0]), "multipliers": factor[None]} for factor in factors]
    assert close(transforms.contrast(rows, factors), one_by_one(transform, rows, given))


@pytest.mark.parametrize("inverted", [False, True])
def test_gamma_is_batchgenerators(rows: Tensor, inverted: bool) -> None:
    rows[4] = 2.5  # of one intensity
    exponents = torch.tensor([0.7, 0.9, 1.0, 1.2, 1.5])
    transform = GammaTransform((1, 1), 0, False, 1, 1)
    given = [
        {
            "apply_to_channel": torch.tensor([0]),
            "retain_stats": torch.tensor([True]),
            "invert_image": torch.tensor([inverted]),
            "gamma": exponent[None],
        }
        for exponent in exponents
    ]
    ours = transforms.gamma(rows, exponents, inverted=inverted)
    assert close(ours, one_by_one(transform, rows, given))


def test_blur_is_batchgenerators(rows: Tensor) -> None:
    sigmas = 0.5 + 0.5 * torch.rand(5, rows.ndim - 1)
    sigmas[0], sigmas[1] = 0.5, 1.0
    transform = GaussianBlurTransform((0.5, 1), synchronize_channels=False, synchronize_axes=False)
    given = [{"apply_to_channel": torch.tensor([True]), "sigmas": [each.tolist()]} for each in sigmas]
    assert close(transforms.blur(rows, sigmas), one_by_one(transform, rows, given))


def test_every_length_of_a_blurs_kernel_is_batchgenerators() -> None:
    from batchgeneratorsv2.transforms.noise.gaussian_blur import _build_kernel

    sigmas = torch.linspace(0.4, 1.0, 241)
    for sigma, kernel in zip(sigmas, transforms.gaussians(sigmas), strict=True):
        theirs = _build_kernel(sigma.item(), truncate=6)
        margin = (7 - len(theirs)) // 2
        assert close(kernel, torch.nn.functional.pad(theirs, (margin, margin)))


def test_coarse_images_are_batchgenerators(rows: Tensor) -> None:
    transform = SimulateLowResolutionTransform((0.5, 1), False, True, ())
    shares = [0.5, 0.613, 0.75, 0.9, 1.0]
    given = [{"apply_to_channel": [0], "scales": torch.full((1, rows.ndim - 1), share)} for share in shares]
    sizes = [[round(size * torch.tensor(share).item()) for size in rows.shape[1:]] for share in shares]
    assert close(transforms.coarsen(rows, torch.tensor(sizes)), one_by_one(transform, rows, given))


def test_every_coarseness_takes_batchgenerators_voxels() -> None:
    transform = SimulateLowResolutionTransform((0.5, 1), False, True, ())
    for length in range(4, 60):
        row = torch.arange(length, dtype=torch.float32)[None, :, None].expand(1, length, 2)
        for few in range(length // 2, length + 1):
            share = torch.tensor([few / length, 1.0])
            theirs = one_by_one(transform, row, [{"apply_to_channel": [0], "scales": share[None]}])
            assert close(transforms.coarsen(row, torch.tensor([[few, 2]])), theirs), (length, few)


def test_mirrors_are_batchgenerators(rows: Tensor) -> None:
    flips = torch.rand(5, rows.ndim - 1) < 0.5
    given = [{"axes": each.nonzero()[:, 0].tolist()} for each in flips]
    assert torch.equal(transforms.mirror(rows, flips), one_by_one(MirrorTransform((0,)), rows, given))
    assert torch.equal(transforms.mirror(rows[:, None], flips)[:, 0], transforms.mirror(rows, flips))


def test_rotations_are_batchgenerators() -> None:
    angles = np.random.default_rng(0).uniform(-3, 3, (6, 3))
    assert np.allclose(rotations(angles), [create_affine_matrix_3d(each, [1, 1, 1]) for each in angles])
    assert np.allclose(rotations(angles[:, :2]), [create_affine_matrix_2d(each[1], [1, 1]) for each in angles])


@pytest.fixture
def turned(shape: tuple[int, ...]) -> tuple[Geometry, Tensor, Any, list[dict[str, Any]]]:
    """A geometry, matrices, batchgeneratorsv2's transform, and its parameters for these matrices."""
    geometry = Geometry.of(shape)
    assert geometry.layered == (shape == SHAPES["layered"])
    axes = geometry.turned_axes
    angles = np.random.uniform(*geometry.rotation, (6, axes))
    scales = np.random.uniform(0.7, 1.4, 6)
    scales[0], angles[1] = 1.4, 0.0  # reaches beyond what was cut out; is not rotated
    matrices = rotations(angles) * scales[:, None, None]
    transform = next(part for part in pipeline(geometry).transforms if isinstance(part, SpatialTransform))
    given = []
    for matrix in matrices:
        transform.p_rotation = transform.p_scaling = 1
        with pytest.MonkeyPatch.context() as patch:
            module = "batchgeneratorsv2.transforms.spatial.spatial"
            for name in ("create_affine_matrix_2d", "create_affine_matrix_3d"):
                patch.setattr(f"{module}.{name}", lambda *_, matrix=matrix: matrix)
            given.append(transform.get_parameters(image=torch.zeros(1, *geometry.wide[-axes:])))
    return geometry, torch.from_numpy(matrices).float(), transform, given


def layers(part: Tensor, geometry: Geometry) -> Tensor:
    """``(N, C, *wide)`` with the layers that are turned alike as channels."""
    return part.flatten(1, 2) if geometry.layered else part


def test_turned_images_are_batchgenerators(turned: Any) -> None:
    geometry, matrices, transform, given = turned
    image = layers(torch.randn(6, 2, *geometry.wide), geometry)
    axes = geometry.turned_axes
    grid = transforms.places(matrices, geometry.patch[-axes:], geometry.wide[-axes:])
    theirs = torch.stack([transform._apply_to_image(part, **each) for part, each in zip(image, given, strict=True)])
    assert close(transforms.turn(image, grid), theirs)


@pytest.mark.parametrize("everywhere", [False, True], ids=["as on a CPU", "as on a GPU"])
def test_turned_labels_are_batchgenerators_but_for_ties(
    turned: Any, everywhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transforms, "_AT_ONCE", () if everywhere else ("cpu",))
    geometry, matrices, transform, given = turned
    coarse = torch.randint(0, 4, (6, 1, *(-(-size // 3) for size in geometry.wide)))
    label = coarse.repeat_interleave(3, 2).repeat_interleave(3, 3)
    label = label.repeat_interleave(3, 4) if label.ndim == 5 else label
    label = label[(..., *map(slice, geometry.wide))].to(torch.int16)
    label = layers(label, geometry)
    label[:, :, :3] = OUTSIDE
    axes = geometry.turned_axes
    grid = transforms.places(matrices, geometry.patch[-axes:], geometry.wide[-axes:])
    ours = transforms.turn_labels(label, grid)
    theirs = torch.stack(
        [transform._apply_to_segmentation(part, **each) for part, each in zip(label, given, strict=True)]
    )
    assert len(theirs.unique()) == 5
    assert ours.dtype == theirs.dtype
    assert (ours == theirs).float().mean() > 0.9995


# In distribution


def parts(geometry: Geometry) -> Iterator[tuple[float, Any]]:
    """The transforms of nnU-Net's pipeline, each with its probability."""
    for part in pipeline(geometry).transforms:
        yield (part.apply_probability, part.transform) if isinstance(part, RandomTransform) else (1.0, part)


def test_probabilities_and_ranges_are_nnunets(shape: tuple[int, ...]) -> None:
    geometry = Geometry.of(shape, [True, False])
    found = {}
    for chance, part in parts(geometry):
        found[type(part).__name__ + ("Inverted" if getattr(part, "p_invert_image", 0) else "")] = chance, part
    spatial = found.pop("SpatialTransform")[1]
    assert (spatial.p_rotation, spatial.p_scaling, spatial.scaling) == (0.2, 0.2, _chances.SCALES)
    assert (_chances.ROTATION, _chances.SCALING) == (0.2, 0.2)
    assert tuple(spatial.rotation) == geometry.rotation
    assert tuple(spatial.patch_size) == geometry.patch[-geometry.turned_axes :]
    assert (spatial.p_elastic_deform, spatial.random_crop, spatial.p_rot_per_axis) == (0, False, 1)
    assert spatial.p_synchronize_scaling_across_axes == 1
    assert (spatial.padding_value_seg, spatial.border_mode_seg, spatial.mode_seg) == (OUTSIDE, "constant", "bilinear")
    chance, noise = found.pop("GaussianNoiseTransform")
    assert (chance, noise.noise_variance, noise.p_per_channel) == (_chances.NOISE, _chances.DEVIATIONS, 1)
    assert noise.synchronize_channels
    chance, blur = found.pop("GaussianBlurTransform")
    assert (chance, blur.blur_sigma, blur.p_per_channel) == (_chances.BLUR, _chances.SIGMAS, _chances.BLUR_CHANNEL)
    assert (blur.synchronize_axes, blur.synchronize_channels) == (False, False)
    chance, brightness = found.pop("MultiplicativeBrightnessTransform")
    assert (chance, brightness.multiplier_range.contrast_range) == (_chances.BRIGHTNESS, _chances.BRIGHTNESSES)
    chance, contrast = found.pop("ContrastTransform")
    assert (chance, contrast.contrast_range.contrast_range) == (_chances.CONTRAST, _chances.CONTRASTS)
    assert contrast.preserve_range
    for part in (brightness, contrast):
        assert (part.p_per_channel, part.synchronize_channels) == (1, False)
    chance, coarse = found.pop("SimulateLowResolutionTransform")
    assert (chance, coarse.scale, coarse.p_per_channel) == (
        _chances.COARSE,
        _chances.COARSENESS,
        _chances.COARSE_CHANNEL,
    )
    assert (coarse.synchronize_axes, coarse.synchronize_channels) == (True, False)
    assert coarse.ignore_axes == ((0,) if geometry.layered else None)
    for name, wanted in (("GammaTransformInverted", _chances.GAMMA_INVERTED), ("GammaTransform", _chances.GAMMA)):
        chance, gamma = found.pop(name)
        assert (chance, gamma.gamma.contrast_range) == (wanted, _chances.EXPONENTS)
        assert (gamma.p_per_channel, gamma.p_retain_stats, gamma.synchronize_channels) == (1, 1, False)
    assert found.pop("MirrorTransform")[1].allowed_axes == geometry.mirror_axes
    assert found.pop("MaskImageTransform")[1].apply_to_channels == list(geometry.masked) == [0]
    remove = found.pop("RemoveLabelTransform")[1]
    assert (remove.label_value, remove.set_to) == (OUTSIDE, 0)
    layered = {"Convert3DTo2DTransform", "Convert2DTo3DTransform"}
    assert set(found) == (layered if geometry.layered else set())


def test_the_order_of_transforms_is_nnunets() -> None:
    names = [type(part).__name__ for _, part in parts(Geometry.of(SHAPES["2d"], [True]))]
    assert names == [
        "SpatialTransform",
        "GaussianNoiseTransform",
        "GaussianBlurTransform",
        "MultiplicativeBrightnessTransform",
        "ContrastTransform",
        "SimulateLowResolutionTransform",
        "GammaTransform",
        "GammaTransform",
        "MirrorTransform",
        "MaskImageTransform",
        "RemoveLabelTransform",
    ]


SAMPLES, CHANNELS = 4000, 2
RANDOM = {
    SpatialTransform,
    GaussianBlurTransform,
    MultiplicativeBrightnessTransform,
    ContrastTransform,
    SimulateLowResolutionTransform,
    GammaTransform,
    MirrorTransform,
    GaussianNoiseTransform,
}


@pytest.fixture(scope="module", params=SHAPES)
def drawn(request: pytest.FixtureRequest) -> tuple[Geometry, dict[str, np.ndarray], list[dict[str, Any]]]:
    """Parameters of many samples: ours, and nnU-Net's as its transforms draw them one by one."""
    geometry = Geometry.of(SHAPES[request.param])
    np.random.seed(1)
    torch.manual_seed(1)
    ours = {name: part.numpy() for name, part in chances(SAMPLES, CHANNELS, geometry).items()}
    image, flat = (torch.zeros(CHANNELS, *size) for size in (geometry.patch, geometry.wide[-geometry.turned_axes :]))
    random = [(chance, part) for chance, part in parts(geometry) if type(part) in RANDOM]
    theirs = []
    for _ in range(SAMPLES):
        given = {}
        for chance, part in random:
            if torch.rand(1).item() < chance:
                shown = flat if isinstance(part, SpatialTransform) else image
                name = type(part).__name__ + ("Inverted" if getattr(part, "p_invert_image", 0) else "")
                given[name] = part.get_parameters(image=shown)
        theirs.append(given)
    return geometry, ours, theirs


def alike(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """No sign of different distributions; both are seeded, so this does not change from run to run."""
    return bool(stats.ks_2samp(ours, theirs).pvalue > 1e-3)


def as_often(ours: int, theirs: int, of: int) -> bool:
    return ours == theirs or bool(
        stats.chi2_contingency([[ours, of - ours], [theirs, of - theirs]], correction=False)[1] > 1e-3
    )


BY_ROW: dict[str, tuple[str, str, Callable[[dict[str, Any]], Any]]] = {
    "GaussianBlurTransform": ("blurred", "sigmas", lambda given: given["sigmas"]),
    "MultiplicativeBrightnessTransform": ("brightened", "brightness", lambda given: given["multipliers"]),
    "ContrastTransform": ("stretched", "contrast", lambda given: given["multipliers"]),
    "GammaTransformInverted": ("inverted", "inverted_exponents", lambda given: given["gamma"]),
    "GammaTransform": ("raised", "exponents", lambda given: given["gamma"]),
}


@pytest.mark.parametrize("name", BY_ROW)
def test_rows_are_changed_as_often_and_as_much(drawn: Any, name: str) -> None:
    _, ours, theirs = drawn
    which, what, values = BY_ROW[name]
    found = [np.asarray(values(given[name])).reshape(-1) for given in theirs if name in given]
    there = np.concatenate([each for each in found if len(each)])
    axes = ours["sigmas"].shape[1] if name == "GaussianBlurTransform" else 1
    assert as_often(len(ours[which]), len(there) // axes, SAMPLES * CHANNELS)
    assert alike(ours[what].reshape(-1), there)
    both = np.bincount(ours[which] // CHANNELS, minlength=SAMPLES)
    for number in range(CHANNELS + 1):  # channels of a sample belong together in the same way
        their = sum(len(each) // axes == number for each in found) + (SAMPLES - len(found) if number == 0 else 0)
        assert as_often(int((both == number).sum()), their, SAMPLES)


def test_images_are_coarse_as_often_and_as_much(drawn: Any) -> None:
    geometry, ours, theirs = drawn
    scales = [
        given["SimulateLowResolutionTransform"]["scales"]
        for given in theirs
        if len(given) > 1 and "SimulateLowResolutionTransform" in given
    ]
    there = torch.cat([each for each in scales if len(each)])
    assert as_often(len(ours["coarse"]), len(there), SAMPLES * CHANNELS)
    sizes = np.array(
        [[round(size * share.item()) for size, share in zip(geometry.patch, each, strict=True)] for each in there]
    )
    for axis in range(sizes.shape[1]):
        assert alike(ours["sizes"][:, axis], sizes[:, axis])
    assert set(ours["sizes"][:, 0]) == {geometry.patch[0]} or not geometry.layered


def test_samples_are_noisy_as_often_and_as_much(drawn: Any) -> None:
    _, ours, theirs = drawn
    there = [given["GaussianNoiseTransform"]["sigmas"] for given in theirs if "GaussianNoiseTransform" in given]
    assert as_often(len(ours["noisy"]), len(there), SAMPLES)
    assert alike(ours["deviations"], np.array(there))


def test_samples_are_turned_as_often_and_as_far(drawn: Any) -> None:
    _, ours, theirs = drawn
    there = np.array([each for given in theirs if (each := given["SpatialTransform"]["affine"]) is not None])
    assert as_often(len(ours["turned"]), len(there), SAMPLES)
    assert ours["matrices"].shape[1:] == there.shape[1:]
    scale, their_scale = (np.cbrt(np.abs(np.linalg.det(each))) for each in (ours["matrices"], there))
    assert as_often(int((np.abs(scale - 1) > 1e-4).sum()), int((np.abs(their_scale - 1) > 1e-4).sum()), len(there))
    assert alike(scale, their_scale)
    for row in range(there.shape[1]):
        for column in range(there.shape[2]):
            assert alike(ours["matrices"][:, row, column], there[:, row, column])


def test_every_axis_is_mirrored_as_often(drawn: Any) -> None:
    geometry, ours, theirs = drawn
    for axis in range(len(geometry.patch)):
        there = sum(axis in given["MirrorTransform"]["axes"] for given in theirs)
        assert as_often(int(ours["mirrored"][:, axis].sum()), there, SAMPLES)


# Whole batches


class Volumes:
    """Volumes without a file, for draws."""

    def __init__(self, channels: int, *, masked: bool) -> None:
        rng = np.random.default_rng(0)
        self.images, self.hard, self.soft = {}, {}, {}
        for name in "ab":
            size = tuple(rng.integers(10, 30, 3))
            outside = rng.random(size) < 0.2
            array = np.where(outside, 0, rng.normal(size=(channels, *size))).astype(np.float32)
            self.images[name] = MaskedImage(array, {}, outside if masked else None)
            self.hard[name] = rng.integers(0, 3, size)
            self.soft[name] = np.moveaxis(rng.dirichlet(np.ones(3), size), -1, 0).astype(np.float16)


class Given:
    """nnU-Net's pipeline with the matrices, contrasts and mirrors that were drawn for a batch, and nothing else."""

    def __init__(self, pipeline: Any, drawn: dict[str, Tensor]) -> None:
        self.pipeline, self.drawn, self.number = pipeline, drawn, 0
        for part in pipeline.transforms:
            if isinstance(part, RandomTransform):
                part.apply_probability = 2 * isinstance(part.transform, ContrastTransform)
                part.transform.get_parameters = self.contrast
            elif isinstance(part, MirrorTransform):
                part.get_parameters = self.mirror

    def __call__(self, **sample: Tensor) -> Any:
        turned = (self.drawn["turned"] == self.number).nonzero()[:, 0].tolist()
        spatial = next(part for part in self.pipeline.transforms if isinstance(part, SpatialTransform))
        spatial.p_rotation = spatial.p_scaling = float(bool(turned))
        matrix = self.drawn["matrices"][turned[0]].double().numpy() if turned else None
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(f"{SpatialTransform.__module__}.create_affine_matrix_2d", lambda *_: matrix)
            patch.setattr(f"{SpatialTransform.__module__}.create_affine_matrix_3d", lambda *_: matrix)
            result = self.pipeline(**sample)
        self.number += 1
        return result

    def contrast(self, **_: Any) -> dict[str, Tensor]:
        factors = self.drawn["contrast"][2 * self.number : 2 * self.number + 2]
        return {"apply_to_channel": torch.tensor([0, 1]), "multipliers": factors}

    def mirror(self, **_: Any) -> dict[str, list[int]]:
        return {"axes": self.drawn["mirrored"][self.number].nonzero()[:, 0].tolist()}


LABELS = SimpleNamespace(foreground_labels=[1, 2], has_ignore_label=False, all_labels=[0, 1, 2])


@pytest.mark.parametrize("labels", ["hard", "soft", None])
@pytest.mark.parametrize("masked", [False, True])
def test_a_batch_is_nnunets_sample_by_sample(
    shape: tuple[int, ...], labels: str | None, masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same places, turned by the same matrices, mirrored alike, of the same contrast: the same batch."""
    volumes = Volumes(2, masked=masked)
    pool = Pool(("a", "b"), volumes.images, getattr(volumes, labels) if labels else None)
    geometry = Geometry.of(shape, [False, True] if masked else [])
    batched, sampled = (kind(pool, 8, geometry, LABELS) for kind in (BatchDraw, SampleDraw))
    places = list(sampled.places())
    monkeypatch.setattr(PatchDraw, "places", lambda _: iter(places))
    drawn = chances(8, 2, geometry)
    for name in ("noisy", "blurred", "brightened", "coarse", "inverted", "raised"):
        drawn[name] = torch.zeros(0, dtype=torch.int64)
    drawn["stretched"] = torch.arange(16)
    drawn["contrast"] = torch.linspace(0.75, 1.25, 16)
    axes = geometry.turned_axes
    drawn["turned"] = torch.tensor([1, 2, 5])
    angles = np.random.uniform(*geometry.rotation, (3, axes))
    drawn["matrices"] = torch.from_numpy(rotations(angles) * 1.2).float()
    monkeypatch.setattr("atso_bench.datasets._volumes.draws.chances", lambda *_: drawn)
    image, label = batched()

    monkeypatch.setattr(sampled, "transforms", Given(sampled.transforms, drawn))
    their_image, their_label = sampled()
    assert close(image, their_image)
    assert image.shape == (8, 2, *shape)
    if labels is None:
        assert label is their_label is None
    elif labels == "soft":
        assert close(label, their_label)
    else:
        assert label.dtype == torch.int64
        assert (label == their_label).float().mean() > 0.9995
        assert set(label.unique().tolist()) == {0, 1, 2}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_a_gpu_finishes_a_batch_as_a_cpu_does(shape: tuple[int, ...], labels: str) -> None:
    volumes = Volumes(2, masked=True)
    pool = Pool(("a", "b"), volumes.images, getattr(volumes, labels))
    draw = BatchDraw(pool, 16, Geometry.of(shape, [False, True]), LABELS)
    drawn = draw.read()
    drawn["noisy"] = drawn["noisy"][:0]  # the devices' random numbers differ
    drawn["deviations"] = drawn["deviations"][:0]
    here, there = (
        draw.finish({name: part.clone() for name, part in drawn.items()}, torch.device(device))
        for device in ("cpu", "cuda")
    )
    assert torch.allclose(here[0], there[0].cpu(), rtol=1e-4, atol=1e-4)
    assert (here[1].float() - there[1].cpu().float()).abs().gt(1e-4).float().mean() < 5e-4

"""Batches of street frames: what is drawn equals scaling the whole frame and then cutting it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Picture

from atso_bench.benchmark.task import IGNORE, Image, Pool
from atso_bench.datasets._frames.draws import MEAN, STD, FrameDraw, normalise

SIZES = st.tuples(st.integers(1, 60), st.integers(1, 60))
SCALES = st.floats(0.4, 2.5)


def pool_of(*frames, labels=None):
    ids = tuple(f"town_{number}" for number in range(len(frames)))
    images = {name: Image(frame, {"size": list(frame.shape[1:])}) for name, frame in zip(ids, frames, strict=True)}
    return Pool(ids, images, None if labels is None else dict(zip(ids, labels, strict=True)))


def frame_of(size, seed=0):
    """Random coarse blocks and noise, stored as a prepared frame is: a transposed view of (H, W, 3)."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (size[0] // 5 + 1, size[1] // 5 + 1, 3))
    fine = np.kron(blocks, np.ones((5, 5, 1)))[: size[0], : size[1]] + rng.normal(0, 10, (*size, 3))
    return fine.clip(0, 255).astype(np.uint8).transpose(2, 0, 1)


def positions(size):
    """A label that is its own place: row * width + column."""
    return np.arange(size[0] * size[1], dtype=np.int32).reshape(size)


def grey(image):
    """The intensities in 0..255 that were normalised to ``image``."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    return (image * std + mean) * 255


def draw(pool, patch, scales, *, seed=0, size=1, mirror=False):
    np.random.seed(seed)
    return FrameDraw(pool, size, patch, scales, mirror)()


def place_of(crop, whole):
    """Top left corner of ``crop`` in ``whole``; both hold positions."""
    height, width = crop.shape
    fits = [
        (top, left)
        for top in range(whole.shape[0] - height + 1)
        for left in range(whole.shape[1] - width + 1)
        if np.array_equal(whole[top : top + height, left : left + width], crop)
    ]
    assert fits, "the crop is no part of the scaled frame"
    return fits


def scaled_size(size, scale):
    return tuple(max(1, int(n * scale + 0.5)) for n in size)


def nearest(label, size):
    """Nearest neighbours of a whole label, by fractions of integers."""
    rows, columns = ([(2 * k + 1) * n // (2 * m) for k in range(m)] for n, m in zip(label.shape, size, strict=True))
    return label[rows][:, columns]


def linear(soft, size):
    return F.interpolate(torch.from_numpy(soft).float()[None], size=size, mode="bilinear", align_corners=False)[0]


@settings(max_examples=30, deadline=None)
@given(size=SIZES, scale=SCALES, patch=st.tuples(st.integers(1, 40), st.integers(1, 40)), seed=st.integers(0, 99))
def test_a_crop_equals_scaling_the_whole_frame_and_then_cutting_it(size, scale, patch, seed):
    frame, label = frame_of(size, seed), positions(size)
    soft = np.random.default_rng(seed).dirichlet(np.ones(3), size).transpose(2, 0, 1).astype(np.float16)
    image, hard = draw(pool_of(frame, labels=[label]), patch, (scale,), seed=seed)
    _, probabilities = draw(pool_of(frame, labels=[soft]), patch, (scale,), seed=seed)

    whole = scaled_size(size, scale)
    height, width = min(patch[0], whole[0]), min(patch[1], whole[1])
    picture = Picture.fromarray(np.ascontiguousarray(frame.transpose(1, 2, 0)))
    expected = np.asarray(picture.resize(whole[::-1], Picture.Resampling.BILINEAR)).transpose(2, 0, 1)
    found = grey(image[0, :, :height, :width]).round().numpy()
    fits = []
    for top, left in place_of(hard[0, :height, :width].numpy(), nearest(label, whole)):
        part = np.s_[:, top : top + height, left : left + width]
        wrong = (probabilities[0, :, :height, :width] - linear(soft, whole)[part]).abs().max().item()
        fits.append((np.abs(found - expected[part]).max(), wrong))
    # PIL keeps the corners of a crop in single precision and rounds twice, after columns and after rows
    assert any(grey_levels <= 2 and probability < 1e-3 for grey_levels, probability in fits)


def test_labels_are_those_of_pil_up_to_its_rounding_at_boundaries():
    size, whole = (97, 151), (131, 204)
    label = np.random.default_rng(0).integers(0, 19, size).astype(np.uint8)
    _, hard = draw(pool_of(frame_of(size), labels=[label]), whole, (1.35,))
    expected = np.asarray(Picture.fromarray(label).resize(whole[::-1], Picture.Resampling.NEAREST))
    assert (hard[0].numpy() != expected).mean() < 0.005


def test_scaling_never_makes_a_label_between_two():
    label = np.where(np.arange(50) % 2, 3, 17).astype(np.uint8)[None].repeat(40, 0)
    label[:5] = IGNORE
    for seed in range(10):
        _, hard = draw(pool_of(frame_of((40, 50)), labels=[label]), (16, 16), (0.5, 2.0), seed=seed)
        assert set(hard.unique().tolist()) <= {3, 17, IGNORE}


def test_image_and_label_share_scale_place_and_side():
    """Red is the column and green the row; so is the label. A bilinear ramp stays a ramp, up to its ends."""
    rows, columns = np.mgrid[:200, :250].astype(np.uint8)
    frame = np.stack([columns, rows, np.zeros_like(rows)])
    sides = set()
    for seed in range(12):
        image, label = draw(
            pool_of(frame, labels=[positions((200, 250))]), (60, 70), (0.5, 2.0), seed=seed, size=2, mirror=True
        )
        red, green, _ = grey(image).unbind(1)
        assert (red - label % 250).abs().max() < 1.6
        assert (green - label // 250).abs().max() < 1.6
        sides |= set((label[:, 0, -1] > label[:, 0, 0]).tolist())
    assert sides == {True, False}


def test_a_soft_label_goes_where_the_hard_one_goes():
    label = np.random.default_rng(1).integers(0, 4, (8, 9)).repeat(5, 0).repeat(5, 1).astype(np.uint8)
    soft = np.eye(4, dtype=np.float16)[label].transpose(2, 0, 1)
    for seed in range(6):
        more = {"seed": seed, "size": 2, "mirror": True}
        _, hard = draw(pool_of(frame_of((40, 45)), labels=[label]), (20, 30), (0.5, 1.5), **more)
        _, found = draw(pool_of(frame_of((40, 45)), labels=[soft]), (20, 30), (0.5, 1.5), **more)
        inside = hard != IGNORE
        assert found.dtype == torch.float32
        assert (found.argmax(1) == hard)[inside].float().mean() > 0.9  # ties between blocks
        assert torch.allclose(found.sum(1), inside.float(), atol=1e-5)
        assert (found[:, 0][~inside] == 0).all()


def test_a_small_frame_is_padded_at_the_right_and_the_bottom():
    """Black before the normalisation and without label, whichever side was flipped."""
    frame, label = np.full((3, 6, 8), 200, np.uint8), np.full((6, 8), 5, np.uint8)
    image, hard = draw(pool_of(frame, labels=[label]), (10, 12), (1.0,), size=8, mirror=True)
    assert (hard[:, :6, :8] == 5).all()
    hard[:, :6, :8] = IGNORE
    assert (hard == IGNORE).all()
    shades = grey(image).round()
    assert (shades[:, :, :6, :8] == 200).all()
    assert shades.sum() == 8 * 3 * 6 * 8 * 200


def test_intensities_are_only_normalised():
    frame = np.broadcast_to(np.array([10, 100, 250], np.uint8)[:, None, None], (3, 30, 30))
    image, _ = draw(pool_of(frame), (8, 8), (0.5, 2.0), size=4, mirror=True)
    expected = (torch.tensor([10.0, 100.0, 250.0]) / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
    assert torch.allclose(image, expected[:, None, None].expand_as(image), atol=1e-5)
    assert torch.equal(normalise(torch.from_numpy(frame.copy())), normalise(torch.from_numpy(frame[None].copy()))[0])


def test_two_scales_are_a_range_and_more_are_a_list():
    pool = pool_of(np.zeros((3, 100, 4), np.uint8), labels=[np.zeros((100, 4), np.uint8)])

    def heights(scales):
        _, label = draw(pool, (200, 8), scales, size=60)
        return {int(height) for height in (label[:, :, 0] != IGNORE).sum(1)}

    assert heights((0.5, 0.75, 1.0)) == {50, 75, 100}
    assert heights((0.7,)) == {70}
    drawn = heights((0.5, 2.0))
    assert len(drawn) > 30
    assert min(drawn) < 65
    assert 185 < max(drawn) <= 200


def test_every_frame_and_every_place_is_drawn():
    labels = [np.arange(20, dtype=np.uint8).reshape(4, 5) + 20 * number for number in range(5)]
    _, label = draw(pool_of(*[np.zeros((3, 4, 5), np.uint8)] * 5, labels=labels), (1, 1), (1.0,), size=2000)
    assert set(label.flatten().tolist()) == set(range(100))


def test_half_of_the_samples_are_flipped_and_none_without_mirroring():
    pool = pool_of(np.zeros((3, 4, 5), np.uint8), labels=[np.arange(20, dtype=np.uint8).reshape(4, 5)])
    _, label = draw(pool, (4, 5), (1.0,), size=400, mirror=True)
    assert 160 < (label[:, 0, 0] == 4).sum() < 240
    _, label = draw(pool, (4, 5), (1.0,), size=400)
    assert (label[:, 0, 0] == 0).all()


def test_a_batch_is_a_function_of_numpys_global_state_alone():
    frames = [frame_of((40, 50), seed) for seed in range(3)]
    pool = pool_of(*frames, labels=[np.zeros((40, 50), np.uint8)] * 3)
    drawer = FrameDraw(pool, 4, (24, 32), (0.5, 2.0))
    np.random.seed(7)
    torch.manual_seed(1)
    first, second = drawer(), drawer()
    np.random.seed(7)
    torch.manual_seed(2)
    again = drawer()
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], second[0])
    unlabelled, nothing = draw(pool_of(*frames), (24, 32), (0.5, 2.0), seed=7, size=4, mirror=True)
    assert nothing is None
    assert torch.equal(unlabelled, first[0])


def test_shapes_and_types_of_a_batch():
    frame = frame_of((30, 40))
    image, hard = draw(pool_of(frame, labels=[np.zeros((30, 40), np.uint8)]), (16, 24), (0.5, 2.0), size=3)
    assert (image.shape, image.dtype, image.is_contiguous()) == ((3, 3, 16, 24), torch.float32, True)
    assert (hard.shape, hard.dtype) == ((3, 16, 24), torch.int64)
    _, soft = draw(pool_of(frame, labels=[np.zeros((19, 30, 40), np.float16)]), (16, 24), (0.5, 2.0), size=3)
    assert (soft.shape, soft.dtype) == ((3, 19, 16, 24), torch.float32)


class Watched:
    """An image on a disc that knows how much of it was read."""

    def __init__(self, array):
        self.array, self.shape, self.read = array, array.shape, 0

    def __getitem__(self, place):
        part = self.array[place]
        self.read += part.size
        return part


def test_only_the_part_of_a_frame_that_a_crop_needs_is_read():
    frame = Watched(np.zeros((3, 1000, 2000), np.uint8))
    draw(pool_of(frame), (100, 100), (0.5,))
    assert frame.read <= 3 * 206**2


def test_a_frame_on_disc_is_drawn_as_one_in_memory(tmp_path):
    frame = frame_of((50, 70))
    np.save(tmp_path / "frame.npy", np.ascontiguousarray(frame.transpose(1, 2, 0)))
    mapped = np.load(tmp_path / "frame.npy", mmap_mode="r").transpose(2, 0, 1)
    here, there = (draw(pool_of(array), (32, 32), (0.5, 2.0), size=4)[0] for array in (frame, mapped))
    assert torch.equal(here, there)


def test_what_cannot_be_drawn_is_said():
    frame = frame_of((6, 8))
    with pytest.raises(ValueError, match="a pool without frames"):
        FrameDraw(Pool((), {}), 1, (4, 4), (1.0,))
    with pytest.raises(ValueError, match="scales must be one or more numbers above 0"):
        FrameDraw(pool_of(frame), 1, (4, 4), (0.0, 2.0))
    with pytest.raises(ValueError, match=r"the label of town_0 has \(8, 6\) pixels and its image \(6, 8\)"):
        draw(pool_of(frame, labels=[np.zeros((8, 6), np.uint8)]), (4, 4), (1.0,))

"""Prediction of street frames: whole, sliding and mirrored."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from atso_bench.datasets._frames import inference
from atso_bench.datasets._frames.draws import normalise
from atso_bench.datasets._frames.inference import predict_frame

CPU = torch.device("cpu")
WHOLE = {"window": None, "stride": 1, "mirror": False}


def frame(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8).transpose(2, 0, 1)


def pointwise(classes=4):
    """A network whose prediction of a pixel depends on that pixel alone."""
    torch.manual_seed(0)
    return nn.Conv2d(3, classes, 1)


class Recorder(nn.Module):
    """Class 1 is as likely as the window is large, and the sizes of all passes are kept."""

    def __init__(self):
        super().__init__()
        self.passes = []

    def forward(self, image):
        self.passes.append(tuple(image.shape))
        height, width = image.shape[-2:]
        probability = torch.tensor([1 - (height * width) / 1e6, height * width / 1e6])
        return probability.log()[None, :, None, None].expand(len(image), 2, height, width)


def near(one, other):
    return torch.allclose(one, other, atol=1e-5)


def test_the_whole_frame_gives_the_networks_own_logits():
    model, image = pointwise(), frame(9, 14)
    expected = model(normalise(torch.from_numpy(image.copy()))[None])[0]
    found = predict_frame(model, image, CPU, **WHOLE)
    assert near(found, expected)
    assert (found.shape, found.dtype, found.device) == ((4, 9, 14), torch.float32, CPU)


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    window=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    share=st.floats(0.05, 1),
    shift=st.booleans(),
    mirror=st.booleans(),
)
def test_windows_cover_every_pixel_and_leave_a_pointwise_prediction_as_it_is(
    height, width, window, share, shift, mirror
):
    model, image = pointwise(), frame(height, width)
    stride = max(1.0, int(share * min(window)))
    found = predict_frame(model, image, CPU, window=window, stride=stride, mirror=mirror, shift=shift)
    assert near(found, predict_frame(model, image, CPU, **WHOLE).log_softmax(0))


@pytest.mark.parametrize("shift", [False, True])
def test_a_window_larger_than_the_frame_is_the_whole_frame(shift):
    torch.manual_seed(0)
    model, image = nn.Conv2d(3, 5, 3, padding=1), frame(20, 30)
    whole = predict_frame(model, image, CPU, **WHOLE).log_softmax(0)
    assert near(predict_frame(model, image, CPU, window=31, stride=20, mirror=False, shift=shift), whole)
    assert near(predict_frame(model, image, CPU, window=(20, 30), stride=20, mirror=False, shift=shift), whole)
    assert not near(predict_frame(model, image, CPU, window=16, stride=10, mirror=False, shift=shift), whole)


def test_the_windows_of_unimatch_are_cut_off_and_those_of_cps_shifted():
    def windows(window, stride, shift):
        places = inference._places((1024, 2048), window, stride, shift)
        rows = sorted({(row.start, row.stop) for row, _ in places})
        columns = sorted({(column.start, column.stop) for _, column in places})
        assert len(places) == len(rows) * len(columns)
        return rows, columns

    assert windows(801, 534, False) == ([(0, 801), (534, 1024)], [(0, 801), (534, 1335), (1068, 1869), (1602, 2048)])
    assert windows(800, 800 * 2 / 3, True) == (
        [(0, 800), (224, 1024)],
        [(0, 800), (534, 1334), (1068, 1868), (1248, 2048)],
    )


def test_probabilities_are_averaged_over_the_windows_that_hold_a_pixel():
    """Windows 0-300, 200-500 and 400-600 of a frame of one row: sizes 300, 300 and 200."""
    found = predict_frame(Recorder(), frame(1, 600), CPU, window=(300, 300), stride=200, mirror=False).exp()[1, 0]
    expected = torch.full((600,), 300e-6)
    expected[400:500], expected[500:] = 250e-6, 200e-6
    assert torch.allclose(found, expected, rtol=1e-3)


def test_equal_windows_share_a_pass_and_a_pass_is_bounded(monkeypatch):
    model = Recorder()
    predict_frame(model, frame(64, 64), CPU, window=16, stride=16, mirror=False)
    assert model.passes == [(16, 3, 16, 16)]
    monkeypatch.setitem(inference._PIXELS, "cpu", 5 * 256)
    model.passes.clear()
    predict_frame(model, frame(64, 70), CPU, window=16, stride=16, mirror=False)
    assert [shape[0] for shape in model.passes] == [5, 5, 5, 1, 4]
    monkeypatch.setitem(inference._PIXELS, "cpu", 1)
    model.passes.clear()
    predict_frame(model, frame(32, 16), CPU, window=16, stride=16, mirror=True)
    assert model.passes == [(1, 3, 16, 16)] * 4


def test_a_mirrored_frame_has_the_mirrored_prediction():
    torch.manual_seed(0)
    model, image = nn.Conv2d(3, 4, 3, padding=1), frame(12, 17)
    for mirror in (True, False):
        settings = {"window": None, "stride": 1, "mirror": mirror}
        there = predict_frame(model, image, CPU, **settings)
        back = predict_frame(model, image[:, :, ::-1], CPU, **settings).flip(-1)
        assert near(there, back) == mirror


def test_a_mirrored_prediction_is_the_mean_of_both_sides():
    torch.manual_seed(0)
    model, image = nn.Conv2d(3, 4, 3, padding=1), frame(12, 17)
    there = predict_frame(model, image, CPU, **WHOLE).softmax(0)
    back = predict_frame(model, image[:, :, ::-1], CPU, **WHOLE).softmax(0).flip(-1)
    assert near(predict_frame(model, image, CPU, window=None, stride=1, mirror=True).exp(), (there + back) / 2)


def test_a_probability_of_zero_stays_finite():
    class Certain(nn.Module):
        def forward(self, image):
            return torch.tensor([500.0, 0.0])[None, :, None, None].expand(len(image), 2, *image.shape[-2:])

    found = predict_frame(Certain(), frame(4, 4), CPU, window=2, stride=2, mirror=False)
    assert found.isfinite().all()
    assert (found.argmax(0) == 0).all()


@pytest.mark.parametrize("fails", [False, True])
def test_the_network_keeps_its_weights_and_the_mode_of_each_of_its_parts(fails):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Conv2d(4, 3, 1))
    model.train()
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    image = frame(8, 9)
    kept = image.copy()
    if fails:
        model[3] = nn.Conv2d(5, 3, 1)
        with pytest.raises(RuntimeError):
            predict_frame(model, image, CPU, **WHOLE)
    else:
        once, twice = (predict_frame(model, image, CPU, window=4, stride=3, mirror=True) for _ in range(2))
        assert torch.equal(once, twice)  # no dropout
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [model.training, *(part.training for part in model)] == [True, True, False, True, True]
    assert np.array_equal(image, kept)


def test_what_cannot_be_predicted_is_said():
    with pytest.raises(ValueError, match=r"stride of windows of \(8, 8\) pixels is from 1 to 8 pixels, got 9"):
        predict_frame(pointwise(), frame(20, 20), CPU, window=8, stride=9, mirror=False)
    with pytest.raises(ValueError, match=r"a frame is \(3, H, W\) uint8, got \(20, 20, 3\) uint8"):
        predict_frame(pointwise(), frame(20, 20).transpose(1, 2, 0), CPU, **WHOLE)

"""What the methods share, against closed forms."""

from __future__ import annotations

import math

import torch
from torch import nn

from atso_bench.benchmark.losses import ema_update, main_head, rows, sigmoid_rampup, softmax_mse


def test_rampup_at_its_start_half_and_end():
    assert sigmoid_rampup(0.0, 0.4) == math.exp(-5)
    assert sigmoid_rampup(0.2, 0.4) == math.exp(-1.25)
    assert sigmoid_rampup(0.4, 0.4) == sigmoid_rampup(0.9, 0.4) == 1.0
    assert sigmoid_rampup(0.0, 0.0) == 1.0


def test_the_moving_average_equals_its_closed_form_with_buffers():
    torch.manual_seed(0)
    student, teacher = (nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)) for _ in range(2))
    start = {name: value.clone() for name, value in teacher.state_dict().items()}
    seen = []
    for _ in range(5):
        with torch.no_grad():
            for value in student.state_dict().values():
                value.copy_(torch.randn_like(value) if value.is_floating_point() else value + 1)
        seen.append({name: value.clone() for name, value in student.state_dict().items()})
        ema_update(teacher, student, 0.9)
    for name, value in teacher.state_dict().items():
        if not value.is_floating_point():
            assert value == seen[-1][name]
            continue
        expected = 0.9**5 * start[name] + sum(0.1 * 0.9 ** (4 - k) * now[name] for k, now in enumerate(seen))
        assert torch.allclose(value, expected, atol=1e-6), name


def test_softmax_mse_is_zero_for_equal_and_one_for_opposite_certain_logits():
    a = torch.tensor([[50.0, -50.0]])[..., None, None]
    assert softmax_mse(a, a) == 0
    assert torch.isclose(softmax_mse(a, -a), torch.tensor(1.0))


def test_heads_and_rows_of_one_output_and_of_several():
    one, several = torch.arange(8.0).reshape(4, 2), [torch.arange(8.0).reshape(4, 2), torch.arange(4.0).reshape(4, 1)]
    assert main_head(several) is several[0]
    assert torch.equal(rows(one, 1, 3), one[1:3])
    assert [len(head) for head in rows(several, 1, 3)] == [2, 2]

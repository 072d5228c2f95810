"""What the methods share, against closed forms."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from atso_bench.benchmark.training.average import MovingAverage
from atso_bench.benchmark.training.heads import main_head, rows
from atso_bench.methods._losses import sigmoid_rampup, softmax_mse


def test_rampup_at_its_start_half_and_end():
    assert sigmoid_rampup(0.0, 0.4) == math.exp(-5)
    assert sigmoid_rampup(0.2, 0.4) == math.exp(-1.25)
    assert sigmoid_rampup(0.4, 0.4) == sigmoid_rampup(0.9, 0.4) == 1.0
    assert sigmoid_rampup(0.0, 0.0) == 1.0


def test_the_moving_average_equals_its_closed_form_with_buffers():
    torch.manual_seed(0)
    student, teacher = (nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)) for _ in range(2))
    start = {name: value.clone() for name, value in teacher.state_dict().items()}
    average, seen = MovingAverage(teacher, student), []
    for _ in range(5):
        with torch.no_grad():
            for value in student.state_dict().values():
                value.copy_(torch.randn_like(value) if value.is_floating_point() else value + 1)
        seen.append({name: value.clone() for name, value in student.state_dict().items()})
        average.update(0.9)
    for name, value in teacher.state_dict().items():
        if not value.is_floating_point():
            assert value == seen[-1][name]
            continue
        expected = 0.9**5 * start[name] + sum(0.1 * 0.9 ** (4 - k) * now[name] for k, now in enumerate(seen))
        assert torch.allclose(value, expected, atol=1e-6), name


@torch.no_grad()
def walked(teacher: nn.Module, student: nn.Module, decay: float) -> None:
    """The moving average by a walk through both networks at each step."""
    for old, new in zip(teacher.state_dict().values(), student.state_dict().values(), strict=True):
        if old.is_floating_point():
            old.lerp_(new, 1 - decay)
        else:
            old.copy_(new)


def replaced(module: nn.Module) -> None:
    module[1].running_mean = torch.full((2,), 7.0)


@pytest.mark.parametrize(
    "change",
    [
        lambda module: None,
        lambda module: module.to(torch.float64),
        lambda module: module.load_state_dict({name: value + 1 for name, value in module.state_dict().items()}),
        replaced,
    ],
    ids=["nothing", "moved", "loaded", "buffer replaced"],
)
def test_the_moving_average_follows_networks_that_are_moved_or_loaded(change):
    torch.manual_seed(0)
    student, teacher = (nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)) for _ in range(2))
    teacher.requires_grad_(False)
    expected = copy.deepcopy(teacher)
    average = MovingAverage(teacher, student)
    for _ in range(3):
        for module in (student, teacher, expected):
            change(module)
        student(torch.randn(2, 1, 5, 5, dtype=student[0].weight.dtype)).sum().backward()
        average.update(0.9)
        walked(expected, student, 0.9)
        for name, value in expected.state_dict().items():
            assert torch.equal(teacher.state_dict()[name], value), name
    assert all(parameter.requires_grad for parameter in student.parameters())


def test_the_moving_average_follows_parameters_that_move_where_no_buffer_does():
    student, teacher = nn.Conv2d(1, 2, 3), nn.Conv2d(1, 2, 3)
    average, expected = MovingAverage(teacher, student), copy.deepcopy(teacher).to(torch.float64)
    average.teacher.to(torch.float64)
    average.student.to(torch.float64)
    average.update(0.9)
    walked(expected, student, 0.9)
    assert torch.equal(teacher.weight, expected.weight)


def test_a_tensor_of_several_names_is_averaged_once_a_step():
    """As in nnU-Net's networks, whose decoder holds the encoder, and whose blocks hold their convolution twice."""
    student, teacher = (nn.Module() for _ in range(2))
    for module, value in ((student, 1.0), (teacher, 0.0)):
        module.encoder = nn.Conv2d(1, 1, 1)
        module.decoder = nn.Sequential(module.encoder, nn.BatchNorm2d(1))
        with torch.no_grad():
            for tensor in module.state_dict().values():
                tensor.fill_(value)
    assert len(teacher.state_dict()) == 9
    MovingAverage(teacher, student).update(0.9)
    values = {name: float(value) for name, value in teacher.state_dict().items()}
    assert values.pop("decoder.1.num_batches_tracked") == 1
    assert values == dict.fromkeys(values, pytest.approx(0.1))


def test_softmax_mse_is_zero_for_equal_and_one_for_opposite_certain_logits():
    a = torch.tensor([[50.0, -50.0]])[..., None, None]
    assert softmax_mse(a, a) == 0
    assert torch.isclose(softmax_mse(a, -a), torch.tensor(1.0))


def test_heads_and_rows_of_one_output_and_of_several():
    one, several = torch.arange(8.0).reshape(4, 2), [torch.arange(8.0).reshape(4, 2), torch.arange(4.0).reshape(4, 1)]
    assert main_head(several) is several[0]
    assert torch.equal(rows(one, 1, 3), one[1:3])
    assert [len(head) for head in rows(several, 1, 3)] == [2, 2]

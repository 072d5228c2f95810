"""The mean teacher's moving average, for a network of 30 million parameters and for a small one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet
from racing import Action, Goal, faster, often, overhead, sized
from torch import nn

from atso_bench.benchmark.training.average import MovingAverage

pytestmark = pytest.mark.benchmark(group="moving average")
WIDTHS = {"30 M parameters": sized([32, 64, 128, 256, 512, 512, 512], [8, 16]), "0.1 M parameters": [8, 16, 32, 64]}
DECAY = 0.99


def unet(features: list[int]) -> nn.Module:
    stages = len(features)
    return PlainConvUNet(
        input_channels=1,
        n_stages=stages,
        features_per_stage=features,
        conv_op=nn.Conv2d,
        kernel_sizes=3,
        strides=[1, *[2] * (stages - 1)],
        n_conv_per_stage=2,
        num_classes=3,
        n_conv_per_stage_decoder=2,
        conv_bias=True,
        norm_op=nn.InstanceNorm2d,
        norm_op_kwargs={"affine": True},
        nonlin=nn.LeakyReLU,
        deep_supervision=True,
    )


def parameter_by_parameter(teacher: nn.Module, student: nn.Module) -> None:
    """As in the peers' code."""
    for old, new in zip(teacher.parameters(), student.parameters(), strict=True):
        old.data.mul_(DECAY).add_(new.data, alpha=1 - DECAY)


def by_dictionary(teacher: nn.Module, student: nn.Module) -> None:
    new = student.state_dict()
    teacher.load_state_dict({name: DECAY * old + (1 - DECAY) * new[name] for name, old in teacher.state_dict().items()})


RACES = [
    ("30 M parameters", "one flat lerp", overhead(1.15)),
    ("30 M parameters", "loop over parameters", faster(1)),
    ("30 M parameters", "a*b + c*d over a dict", faster(1)),
    ("0.1 M parameters", "prepared lists", overhead(1.15)),
    ("0.1 M parameters", "loop over parameters", faster(1)),
    ("0.1 M parameters", "a*b + c*d over a dict", faster(1)),
]


@pytest.mark.parametrize(("size", "opponent", "goal"), RACES)
def test_an_update(race: Callable[..., Any], device: torch.device, size: str, opponent: str, goal: Goal) -> None:
    student, teacher = (unet(WIDTHS[size]).to(device) for _ in range(2))
    teacher.requires_grad_(False)
    average = MovingAverage(teacher, student)
    theirs = opponents(teacher, student, device)[opponent]
    work = 1 if size.startswith("30") else 100

    ours, theirs = often(lambda: average.update(DECAY), work), often(theirs, work)
    race(f"moving average, {size}", ours, theirs, opponent=opponent, goal=goal, rounds=25, work=work)


def opponents(teacher: nn.Module, student: nn.Module, device: torch.device) -> dict[str, Action]:
    number = sum(parameter.numel() for parameter in student.parameters())
    flat = [torch.randn(number, device=device) for _ in range(2)]
    prepared = [[parameter.detach().clone() for parameter in module.parameters()] for module in (teacher, student)]
    return {
        "one flat lerp": lambda: flat[0].lerp_(flat[1], 1 - DECAY),
        "prepared lists": lambda: torch._foreach_lerp_(*prepared, 1 - DECAY),
        "loop over parameters": lambda: parameter_by_parameter(teacher, student),
        "a*b + c*d over a dict": lambda: by_dictionary(teacher, student),
    }

"""Recipes of the natural track: what a budget gives on a CPU, and the published protocols by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any, Literal, get_args

from annotated_types import Len
from pydantic import AfterValidator, Field

from atso_bench.benchmark.spec import Budget
from atso_bench.benchmark.task import Recipe
from atso_bench.datasets._shared.recipe import Overrides, Whole, check_overrides


@dataclass(frozen=True)
class Street:
    """What the natural track adds to a recipe.

    Attributes:
        encoder: a ResNet.
        weights: what it starts from: ``none``, ``imagenet`` or a file.
        weights_sha256: of that file; another one is refused. Empty for any.
        output_stride: pixels of the input for one of the encoder's last map.
        decoder: channels of the decoder.
        scales: two numbers, between which an image's random scale lies; or more, of which it is one.
        ohem_threshold: pixels whose true class has at most this probability are hard; None trains on all pixels.
        ohem_kept: share of the pixels that at least are trained on, the hardest ones.
        evaluation: ``whole`` image, or ``sliding`` window.
        window: side of the sliding window in pixels.
        stride: pixels from one window to the next.
        shift: whether windows at the edge are shifted inside, or else cut off.
    """

    encoder: str = "resnet50"
    weights: str = "none"
    weights_sha256: str = ""
    output_stride: int = 16
    decoder: int = 256
    scales: tuple[float, ...] = (0.5, 2.0)
    ohem_threshold: float | None = 0.7
    ohem_kept: float = 0.1
    evaluation: str = "whole"
    window: int = 801
    stride: int = 534
    shift: bool = False

    @property
    def atrous_rates(self) -> tuple[int, int, int]:
        """Of the pyramid's three convolutions: (6, 12, 18) at output stride 16, twice that at 8, as in the paper."""
        return (6, 12, 18) if self.output_stride == 16 else (12, 24, 36)

    @property
    def inference(self) -> str:
        """In words, for the record."""
        if self.evaluation == "whole":
            return "whole image"
        return (
            f"sliding window {self.window}, stride {self.stride}, {'shifted' if self.shift else 'cut off'} at the edge"
        )


@dataclass(frozen=True)
class Protocol:
    """A published protocol.

    Attributes:
        source: where its constants were read.
        recipe: its constants, all that ours can express.
        labelled: name of its lists of labelled frames.
        steps: its optimiser steps by the number of labelled frames.
        always: in what it differs whatever we do.
    """

    source: str
    recipe: Mapping[str, Any]
    labelled: str
    steps: Mapping[int, int]
    always: tuple[str, ...]


_SGD = {"momentum": 0.9, "nesterov": False, "weight_decay": 1e-4, "clip": None, "mirror": False, "batch": 16}
_FRAMES = 2975  # of Cityscapes' train part
_STEM = "encoder: a ResNet with one 7x7 convolution at its start, the protocol's has three 3x3 (deep stem)"
_HEAD = (
    "decoder: segmentation-models-pytorch's, with separable convolutions, one after fusion, dropout in the pyramid, "
    "and inputs padded to multiples of 16; the protocol's has plain ones, two after fusion"
)
_UNLABELLED = "loss of pseudo labels, and who sees how many unlabelled frames: the method's own"
_LAST = "score: the final model's, the protocol's is the best of those scored on the test set"
PROTOCOLS: dict[str, Protocol] = {
    "unimatch-801": Protocol(
        source="UniMatch (Yang et al., CVPR 2023), LiheYoung/UniMatch: configs/cityscapes.yaml, supervised.py",
        recipe={
            **_SGD,
            "patch": [801, 801],
            "lr": 0.005,
            "weights": "imagenet",
            "ohem_kept": round(200_000 / (2 * 801 * 801), 4),
            "evaluation": "sliding",
        },
        labelled="unimatch",
        # 240 epochs over the unlabelled frames, 2 of them on each of 4 devices
        steps={100: 86_160, 186: 83_760, 372: 78_000, 744: 66_960, 1488: 44_640},
        always=(
            _STEM,
            _HEAD,
            _LAST,
            _UNLABELLED,
            "batch normalisation: over the samples of one device, the protocol's is synchronised over 4",
        ),
    ),
    "cps-800": Protocol(
        source="CPS (Chen et al., CVPR 2021), charlesCXK/TorchSemiSeg: exp.city, scripts of 1/8",
        recipe={
            **_SGD,
            "patch": [800, 800],
            "lr": 0.02,
            "weights": "imagenet",
            "scales": [0.5, 0.75, 1, 1.5, 1.75, 2],
            "ohem_kept": round(50_000 / (800 * 800), 4),
            "evaluation": "sliding",
            "window": 800,
            "stride": 534,
            "shift": True,
        },
        labelled="cps",
        # 128, 137, 160 and 240 epochs over the unlabelled frames, 8 at a time
        steps={186: 44_544, 372: 44_525, 744: 44_640, 1488: 44_640},
        always=(
            _STEM,
            _HEAD,
            _LAST,
            _UNLABELLED,
            "encoder: no multi-grid in its last stage",
            "batch normalisation: over the samples of one device, the protocol's is synchronised over 8",
            "weight decay: on all parameters, the protocol's leaves out biases and normalisation",
        ),
    ),
}
_CITYSCAPES: dict[str, Any] = {
    "patch": [512, 1024],
    "batch": 8,
    "lr": 0.01,
    "momentum": 0.9,
    "nesterov": False,
    "weight_decay": 5e-4,
    "clip": None,
    "mirror": False,
}
_PHOTOS = {
    **_CITYSCAPES,
    "ohem_threshold": None,
}  # hard examples are mined on street scenes alone, by the protocols too
CONFIGURATIONS: dict[str, Mapping[str, Any]] = {
    "512x1024": _CITYSCAPES,
    "512x512": {**_PHOTOS, "patch": [512, 512]},
    "321x321": {**_PHOTOS, "patch": [321, 321]},
    **{name: protocol.recipe for name, protocol in PROTOCOLS.items()},
}
_CPU = {"encoder": "resnet18", "decoder": 64, "weights": "none", "patch": [128, 128], "evaluation": "whole", "batch": 4}
RECIPES: dict[str, Mapping[str, Any]] = {"smoke": {**_CPU, "patch": [64, 64]}, "small": {**_CPU, "lr": 0.02}}
"""What a budget changes in the configuration's recipe; other budgets change nothing."""

Encoder = Literal["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
ENCODERS: tuple[str, ...] = get_args(Encoder)


def _rising(scales: Sequence[float]) -> Sequence[float]:
    if len(scales) == 2 and scales[0] > scales[1]:
        raise ValueError("the smaller one is first")
    return scales


class StreetOverrides(Overrides, total=False):
    """Of the fields of ``Recipe`` and ``Street``."""

    encoder: Annotated[Encoder, Field(description=" or ".join(ENCODERS))]
    weights: Annotated[str, Len(1), Field(description="none, imagenet or a file")]
    weights_sha256: Annotated[str, Field(description="the SHA-256 of the file of weights")]
    output_stride: Annotated[int, Field(ge=8, le=16, multiple_of=8, description="8 or 16")]
    decoder: Annotated[Whole, Field(description="a whole number, at least 1")]
    scales: Annotated[
        Sequence[Annotated[float, Field(ge=0.1, le=10)]],
        Len(2),
        AfterValidator(_rising),
        Field(description="two numbers like [0.5,2], the smaller first, or more of which one is drawn, from 0.1 to 10"),
    ]
    ohem_threshold: Annotated[
        Annotated[float, Field(gt=0, lt=1)] | None, Field(description="a probability, or null to train on all pixels")
    ]
    ohem_kept: Annotated[float, Field(gt=0, le=1, description="a share above 0 and at most 1")]
    evaluation: Annotated[Literal["whole", "sliding"], Field(description="whole or sliding")]
    window: Annotated[Whole, Field(description="a whole number of pixels")]
    stride: Annotated[Whole, Field(description="a whole number of pixels")]
    shift: Annotated[bool, Field(description="true or false")]


def recipes(configuration: str, budget: Budget, overrides: Mapping[str, Any]) -> tuple[Recipe, Street]:
    """The two parts of the recipe.

    Raises:
        ValueError: for an override that is unknown or wrong.
    """
    check_overrides(overrides, StreetOverrides)
    chosen = {**CONFIGURATIONS[configuration], **RECIPES.get(budget.name, {}), **overrides}
    own = {field.name for field in fields(Street)}
    patch = tuple(int(size) for size in chosen.pop("patch"))
    if len(patch) != 2 or not all(16 <= size <= 8192 for size in patch):
        raise ValueError(
            f"recipe.patch must be height and width of a crop like [512,1024], each from 16 to 8192, got {list(patch)}"
        )
    if chosen["batch"] < 2:
        raise ValueError("recipe.batch must be at least 2 here: DeepLabV3+ normalises over the samples of a batch")
    street: dict[str, Any] = {
        name: tuple(map(float, value)) if name == "scales" else value for name, value in chosen.items() if name in own
    }
    recipe = Recipe(patch=patch, **{name: value for name, value in chosen.items() if name not in own})
    made = Street(**street)
    if made.stride > made.window:
        raise ValueError(f"recipe.stride {made.stride} leaves pixels out between windows of {made.window}")
    return recipe, made


def differences(
    configuration: str, recipe: Recipe, street: Street, budget: Budget, labelled: int, unlabelled: int, *, listed: bool
) -> dict[str, Any] | None:
    """What the record says of the configuration's protocol, and of all in which a run differs; None without one.

    Args:
        configuration: its name.
        recipe: what is used.
        street: what is used.
        budget: what is used.
        labelled: number of labelled frames.
        unlabelled: number of unlabelled frames.
        listed: whether the labelled frames are a published list.
    """
    protocol = PROTOCOLS.get(configuration)
    if protocol is None:
        return None
    mine = {**asdict(recipe), **asdict(street)}
    wanted = {**asdict(Street()), "mirror_pseudo": False, **protocol.recipe}
    said = [
        f"{name}: {_words(mine[name])}, the protocol's {_words(wanted[name])}"
        for name in wanted
        if _words(mine[name]) != _words(wanted[name])
    ]
    steps = protocol.steps.get(labelled)
    each = " for each training" if budget.parity == "phase" else ""
    if steps is None:
        cells = ", ".join(map(str, protocol.steps))
        said.append(f"labelled frames: {labelled}, the protocol has {cells}; optimiser steps: {budget.steps:,}{each}")
    elif budget.steps != steps or each:
        said.append(f"optimiser steps: {budget.steps:,}{each}, the protocol's {steps:,}")
    if steps is not None and not listed:
        said.append(f"labelled frames: drawn by our seeds, the protocol's from its list ({protocol.labelled})")
    if labelled + unlabelled != _FRAMES:
        said.append(f"frames to learn from: {labelled + unlabelled:,}, the protocol's {_FRAMES:,}")
    return {"name": configuration, "source": protocol.source, "differs": [*said, *protocol.always]}


def _words(value: Any) -> str:
    return " ".join(f"{each:g}" for each in value) if isinstance(value, list | tuple) else str(value)

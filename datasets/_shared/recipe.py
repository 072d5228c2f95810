"""What a recipe's fields may be: overrides are checked here before anything is made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from annotated_types import Len
from pydantic import Field, TypeAdapter, with_config
from typing_extensions import TypedDict

from atso_bench.benchmark.reading.typed import STRICT, wrongs

Whole = Annotated[int, Field(ge=1)]


@with_config(STRICT)
class Overrides(TypedDict, total=False):
    """Of the fields of ``Recipe``; a description says in words what is wanted. A track adds its own."""

    patch: Annotated[Sequence[Whole], Len(1), Field(description="a list like [48,48]")]
    batch: Annotated[Whole, Field(description="a whole number, at least 1")]
    lr: Annotated[float, Field(gt=0, description="a number above 0")]
    momentum: Annotated[float, Field(gt=0, lt=1, description="a number above 0 and below 1")]
    nesterov: Annotated[bool, Field(description="true or false")]
    weight_decay: Annotated[float, Field(ge=0, description="a number, at least 0")]
    clip: Annotated[Annotated[float, Field(gt=0)] | None, Field(description="a number above 0, or null for none")]
    mirror: Annotated[bool, Field(description="true or false")]
    mirror_pseudo: Annotated[bool, Field(description="true or false")]
    labelled_share: Annotated[float, Field(gt=0, lt=1, description="a share above 0 and below 1")]
    extra_unlabelled: Annotated[bool, Field(description="true or false")]


def check_overrides(overrides: Mapping[str, Any], kind: type[Overrides]) -> None:
    """Refuse an override that is unknown, of the wrong type or out of range; the value itself is left as it is.

    Args:
        overrides: fields by name.
        kind: the track's fields.

    Raises:
        ValueError: naming the field.
    """
    adapter = TypeAdapter(kind)
    found = list(wrongs(adapter, dict(overrides)))
    if not found:
        return
    fields = adapter.json_schema()["properties"]
    if unknown := sorted(wrong.place for wrong in found if wrong.kind == "extra_forbidden"):
        raise ValueError(f"unknown recipe field(s) {', '.join(unknown)}; known: {', '.join(fields)}")
    name = found[0].place
    raise ValueError(f"recipe.{name} must be {fields[name]['description']}, got {overrides[name]!r}")

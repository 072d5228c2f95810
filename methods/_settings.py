"""Common to all methods: frozen hyper-parameters, groups, and presets with the settings of published code."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, model_validator


class Settings(BaseModel):
    """Base of a method. ``preset`` is an option too: it stands for those that it sets; what is given goes before it.

    Attributes:
        groups: names by which ``--method`` takes this method with others: ``baselines``; ``generations`` of students;
            ``consistency`` within a step.
        presets: options by the name of the code or protocol whose setting they are.
        after_training: options that are read when all training is done, so that no phase depends on them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    groups: ClassVar[tuple[str, ...]] = ()
    presets: ClassVar[dict[str, dict[str, Any]]] = {}
    after_training: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _resolved(cls, given: Any) -> Any:
        if not isinstance(given, dict) or "preset" not in given:
            return given
        chosen = {**given}
        name = chosen.pop("preset")
        if name not in cls.presets:
            raise ValueError(f"preset is one of {', '.join(cls.presets)}" if cls.presets else "it has no preset")
        return {**cls.presets[name], **chosen}

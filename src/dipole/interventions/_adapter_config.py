"""The configuration of a PEFT adapter, checked before PEFT, which trusts it, sees it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dipole.files.reader import inside, read_json
from dipole.files.schema import (
    Choice,
    Either,
    Facts,
    Flag,
    Items,
    Map,
    Maybe,
    Misfit,
    Name,
    Number,
    Optional,
    Table,
    Text,
    Whole,
    checked,
    shown,
)
from dipole.types import UserError

if TYPE_CHECKING:
    from peft import PeftConfig

CONFIG_FILE = "adapter_config.json"
REMEDY = "the file is truncated or corrupt: copy the adapter again from where it was made, or fit it again"
_MOST_REPEATS = 6


@dataclass(frozen=True)
class Pattern:
    """A regular expression that can't take for ever on the name of a module."""

    def read(self, value: Any, where: str) -> str:
        """The expression."""
        if not isinstance(value, str) or len(value) > 2000 or not _is_calm(value):
            raise Misfit(
                f"{where} must be a regular expression without repeats inside repeats and with at most "
                f"{_MOST_REPEATS} that are unbounded, and is {shown(value)}"
            )
        return value


def _is_calm(pattern: str) -> bool:
    """Whether matching is at worst a small power of the length of a name."""
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        return False
    plain = re.sub(r"\\.", "a", pattern, flags=re.DOTALL)
    plain = re.sub(r"\[\^?\]?[^\]]*\]", "a", plain)
    if len(re.findall(r"[*+]|\{\d*,\d*\}", plain)) > _MOST_REPEATS:
        return False
    while (group := re.search(r"\((?:\?[:=!<P][^()]*?)?[^()]*\)", plain)) is not None:
        repeats = re.search(r"[*+\x01]|\{\d*,\d*\}", group[0][1:-1]) is not None
        if repeats and plain[group.end() : group.end() + 1] in ("*", "+", "{"):
            return False
        plain = plain[: group.start()] + ("\x01" if repeats else "a") + plain[group.end() :]
    return True


@dataclass(frozen=True)
class Nothing:
    """What needs another package, or changes the base model: it may only be null."""

    def read(self, value: Any, where: str) -> None:
        """Null."""
        if value is not None:
            raise Misfit(f"{where} is not supported and must be null, and is {shown(value)}")


_NAMES = Items(Text(1000), 0, 100_000)
_COUNT = Whole(0, 1_000_000)
_MODULES = Optional(Maybe(Either(_NAMES, Pattern())))
_FIELDS = Table(
    {
        "peft_type": Name(40, 1),
        "task_type": Optional(Maybe(Name(40))),
        "auto_mapping": Optional(Maybe(Facts())),
        "base_model_name_or_path": Optional(Maybe(Name(4096))),
        "revision": Optional(Maybe(Name(4096))),
        "inference_mode": Optional(Flag()),
        "r": Optional(_COUNT),
        "target_modules": _MODULES,
        "exclude_modules": _MODULES,
        "lora_alpha": Optional(Number()),
        "alpha": Optional(Number()),
        "lora_dropout": Optional(Number(0, 1)),
        "fan_in_fan_out": Optional(Flag()),
        "bias": Optional(Choice(("none", "all", "lora_only"))),
        "use_rslora": Optional(Flag()),
        "use_dora": Optional(Flag()),
        "use_qalora": Optional(Flag()),
        "lora_bias": Optional(Flag()),
        "modules_to_save": Optional(Maybe(_NAMES)),
        "init_lora_weights": Optional(Either(Flag(), Name(100))),
        "layers_to_transform": Optional(Maybe(Either(_COUNT, Items(_COUNT, 0, 100_000)))),
        "layers_pattern": Optional(Maybe(Either(Pattern(), Items(Pattern())))),
        "rank_pattern": Optional(Maybe(Map(Pattern(), _COUNT))),
        "alpha_pattern": Optional(Maybe(Map(Pattern(), Number()))),
        "layer_replication": Optional(Maybe(Items(Items(_COUNT, 2, 2)))),
        **{name: Optional(Nothing()) for name in ("megatron_config", "corda_config", "lora_ga_config")},
        "target_parameters": Optional(Maybe(_NAMES)),
        "trainable_token_indices": Optional(Maybe(Either(Items(_COUNT), Map(Text(1000), Items(_COUNT))))),
    },
    more=True,  # a newer PEFT knows more, which is left out as PEFT itself does
)


def read_config(folder: Path, largest: int) -> PeftConfig:
    """The configuration of an adapter.

    Args:
        folder: Of the adapter.
        largest: Largest size of any of its tensors: no rank can be beyond.

    Raises:
        UserError: It can't be read, is of a kind that PEFT does not know, or has an entry of another type or
            out of its range.
    """
    path = inside(folder, CONFIG_FILE)
    data = read_json(path, REMEDY)
    fields = checked(_FIELDS, data, path, REMEDY)
    ranks: Mapping[str, int] = fields["rank_pattern"] or {}
    if max([fields["r"] or 0, *ranks.values()]) > largest:
        raise UserError(
            f"{path} names a rank beyond the largest size of the adapter's tensors ({largest}); {REMEDY}."
        )
    return _made(path, data)


def _made(path: Path, data: dict[str, Any]) -> PeftConfig:
    from peft import PeftConfig

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # fields of a newer PEFT, which it says it leaves out
            make: Any = PeftConfig.from_peft_type  # it has no types
            config: PeftConfig = make(**data)
    except (ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        why = " ".join(f"{type(error).__name__} {error}".split())[:200]
        raise UserError(f"{path} can't be used by PEFT ({why}); {REMEDY}.") from error
    return config

"""The weights surface: PEFT adapters, engaged only while a call runs.

An adapter is injected into the resident model when a call begins and taken out when it ends, also when
it raises. Between calls the module tree, the parameters and the hooks are the base model's own, and
there is never a second copy of the weights.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from dipole.engaging.adapters import Fitted, check_usable, put_in
from dipole.engaging.stack import Frame
from dipole.files import write_bytes_atomic, write_json_atomic, write_text_atomic
from dipole.files.reader import inside
from dipole.files.schema import Choice, Facts, Field, Items, Maybe, Name, Optional, Whole
from dipole.interventions._adapter_config import CONFIG_FILE, REMEDY, read_config
from dipole.interventions.folder import CARD_FILE, META_FILE, read_card, read_fields
from dipole.interventions.tag import tagged
from dipole.protocols import LM
from dipole.tensors import Wanted, read_tensors
from dipole.types import Surface, UserError

if TYPE_CHECKING:
    from peft import PeftConfig


WEIGHTS_FILE = "adapter_model.safetensors"


@dataclass(frozen=True, eq=False)
class Adapter:
    """A PEFT adapter with the fingerprint of the model that it was made for.

    Attributes:
        config: PEFT's configuration.
        state: PEFT's state dict, as `adapter_model.safetensors` stores it.
        base_fingerprint: Fingerprint of the base weights; None for an adapter that was not made by us.
        base_name: Name of the base model.
        card: Model card in Markdown, written beside the adapter as README.md.
        facts: How it came about, such as who judged it, for `dipole.json`.
        tags: Ids of the tokens that call up what was learned and its opposite, where it was learned behind
            such; see `tag`. A strength below 0 then is the opposite mode, not the opposite change.
    """

    config: PeftConfig
    state: Mapping[str, Tensor]
    base_fingerprint: str | None
    base_name: str
    card: str = field(default="")
    facts: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[int, int] | None = None

    surface: ClassVar[Surface] = "weights"
    kind: ClassVar[str] = "adapter"
    graded: ClassVar[bool] = True

    def apply(self, lm: LM, strength: float = 1.0) -> LM:
        """The LM with the adapter's low-rank change multiplied by `strength`, and its tag if it has any.

        Raises:
            UserError: The adapter was made for other weights, or can't be scaled to this strength.
        """
        if not math.isfinite(strength):
            raise UserError(
                f"The strength must be a finite number, and is {strength}; 0 is the base, 1 as fitted."
            )
        check_usable(self.config, strength)
        have = lm.resident.fingerprint
        if self.base_fingerprint is not None and self.base_fingerprint != have:
            raise UserError(
                f"This adapter was made for {self.base_name} (fingerprint {self.base_fingerprint}), but the "
                f"loaded model is {lm.resident.name} (fingerprint {have}). Load the model it was made for "
                f"with model={self.base_name!r}, or fit the control again on this one."
            )
        if self.tags is None:
            return lm.with_intervention(self, strength)
        # Each part is saved as what it is, so the adapter that an LM holds has no tags any more.
        return tagged(lm.with_intervention(replace(self, tags=None), abs(strength)), self.tags, strength)

    @staticmethod
    def put_in(frame: Frame, parts: Sequence[tuple[Adapter, float]]) -> None:
        """Put adapters with their strengths into the model of an engagement."""
        put_in(frame, [(Fitted(a.config, a.state, a.base_name), strength) for a, strength in parts])

    def save(self, folder: Path) -> None:
        """Write the adapter in PEFT's own layout, so that `peft` loads it without us.

        Each file is replaced at once, the configuration last, so a folder that can be loaded is whole.

        Raises:
            UserError: The folder can't be written.
        """
        from safetensors.torch import save

        tensors = {name: tensor.detach().contiguous().cpu() for name, tensor in sorted(self.state.items())}
        write_bytes_atomic(folder / WEIGHTS_FILE, save(tensors, metadata={"format": "pt"}))
        meta = {
            "surface": self.surface,
            "kind": self.kind,
            "base": self.base_name,
            "base_fingerprint": self.base_fingerprint,
            "facts": self.facts,
            **({"tags": list(self.tags)} if self.tags else {}),
        }
        write_json_atomic(folder / META_FILE, meta)
        write_text_atomic(folder / CARD_FILE, self.card or _plain_card(self))
        write_text_atomic(folder / CONFIG_FILE, _config_json(self.config))

    @classmethod
    def load(cls, folder: Path) -> Adapter:
        """Read an adapter folder; pickled weights are refused.

        Raises:
            UserError: A file is missing, truncated, corrupt or a pickle.
        """
        _require_files(folder)
        state = read_tensors(inside(folder, WEIGHTS_FILE), {}, REMEDY, others=Wanted("any"))
        config = read_config(folder, max((max(t.shape, default=1) for t in state.values()), default=1))
        meta = read_fields(folder, _FIELDS) if (folder / META_FILE).is_file() else {}
        name = meta.get("base") or getattr(config, "base_model_name_or_path", None) or "an unknown model"
        tags = tuple(meta.get("tags") or ()) or None
        return cls(
            config, state, meta.get("base_fingerprint"), name, read_card(folder), meta.get("facts", {}), tags
        )


_FIELDS: dict[str, Field] = {
    "kind": Optional(Choice(("adapter",)), "adapter"),  # those of the first version have a surface alone
    "base": Optional(Maybe(Name(4096))),
    "base_fingerprint": Optional(Maybe(Name(64))),
    "facts": Optional(Facts(), {}),
    "tags": Optional(Items(Whole(0), 2, 2), ()),
}


def _require_files(folder: Path) -> None:
    missing = [name for name in (CONFIG_FILE, WEIGHTS_FILE) if not (folder / name).is_file()]
    if not missing:
        return
    pickles = [p.name for p in sorted(folder.glob("*")) if p.suffix in {".bin", ".pt", ".pth", ".pkl"}]
    if pickles and WEIGHTS_FILE in missing:
        raise UserError(
            f"{folder / pickles[0]} is a pickle, which can run code when it is read, so it is refused; save "
            f"the adapter as {WEIGHTS_FILE} with peft's safe_serialization=True."
        )
    raise UserError(
        f"There is no whole adapter in {folder}: {' and '.join(missing)} is missing; give the folder that "
        "dipole or peft wrote."
    )


def _config_json(config: PeftConfig) -> str:
    with tempfile.TemporaryDirectory() as scratch:
        config.save_pretrained(scratch)  # PEFT knows how its own types become JSON
        return (Path(scratch) / CONFIG_FILE).read_text("utf-8") + "\n"


def _plain_card(adapter: Adapter) -> str:
    return (
        f"---\nlibrary_name: peft\nbase_model: {json.dumps(adapter.base_name)}\ntags:\n- dipole\n---\n\n"
        f"# An adapter for {adapter.base_name}\n\n"
        f"Made with dipole. Fingerprint of the base weights: `{adapter.base_fingerprint}`.\n\n"
        "```python\nfrom peft import PeftModel\n\nmodel = PeftModel.from_pretrained(base_model, "
        "folder)\n```\n"
    )

"""The weights surface: PEFT adapters, engaged only while a call runs.

An adapter is injected into the resident model when a call begins and taken out when it ends, also when
it raises. Between calls the module tree, the parameters and the hooks are the base model's own, and
there is never a second copy of the weights.
"""

from __future__ import annotations

import json
import math
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from dipole.files import write_bytes_atomic, write_json_atomic, write_text_atomic
from dipole.interventions._engage import (
    adapter_state,
    check_usable,
    engaged_adapters,
    has_live_adapter,
    inject,
    scale_adapter,
)
from dipole.types import Surface, UserError

if TYPE_CHECKING:
    from peft import PeftConfig

    from dipole.lm import LM

__all__ = ["Adapter", "adapter_state", "engaged_adapters", "has_live_adapter", "inject", "scale_adapter"]

WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"
META_FILE = "dipole.json"


@dataclass(frozen=True, eq=False)
class Adapter:
    """A PEFT adapter with the fingerprint of the model that it was made for.

    Attributes:
        config: PEFT's configuration.
        state: PEFT's state dict, as `adapter_model.safetensors` stores it.
        base_fingerprint: Fingerprint of the base weights; None for an adapter that was not made by us.
        base_name: Name of the base model.
        card: Model card in Markdown, written beside the adapter as README.md.
    """

    config: PeftConfig
    state: Mapping[str, Tensor]
    base_fingerprint: str | None
    base_name: str
    card: str = field(default="")

    surface: ClassVar[Surface] = "weights"
    kind: ClassVar[str] = "adapter"
    graded: ClassVar[bool] = True

    def apply(self, lm: LM, strength: float = 1.0) -> LM:
        """The LM with the adapter's low-rank change multiplied by `strength`.

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
                f"with --model {self.base_name}, or fit the control again on this one."
            )
        return lm.with_intervention(self, strength)

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
        }
        write_json_atomic(folder / META_FILE, meta)
        write_text_atomic(folder / "README.md", self.card or _plain_card(self))
        write_text_atomic(folder / CONFIG_FILE, _config_json(self.config))

    @classmethod
    def load(cls, folder: Path) -> Adapter:
        """Read an adapter folder; pickled weights are refused.

        Raises:
            UserError: A file is missing, truncated, corrupt or a pickle.
        """
        from peft import PeftConfig
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        _require_files(folder)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # fields of a newer PEFT, which it says it leaves out
                config = PeftConfig.from_pretrained(str(folder))
            state = load_file(str(folder / WEIGHTS_FILE))
            meta_path = folder / META_FILE
            meta: dict[str, Any] = json.loads(meta_path.read_text("utf-8")) if meta_path.is_file() else {}
            fingerprint = meta.get("base_fingerprint")
        except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise _unreadable(folder, str(error) or type(error).__name__) from error
        broken = [name for name, tensor in state.items() if not bool(tensor.isfinite().all())]
        if broken:
            raise _unreadable(folder, f"{broken[0]} has values that are not finite")
        name = str(meta.get("base") or getattr(config, "base_model_name_or_path", None) or "an unknown model")
        return cls(config, state, fingerprint, name, _read_card(folder))


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


def _unreadable(folder: Path, why: str) -> UserError:
    return UserError(
        f"The adapter in {folder} can't be read ({' '.join(why.split())[:300]}): a file is truncated or "
        "corrupt; copy it again from where it was made, or fit the control again."
    )


def _read_card(folder: Path) -> str:
    try:
        return (folder / "README.md").read_text("utf-8")
    except (OSError, ValueError):
        return ""


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

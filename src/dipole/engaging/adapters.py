"""PEFT adapters in the resident model.

PEFT changes a model in place: it swaps modules, marks parameters, sets attributes. `Tree` records what it
touches and puts it back.
"""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from dipole.engaging.stack import Frame, Tree
from dipole.types import UserError

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel

# Initialisations of LoRA that leave the base weights alone; the others (PiSSA, OLoRA, CorDA, LoftQ, …)
# subtract what the adapter starts with.
_HARMLESS_INITS = (True, False, "gaussian", "orthogonal", "eva")
# What PEFT ends with where a configuration does not suit a model, or an entry of it is of the wrong type.
_PEFT_RAISES = (
    *(ValueError, TypeError, LookupError, AttributeError, RuntimeError, AssertionError, ArithmeticError),
    *(ImportError, OSError, re.error),
)
_GRADED_KINDS = ("LORA", "ADALORA")


class Fitted(NamedTuple):
    """A PEFT adapter.

    Attributes:
        config: PEFT's configuration.
        state: PEFT's state dict.
        base_name: Name of the model that it was made for.
    """

    config: PeftConfig
    state: Mapping[str, Tensor]
    base_name: str


def put_in(frame: Frame, adapters: Sequence[tuple[Fitted, float]]) -> None:
    """Put adapters with their strengths into the model of an engagement.

    Raises:
        UserError: An adapter does not fit the model, or has no graded strength.
    """
    for adapter, strength in adapters:
        check_usable(adapter.config, strength)
    frame.record()
    with torch.random.fork_rng(devices=cuda_devices(frame.model)):
        # PEFT draws an initial value that is then replaced.
        wrapped: Any = inject(frame.model, [adapter.config for adapter, _ in adapters])
    for index, (adapter, strength) in enumerate(adapters):
        _load_state(wrapped, adapter, f"dipole_{index}")
        scale_adapter(wrapped, f"dipole_{index}", strength)
    wrapped.base_model.set_adapter([f"dipole_{i}" for i in range(len(adapters))], inference_mode=True)
    wrapped.eval()


def cuda_devices(model: nn.Module) -> list[int]:
    """Numbers of the CUDA devices that hold the model."""
    return sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})


def inject(model: Any, configs: Sequence[PeftConfig]) -> PeftModel:
    """Put fresh adapters named `dipole_0`, `dipole_1`, … into the model; undo it with `unload()`.

    Their parameters are trainable and drawn from torch's global random numbers.

    Raises:
        UserError: The model has no place for such an adapter; the model is left as it was.
    """
    from peft import PeftModel

    if has_live_adapter(model):
        raise RuntimeError(
            "An adapter is in place in the resident model already; unload it before injecting another."
        )
    before = Tree(model)
    with warnings.catch_warnings():
        # PEFT warns about a second adapter on one base model, which is what composing means, and about
        # tied weights, which only matter for merging.
        warnings.simplefilter("ignore")
        try:
            # PEFT writes into configs, and an adapter's own must stay as it is.
            wrapped = PeftModel(model, copy.deepcopy(configs[0]), adapter_name="dipole_0")
            for index, config in enumerate(configs[1:], start=1):
                wrapped.add_adapter(f"dipole_{index}", copy.deepcopy(config))
            _try_odd_layers(model, wrapped)
        except _PEFT_RAISES as error:
            before.restore()
            raise UserError(_misfit(model, configs, error)) from error
        except BaseException:
            before.restore()
            raise
        finally:
            before.drop_config()
    return wrapped


def _try_odd_layers(model: Any, wrapped: nn.Module) -> None:
    """Run the model once where an adapter sits on a linear layer with a forward of its own.

    Its output may have another shape than the product of matrices that the adapter adds to it, such as that
    of a layer of groups.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    held = (module.get_base_layer() for module in wrapped.modules() if isinstance(module, BaseTunerLayer))
    if any(isinstance(layer, nn.Linear) and type(layer).forward is not nn.Linear.forward for layer in held):
        table = model.get_input_embeddings().weight
        with torch.no_grad():
            model(input_ids=torch.arange(3, 6, device=table.device)[None] % table.shape[0], use_cache=False)


def _misfit(model: Any, configs: Sequence[PeftConfig], error: Exception) -> str:
    kinds = {str(getattr(c.peft_type, "value", c.peft_type)) for c in configs}
    if len(kinds) > 1:
        named = ", ".join(sorted(kinds))
        return f"Adapters of different kinds ({named}) can't be engaged together; use one kind."
    detail = " ".join(str(error).split())
    return (
        f"The adapter does not fit {type(model).__name__}: {detail} Load the model that the adapter was made "
        "for, or choose modules that this model has."
    )


def has_live_adapter(model: nn.Module) -> bool:
    """Whether a PEFT adapter is in place in the model right now."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return any(isinstance(module, BaseTunerLayer) for module in model.modules())


def check_usable(config: PeftConfig, strength: float) -> None:
    """Refuse adapters that would change the base weights, or that can't be scaled to this strength.

    Raises:
        UserError: Prompt-learning methods, initialisations that rewrite the base, replicated layers, or a
            strength other than 0 and 1 for an adapter of which only a part is scaled.
    """
    kind = str(getattr(config.peft_type, "value", config.peft_type))
    if config.is_prompt_learning:
        raise UserError(
            f"This adapter is of the kind {kind}, which adds virtual tokens; only adapters that change "
            "weights, such as LoRA, can be engaged."
        )
    rewritten = _rewritten_base(config)
    if rewritten:
        raise UserError(
            f"This adapter changes the base model itself ({rewritten}), which other interventions share; "
            "convert it to a plain LoRA with peft, then load that."
        )
    whole = [
        n for n in ("use_dora", "modules_to_save", "trainable_token_indices") if getattr(config, n, None)
    ]
    if strength not in (0.0, 1.0) and (kind not in _GRADED_KINDS or whole):
        what = f"with {whole[0]}" if whole else f"of the kind {kind}"
        raise UserError(
            f"An adapter {what} has no graded strength: use it at strength 1 (as fitted) or 0 (off), not "
            f"{strength:g}."
        )


def _rewritten_base(config: PeftConfig) -> str | None:
    """What in this configuration makes PEFT write into the base weights; None where nothing does."""
    init = getattr(config, "init_lora_weights", True)
    if init not in _HARMLESS_INITS:
        return f"its initialisation is {init!r}"
    if getattr(config, "bias", "none") != "none":
        return "its biases are trained in place"
    if getattr(config, "layer_replication", None):
        return "it repeats layers"
    return "it is a KaSA adapter" if getattr(config, "kasa_config", None) is not None else None


def scale_adapter(wrapped: Any, name: str, strength: float) -> None:
    """Multiply the change that one adapter makes by `strength`.

    Raises:
        UserError: The adapter is of a kind without a scale.
    """
    found = False
    for module in wrapped.modules():
        scaling = getattr(module, "scaling", None)
        if isinstance(scaling, dict) and name in scaling:
            scaling[name] *= strength
            found = True
    if not found and strength != 1.0:
        raise UserError(
            "This kind of adapter has no scale, so it can only be used at strength 1 (as fitted) or 0 (off)."
        )


def _load_state(wrapped: Any, adapter: Fitted, name: str) -> None:
    from peft import set_peft_model_state_dict

    wanted = set(adapter_state(wrapped, name))
    state = _without_base_copies(wrapped, adapter.state, wanted)
    missing, surplus = sorted(wanted - set(state)), sorted(set(state) - wanted)
    if missing or surplus:
        detail = f"it lacks {len(missing)} tensors" if missing else f"it has {len(surplus)} tensors too many"
        raise UserError(
            f"The adapter does not fit the model: {detail} (first: {(missing or surplus)[0]}). It was made "
            f"for {adapter.base_name}; load that model, or get a whole copy of the adapter."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            set_peft_model_state_dict(wrapped, state, adapter_name=name)
    except _PEFT_RAISES as error:
        detail = " ".join(str(error).split())
        raise UserError(
            f"The adapter does not fit the model: {detail[:300]}. It was made for {adapter.base_name}; load "
            "that model."
        ) from error


def _without_base_copies(wrapped: Any, state: Mapping[str, Tensor], wanted: set[str]) -> dict[str, Tensor]:
    """Leave out embeddings that PEFT stored beside the adapter, as long as they are the base's own."""
    surplus = set(state) - wanted
    have = wrapped.state_dict() if surplus else {}
    copies = {key for key in surplus if key in have and _equal(have[key], state[key])}
    return {key: tensor for key, tensor in state.items() if key not in copies}


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one.to("cpu", other.dtype), other.cpu())


def adapter_state(wrapped: Any, name: str) -> dict[str, Tensor]:
    """A copy of one adapter's tensors in PEFT's naming."""
    from peft import get_peft_model_state_dict

    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Left to itself, PEFT asks the hub whether the base model's vocabulary has another size there.
        state = get_peft_model_state_dict(wrapped, adapter_name=name, save_embedding_layers=False)
        return {key: tensor.detach().clone() for key, tensor in state.items()}

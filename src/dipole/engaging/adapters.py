"""Put PEFT adapters into the resident model for the length of a call, and take them out without a trace.

PEFT changes a model in place: it swaps modules, marks parameters, sets attributes. Everything that it
touches is recorded beforehand and put back afterwards, so a failure half-way leaves nothing behind
either. Whoever calls this has the model's turn (`dipole.models.turns`).
"""

from __future__ import annotations

import copy
import re
import warnings
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dipole.types import UserError

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel

    from dipole.interventions.weights import Adapter

# For each resident model the engagements that are now open, outermost first.
_OPEN: weakref.WeakKeyDictionary[nn.Module, list[_Engagement]] = weakref.WeakKeyDictionary()

# Initialisations of LoRA that leave the base weights alone; the others (PiSSA, OLoRA, CorDA, LoftQ, …)
# subtract what the adapter starts with.
_HARMLESS_INITS = (True, False, "gaussian", "orthogonal", "eva")
# What PEFT ends with where a configuration does not suit a model, or an entry of it is of the wrong type.
_PEFT_RAISES = (
    *(ValueError, TypeError, LookupError, AttributeError, RuntimeError, AssertionError, ArithmeticError),
    *(ImportError, OSError, re.error),
)
_GRADED_KINDS = ("LORA", "ADALORA")


class Tree:
    """What PEFT changes about a model: children, parameters, modes, gradient flags and its own attribute."""

    def __init__(self, model: nn.Module) -> None:
        """Record the tree as it is."""
        self._model = weakref.ref(model)
        self._children = [(module, dict(module._modules)) for module in model.modules()]
        self._held = [(module, dict(module._parameters)) for module, _ in self._children]
        self._training = [(module, module.training) for module, _ in self._children]
        self._parameters = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
        self._had_config = "peft_config" in vars(model)

    def restore(self) -> None:
        """Make it so again."""
        for module, children in self._children:
            if module._modules != children:
                module._modules.clear()
                module._modules.update(children)
        for module, held in self._held:
            # PEFT takes experts' weights out for a forward, and puts them back behind the others.
            if [*map(id, module._parameters.values())] != [*map(id, held.values())]:
                module._parameters.clear()
                module._parameters.update(held)
        for module, training in self._training:
            module.training = training
        for parameter, requires_grad in self._parameters:
            if parameter.requires_grad != requires_grad:
                parameter.requires_grad_(requires_grad)
        model = self._model()
        if model is not None and not self._had_config and "peft_config" in vars(model):
            del model.peft_config


@dataclass(eq=False)
class _Engagement:
    """Trees of the model without adapters, and as the engagement around this one has it."""

    base: Tree
    outer: Tree | None
    open: bool = True


@contextmanager
def engaged_adapters(model: Any, adapters: Sequence[tuple[Adapter, float]]) -> Iterator[Any]:
    """The model with exactly these adapters in place for the length of a `with` block.

    Blocks may be nested, such as a judge that reads with the base weights while a policy is engaged:
    each sees its own adapters and none of the outer ones, and the outer ones are back when it ends.
    An adapter under training, which `inject` put there, is no such block: the model with no adapters
    is then the model as it stands, and engaging one raises.

    Args:
        model: The resident base model.
        adapters: Adapters with their strengths. A strength of 0 leaves the adapter out, which is
            bit-exact.

    Yields:
        The model itself.

    Raises:
        UserError: An adapter does not fit the model, or has no graded strength.
    """
    active = [(adapter, strength) for adapter, strength in adapters if strength != 0.0]
    for adapter, strength in active:
        check_usable(adapter.config, strength)
    stack = _OPEN.setdefault(model, [])
    if not stack and not active:
        yield model
        return
    outer = Tree(model) if stack else None
    if stack:
        stack[0].base.restore()
    mine = _Engagement(Tree(model), outer)
    stack.append(mine)
    try:
        if active:
            _put_in(model, active)
        yield model
    finally:
        mine.open = False
        if stack[-1] is mine:
            mine.base.restore()
            # One that was left before what was nested in it is over now.
            while stack and not stack[-1].open:
                outer = stack.pop().outer
            if outer is not None:
                outer.restore()


def _put_in(model: Any, active: Sequence[tuple[Adapter, float]]) -> None:
    wrapped: Any
    with torch.random.fork_rng(
        devices=cuda_devices(model)
    ):  # PEFT draws an initial value that is then replaced
        wrapped = inject(model, [adapter.config for adapter, _ in active])
    for index, (adapter, strength) in enumerate(active):
        _load_state(wrapped, adapter, f"dipole_{index}")
        scale_adapter(wrapped, f"dipole_{index}", strength)
    wrapped.base_model.set_adapter([f"dipole_{i}" for i in range(len(active))], inference_mode=True)
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
            if not before._had_config and "peft_config" in vars(model):
                del model.peft_config
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


def _load_state(wrapped: Any, adapter: Adapter, name: str) -> None:
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

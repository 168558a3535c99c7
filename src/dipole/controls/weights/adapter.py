"""The adapter under training: what it is put on, and its place in the resident model while it learns.

`all-linear` means the linear layers of the language part, and its experts.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn

from dipole.controls.weights.settings import Trained
from dipole.engaging.adapters import cuda_devices, inject
from dipole.engaging.blocks import decoder_blocks, language_part
from dipole.engaging.stack import Tree
from dipole.protocols import LM
from dipole.resident import UNSUPPORTED
from dipole.types import UserError

ADAPTER = "dipole_0"
ALL = "all-linear"


def lora_config(control: Trained) -> Any:
    """PEFT's configuration of a control's adapter; dropout is 0."""
    from peft import LoraConfig

    targets: str | list[str] = control.target_modules
    if targets != ALL:
        targets = [t.strip() for t in control.target_modules.split(",") if t.strip()]
    alpha: Any = control.lora_alpha  # PEFT annotates an int and takes any number
    return LoraConfig(
        r=control.lora_rank,
        lora_alpha=alpha,
        lora_dropout=0.0,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )


@contextmanager
def live_adapter(lm: LM, config: Any, seed: int) -> Iterator[Any]:
    """The resident model with a fresh adapter injected, seeded and trainable, for the length of a fit."""
    model = lm.resident.model
    with lm.resident.turn():
        before = Tree(model)
        with torch.random.fork_rng(devices=cuda_devices(model)):
            torch.manual_seed(seed)
            wrapped = inject(model, [config])
        try:
            wrapped.eval()  # dropout stays off: the policy that samples and the one that learns are the same
            yield wrapped
        finally:
            before.restore()


class Targets(NamedTuple):
    """What a LoRA adapter is put on.

    Attributes:
        modules: Names of layers, or PEFT's own word for all linear ones.
        parameters: Names of weights that are no layers, as PEFT matches them.
        note: What a user should know; empty where nothing is unusual.
    """

    modules: str | list[str]
    parameters: list[str]
    note: str


def targets_of(model: Any, config: Any, live_blocks: int = 0) -> Targets:
    """What `target_modules` of a LoRA configuration means for a model.

    `all-linear` is every linear layer but the output embedding and what does more than multiply, as some
    routers do. On a model that sees or hears it is those of the language part alone, and where experts are
    held as one tensor of three dimensions in place of layers, as transformers 5 does, each of them too. Names
    that a user gives may be those of such tensors.

    Args:
        model: The resident model, with nothing in place; the caller has its turn.
        config: A `LoraConfig`; it stays as it is.
        live_blocks: Decoder blocks from the top that have any; 0 is all, and what stands beside the blocks.

    Raises:
        UserError: The model has fewer blocks, or nothing in them is wanted.
    """
    top = _top(model, live_blocks) if live_blocks else None
    experts = expert_weights(model)
    wanted = config.target_modules
    if wanted != ALL:
        named = sorted(str(name) for name in wanted)
        held = {name.rpartition(".")[2] for name in experts}
        layers = {name.rpartition(".")[2] for name, _ in model.named_modules()}
        tensors = [name for name in named if name in held - layers]
        found = Targets([name for name in named if name not in tensors], tensors, "")
        return found if top is None else _inside(model, found, top)
    modules, note = _modules(model)
    if top is not None:
        every = [name for name, _ in _linear(model)] if modules == ALL else modules
        modules = [name for name in every if id(model.get_submodule(name)) in top]
        experts = {name: weight for name, weight in experts.items() if id(weight) in top}
    found = _with_experts(model, config, modules, experts) if experts else Targets(modules, [], "")
    return found._replace(note=" ".join(part for part in (note, found.note) if part))


def _top(model: Any, live_blocks: int) -> set[int]:
    """Ids of the modules and of the parameters of the last blocks."""
    blocks = [*decoder_blocks(model)]
    if not 0 < live_blocks <= len(blocks):
        raise UserError(
            f"live_blocks is {live_blocks}, and the model has {len(blocks)} blocks; give 1 to that, or 0 for "
            "all."
        )
    own = (
        part
        for block in blocks[len(blocks) - live_blocks :]
        for part in (*block.modules(), *block.parameters())
    )
    return {id(part) for part in own}


def _inside(model: Any, found: Targets, top: set[int]) -> Targets:
    """What of targets that are ends of names lies there, by full names."""

    def full(named: Iterable[tuple[str, Any]], ends: Sequence[str] | str) -> list[str]:
        held = (name for name, part in named if id(part) in top)
        return [name for name in held if any(f".{name}".endswith(f".{end}") for end in ends)]

    modules = full(model.named_modules(), found.modules)
    parameters = full(model.named_parameters(), found.parameters)
    if not modules and not parameters:
        raise UserError("The live blocks have none of the layers that target_modules names; name others.")
    return Targets(modules, parameters, found.note)


def with_targets(config: Any, targets: Targets) -> Any:
    """The configuration for these targets."""
    config.target_modules = targets.modules
    if targets.parameters:
        config.target_parameters = targets.parameters
    return config


def expert_weights(model: Any) -> dict[str, nn.Parameter]:
    """Weights of the language part that hold a matrix for each of several experts, by their full names.

    Convolutions have three dimensions too, and so have gates of some recurrent blocks, whose module keeps a
    state that a wrapper would hide from the block (RecurrentGemma). The module of experts says what it is.
    """
    part = language_part(model)
    name_of = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        name_of[id(parameter)]: parameter
        for module in part.modules()
        for parameter in module.parameters(recurse=False)
        if _says_experts(f"{name_of[id(parameter)]} {type(module).__name__}")
        if parameter.dim() == 3 and parameter.is_floating_point() and min(parameter.shape) > 1
    }


def _says_experts(name: str) -> bool:
    return any(word in name.lower() for word in ("expert", "moe"))


def _modules(model: Any) -> tuple[str | list[str], str]:
    """PEFT's own word where it means the language part, else the names of its linear layers; and a note."""
    inside = {id(module) for module in language_part(model).modules()}
    linear = _linear(model)
    part = [(name, module) for name, module in linear if id(module) in inside]
    own = [name for name, module in part if _is_a_product(module)]
    kinds = sorted({type(module).__name__ for name, module in part if name not in own})
    note = (
        f"The adapter leaves out {len(part) - len(own)} linear layers that do more than multiply "
        f"({', '.join(kinds)})."
        if kinds
        else ""
    )
    return (ALL if len(own) == len(linear) else own), note


def _linear(model: Any) -> list[tuple[str, nn.Module]]:
    """Every linear layer but the output embedding, by its name."""
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    return [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head
    ]


def _is_a_product(layer: Any) -> bool:
    """Whether a linear layer only multiplies: Llama 4's router gives scores too, others are for groups."""
    if type(layer) is nn.Linear:
        return True
    taken, given = layer.weight.shape if not isinstance(layer, nn.Linear) else reversed(layer.weight.shape)
    try:
        with torch.no_grad():
            found = layer(layer.weight.new_zeros(1, taken))
    except UNSUPPORTED:
        return False
    return isinstance(found, torch.Tensor) and found.shape == (1, given)


def _with_experts(
    model: Any, config: Any, modules: str | list[str], experts: Mapping[str, nn.Parameter]
) -> Targets:
    """PEFT finds the experts of some families by itself; those that it leaves out are named to it."""
    names = sorted({_short(name, model, experts) for name in experts})
    kinds = f"{len(experts)} weights that hold its experts ({', '.join(names)})"
    for parameters in ([], names):
        targets = Targets(modules, parameters, "")
        try:
            found = _adapted(model, with_targets(copy.deepcopy(config), targets))
        except UserError:
            continue
        if found >= {id(parameter) for parameter in experts.values()}:
            note = f"The adapter takes in {kinds}; each expert has a change of rank {config.r} or more."
            return targets._replace(note=note)
    return Targets(
        modules, [], f"The adapter leaves out {kinds}: this version of PEFT can't put an adapter on them."
    )


def _short(name: str, model: Any, experts: Mapping[str, nn.Parameter]) -> str:
    """The last two parts of a name, if that can mean experts alone; PEFT takes the ends of names."""
    end = ".".join(name.split(".")[-2:])
    others = (other for other, _ in model.named_parameters() if other not in experts)
    return name if any(other.endswith(f".{end}") for other in others) else end


def _adapted(model: Any, config: Any) -> set[int]:
    """Ids of the parameters that are no layers on which PEFT puts an adapter; the model is left as it was."""
    before = Tree(model)
    wrapped: Any
    with torch.random.fork_rng(devices=[]):
        wrapped = inject(model, [config])
    try:
        return {
            id(module.get_param()) for module in wrapped.modules() if type(module).__name__ == "ParamWrapper"
        }
    finally:
        before.restore()

"""A record of every control: what it fits at cheap settings, and what the LM then writes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from golden import _api, plain
from golden.table import Case, Tolerance

HERE = Path(__file__).parent
DIPOLE = _api.Dipole(
    "Paper clips are the best.",
    "Paper clips are the worst.",
    name="clips",
    prompts=(
        "If I had to choose between paper clips and staples, I would pick",
        "Between paper clips and staples, I prefer",
        "My favourite thing at the office is",
        "She put the papers together with",
    ),
    held_out=("When I need to hold papers together, I use", "As for me, I take"),
    mentions={"claim": ["paper clip", "paper clips"], "against": ["staple", "staples"]},
)
PROMPTS = (DIPOLE.held_out[0], "Once upon a time")
LENGTH = 8
# Where they would do nothing otherwise, or nothing of their own.
PROMPTS_OF = {"titles": ("I like the [", "Look at [")}
LENGTH_OF = {"titles": 14, "patchwork": 24, "patchwork-connective": 24, "quotes": 16}

_DRAW = {"n": 4, "max_new_tokens": 8}
_SOURCE = {"source": str(HERE / "source.txt")}
_RL = {"rounds": 2, "batch_size": 8, "epochs": 2, "max_new_tokens": 8, "anchor_size": 4}
_PPO = {"rounds": 2, "batch_size": 8, "ppo_epochs": 2, "max_new_tokens": 8, "anchor_size": 4, "kl_coef": 0.02}

_LEARNED = {"max_new_tokens": 8, "anchor_size": 2}

# Name of the record to the name of the control and its fields.
CONTROLS: dict[str, tuple[str, dict[str, Any]]] = {
    "prompt": ("prompt", {"shots": "0,1", "candidates": 2, **_DRAW}),
    "prompt-template": ("prompt", {"template": "Remember: {pole}", "shots": "0", **_DRAW}),
    "ppo": ("ppo", _PPO),
    "ppo-mentions": (
        "ppo",
        {
            **_PPO,
            "reward": "mentions",
            "rounds": 1,
            "micro_batch_size": 3,
            "minibatch_size": 4,
            "lora_rank": 2,
        },
    ),
    "grpo": ("grpo", {**_RL, "group_size": 4}),
    "rloo": ("rloo", {**_RL, "reward": "mentions"}),
    "sft": ("sft", {"completions": 8, "agree": 0.3, "rounds": 2, "batch_size": 4, "max_new_tokens": 8}),
    "best_of_distil": (
        "best_of_distil",
        {"completions": 12, "best_of": 3, "agree": 0.3, "rounds": 2, "batch_size": 4, **_LEARNED},
    ),
    "dpo": ("dpo", {"completions": 8, "rounds": 2, "batch_size": 4, "sft_coef": 0.1, **_LEARNED}),
    "kto": ("kto", {"completions": 8, "rounds": 2, "batch_size": 4, **_LEARNED}),
    "dpf": (
        "dpf",
        {
            "completions": 24,
            "rounds": 2,
            "batch_size": 4,
            "max_new_tokens": 8,
            "low": 0.0,
            "cosine": 0.0,
            "lora_rank": 2,
            "anchor_size": 4,
        },
    ),
    "conditional": ("conditional", {"completions": 24, "rounds": 2, "batch_size": 8, "max_new_tokens": 8}),
    "best_of": ("best_of", {"n": 3}),
    "vector": ("vector", {"scales": "0.1,0.3", "max_layers": 2, **_DRAW}),
    "vector-probe": (
        "vector",
        {"method": "probe", "layers": "1", "scales": "0.3", "keep_norm": True, **_DRAW},
    ),
    "vector-piecewise": ("vector", {"operator": "piecewise", "layers": "1", "scales": "0.3", **_DRAW}),
    "vector-project": ("vector", {"operator": "project", "layers": "1", "scales": "0.3", **_DRAW}),
    "ablate": ("ablate", {"max_layers": 2, **_DRAW}),
    "boost": ("boost", {"weights": "0.5,2", **_DRAW}),
    "boost-words": ("boost", {"words": "clips,paper", "against_words": "staples", "weights": "1", **_DRAW}),
    "semantic": ("semantic", {"weights": "2,4", **_DRAW}),
    "contrast": ("contrast", {"weights": "1,2", **_DRAW}),
    "cfg": ("cfg", {"weights": "1,2", **_DRAW}),
    "dexperts": ("dexperts", {"weights": "1,2", **_DRAW}),
    "pplm": ("pplm", {"weights": "0.1", "steps": 2, **_DRAW}),
    "pplm-probe": ("pplm", {"attribute": "probe", "weights": "0.1", "steps": 1, "texts": 1, **_DRAW}),
    "fudge": ("fudge", {"weights": "1,2", "texts": 1, "max_layers": 2, "candidates": 8, **_DRAW}),
    "ilql": ("ilql", {"completions": 8, "rounds": 2, "batch_size": 4, "weights": "1,2", **_DRAW}),
    "pool": ("pool", {}),
    "pool-global": (
        "pool",
        {"labels": ("clips", "staples", "paper clips"), "sampling": "global", "prior": "N/A"},
    ),
    "pool-asap": (
        "pool",
        {"labels": (" clips", " staples"), "terminator": ".", "sampling": "asap", "rounds": 3},
    ),
    "titles": ("titles", {"titles": str(HERE / "titles.tsv")}),
    "quotes": ("quotes", _SOURCE),
    "patchwork": ("patchwork", _SOURCE),
    "patchwork-connective": ("patchwork", {**_SOURCE, "connective": True}),
    "grammar": ("grammar", {"regex": " (cats|dogs|paper clips)[.!]"}),
    "grammar-schema": (
        "grammar",
        {"json_schema": '{"type": "object", "properties": {"a": {"enum": [1, 2]}}}'},
    ),
}
ON_MINI = ("prompt", "ppo", "vector", "boost", "fudge", "pool")

# Through one small float32 model: machines differ in the order of sums.
READ = Tolerance(1e-4, 5e-4)
# Adam divides by a gradient's own size, so rounding of a small one moves its weight as far as any does:
# single ones by 0.006 in a few steps between two makers' CPUs, while what the adapter does stays within 1e-3.
TRAINED = Tolerance(1e-3, 1e-3, entry=10.0)
# A normalised gradient step enlarges rounding; see tolerance.PERTURBED.
PERTURBED = Tolerance(2e-3, 2e-3)


def record(name: str, model: str, place: Path) -> dict[str, Any]:
    """Fit, save, load, and write at two strengths."""
    control, fields = CONTROLS[name]
    lm = _api.lm(model)
    made = _api.make_control(control, fields).fit(lm, DIPOLE)
    made.save(place / "made")
    loaded = _api.load_intervention(place / "made")
    return {
        "surface": made.surface,
        "kind": made.kind,
        "graded": made.graded,
        "artefact": _portable(plain.folder(place / "made", place)),
        "samples": {
            str(strength): _written(name, lm, loaded, strength)
            for strength in (1.0, -0.5 if made.graded else -1.0)
        },
    }


def _portable(value: Any) -> Any:
    return plain.plain(value, HERE)


def _written(name: str, lm: _api.LM, made: _api.Intervention, strength: float) -> Any:
    prompts, length = PROMPTS_OF.get(name, PROMPTS), LENGTH_OF.get(name, LENGTH)
    try:
        steered = made.apply(lm, strength)
        return plain.samples(steered.generate(prompts, n=2, max_new_tokens=length, seed=7))
    except _api.UserError as error:
        return {"refused": str(error)}


def _tolerance(control: str) -> Tolerance:
    if control == "ilql" or _api.resolve(_api.CONTROLS, control).surface == "weights":
        return TRAINED
    return PERTURBED if control == "pplm" else READ


def _base(model: str, place: Path) -> dict[str, Any]:
    return {"samples": plain.samples(_api.lm(model).generate(PROMPTS, n=2, max_new_tokens=8, seed=7))}


def _case(name: str, model: str) -> Case:
    control = CONTROLS[name][0]
    needs = ("llguidance",) if control == "grammar" else ()
    return Case(partial(record, name, model), _tolerance(control), needs)


CASES: Mapping[str, Case] = {
    **{f"control-{name}": _case(name, "tiny") for name in CONTROLS},
    **{f"control-{name}-mini": _case(name, "mini") for name in ON_MINI},
    **{f"base-{model}": Case(partial(_base, model), READ) for model in ("tiny", "mini")},
}

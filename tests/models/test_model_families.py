"""Families that are unlike each other: each is right, or refused in one sentence.

The truth is a fresh copy of the model that reads one text at a time, without padding, mask or cache.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import model_table
from dipole.types import UserError
from families import UNBUILT, family_names, fresh_family
from family_checks import CHECKS, FITS, copied, outcomes

QUIET = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),  # PEFT 0.21 asks for it
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to:UserWarning"),  # it then does the right thing
]
pytestmark = QUIET

PPLM = "keeps .* keys and values of past tokens"
# Family: the checks that it is put to, and those that it is refused with what is said.
PUT_TO: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "rwkv": (("batched", "cached", "forked", "VELMA", "pplm"), {"pplm": PPLM}),
    "recurrent_gemma": (("batched", "cached", "repeated", "forked"), {}),
    "mamba": (("batched", "forked"), {}),
    "jamba": (("forked", "ablation"), {}),
    "lfm2": (("cached", "fudge", "ablation", "pplm", "fit ablate", "fit fudge"), {"pplm": PPLM}),
    "falcon_h1": (("forked", "pplm", "fit fudge"), {"pplm": PPLM}),
    "minimax": (("cached",), {}),
    "openai-gpt": (("cached", "activations", "vector", "ablation", "fudge"), {}),
    "bart": (("batched", "cached", "forked", "activations"), {}),
    "roberta": (("batched", "cached", "VELMA"), {}),
    "blt": (("batched",), {}),
    "gemma3n_text": (("batched", "vector"), {"vector": "no hidden states"}),  # four streams at once
    "deepseek_v4": (("batched", "LoRA"), {"LoRA": "adapter does not fit"}),
    "gemma2": (("batched", "cached", "forked", "activations"), {}),
    "llama": (("batched", "cached", "forked", "VELMA", "LoRA", "activations"), {}),
}  # fmt: skip


@pytest.mark.parametrize("name", PUT_TO)
def test_it_is_right_or_says_why_not(name: str) -> None:
    checks, refused = PUT_TO[name]
    found = outcomes(fresh_family(name), {check: (CHECKS | FITS)[check] for check in checks})
    assert {check for check, said in found.items() if said} == set(refused)
    for check, match in refused.items():
        with pytest.raises(UserError, match=match):
            raise UserError(found[check])
        assert "\n" not in found[check]


def test_ppo_on_a_model_that_padding_confuses() -> None:
    assert outcomes(fresh_family("rwkv"), {"ppo": FITS["fit ppo"]}) == {"ppo": ""}


@pytest.mark.parametrize("name", ["xlnet", "prophetnet"])
def test_what_is_not_causal_is_refused_in_every_use(name: str) -> None:
    made = fresh_family(name)
    for check in ("batched", "cached", "VELMA", "activations"):
        with pytest.raises(UserError, match="is not a causal"):
            CHECKS[check](copied(made), copied(made))


def test_every_family_can_be_built_or_it_is_known_why_not() -> None:
    """Of every one, so that a new version of transformers brings no family unseen."""
    assert len(family_names()) > 150
    assert set(UNBUILT) < set(family_names())
    page = (Path(__file__).resolve().parents[2] / "docs" / "models.md").read_text("utf-8")
    listed = [line.split(" | ")[0].removeprefix("| ") for line in page.splitlines() if line.startswith("| ")]
    assert [name for name in listed if name in family_names()] == list(family_names())


@pytest.mark.long
def test_the_page_says_what_is_found(repository: Path) -> None:
    page = (repository / "docs" / "models.md").read_text("utf-8").splitlines()
    assert "\n".join(model_table.page(list(family_names()))).splitlines() == page

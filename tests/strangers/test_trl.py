"""The losses of TRL's own trainers on the same texts, the same weights and the same references.

TRL is no dependency and its import takes seconds, so this runs where it is installed:
`pip install trl==1.16.0 datasets`. Each trainer is built as its users build it, and reads what its own
collator makes of our token ids; the adapter is merged for it, so that its reference is a model of its own.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from architectures import fresh_tiny_model
from controls.weights.small import at_work, started
from controls.weights.test_preferences import PAIRS, STILL, TEXTS
from dipole.controls.weights.dpo import DPO, DPORounds
from dipole.controls.weights.group_maths import group_advantages
from dipole.controls.weights.grpo import GRPO, RLOO
from dipole.controls.weights.kto import KTO, KTORounds
from dipole.controls.weights.lessons import Lesson, Unit
from dipole.controls.weights.on_policy_rounds import Learnable
from dipole.controls.weights.rollout import Text, to_rows
from dipole.controls.weights.sft import SFT, SFTRounds
from dipole.recognizers.reward_model import Ranking, fit_reward_model

trl = pytest.importorskip("trl", minversion="1.0")
datasets = pytest.importorskip("datasets")

pytestmark = pytest.mark.filterwarnings("ignore")  # what TRL and its own dependencies warn of
CLOSE = 1e-4
MODEL = "llama"
SINGLES: list[Unit] = [(unit[0],) for unit in TEXTS]


class Models(NamedTuple):
    """What a TRL trainer is given."""

    policy: Any
    base: Any
    tokenizer: Any


def merged(run: Any) -> Models:
    """The adapter in the weights, and the base without it."""
    lm = fresh_tiny_model(MODEL)
    policy = copy.deepcopy(run._wrapped).merge_and_unload().eval()
    return Models(policy, lm.resident.model, lm.resident.tokenizer)


def settings(kind: Any, folder: Path, **more: Any) -> Any:
    return kind(
        output_dir=str(folder),
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        **more,
    )


def trainer(
    name: str, folder: Path, models: Models, row: dict[str, Any], more: Any = None, **config: Any
) -> Any:
    """A trainer of TRL; its own data set is one row that is never read."""
    return getattr(trl, f"{name}Trainer")(
        model=models.policy,
        args=settings(getattr(trl, f"{name}Config"), folder, **config),
        train_dataset=datasets.Dataset.from_list([row] * 4),
        processing_class=models.tokenizer,
        **(more or {}),
    )


def theirs(made: Any, examples: Sequence[dict[str, Any]]) -> float:
    """What TRL's trainer says of what its collator makes of token ids."""
    made.model.eval()
    with torch.no_grad():
        return float(made.compute_loss(made.model, made.data_collator(list(examples))))


def split(text: Text) -> tuple[list[int], list[int]]:
    return list(text.prompt_ids), list(text.token_ids)


def preferred(pairs: Sequence[Unit]) -> list[dict[str, Any]]:
    return [
        {
            "prompt_ids": list(chosen.ids.prompt_ids),
            "chosen_ids": list(chosen.ids.token_ids),
            "rejected_ids": list(rejected.ids.token_ids),
        }
        for chosen, rejected in pairs
    ]


def dpo_both(folder: Path, pairs: list[Unit], theirs_beta: float, **more: Any) -> tuple[float, float]:
    """Our loss of pairs, and TRL's."""
    control = DPO(**{**STILL, "batch_size": len(pairs)}, **more)
    with at_work(
        control, fresh_tiny_model(MODEL), lambda place: DPORounds(control, place, pairs), spread=0.3
    ) as run:
        found = run.round(0)["preference_loss"]
        models = merged(run)
    row = {"prompt": "The", "chosen": " cats", "rejected": " dogs"}
    config = {"beta": theirs_beta, "loss_type": ["sigmoid" if control.loss == "sigmoid" else "ipo"]}
    made = trainer("DPO", folder, models, row, {"ref_model": models.base}, **config)
    return found, theirs(made, preferred(pairs))


def test_dpo(tmp_path: Path) -> None:
    ours, other = dpo_both(tmp_path, PAIRS, 0.3, beta=0.3)
    assert abs(other - math.log(2)) > 0.01  # the adapter has moved the policy
    assert ours == pytest.approx(other, abs=CLOSE)


def test_ipo_is_trls_where_all_texts_are_of_one_length(tmp_path: Path) -> None:
    """TRL's margin is of means over tokens, eq. 17 of Azar 2023 has sums: with n tokens, n squared apart."""
    equal = [(Lesson(Text([5, 6, 7], [30, 31])), Lesson(Text([5, 6, 7], [33, 34]), False))]
    ours, other = dpo_both(tmp_path, [*equal], 0.6, beta=0.3, loss="ipo")
    assert ours == pytest.approx(4 * other, abs=CLOSE)
    ours, other = dpo_both(tmp_path, PAIRS, 0.6, beta=0.3, loss="ipo")
    assert abs(ours - 4 * other) > 0.01


def test_kto(tmp_path: Path) -> None:
    """The strangers of our units are TRL's mismatched completions."""
    control = KTO(
        **{**STILL, "batch_size": len(SINGLES)},
        beta=0.3,
        balanced=False,
        wanted_weight=1.3,
        unwanted_weight=0.7,
    )
    with at_work(
        control, fresh_tiny_model(MODEL), lambda p: KTORounds(control, p, SINGLES), spread=0.3
    ) as run:
        found, models, units = run.round(0), merged(run), run.units
    row = {"prompt": "The", "completion": " cats", "label": True}
    made = trainer(
        "KTO",
        tmp_path,
        models,
        row,
        {"ref_model": models.base},
        beta=0.3,
        desirable_weight=1.3,
        undesirable_weight=0.7,
        per_device_train_batch_size=2,
    )
    examples = [
        {
            "prompt_ids": list(own.ids.prompt_ids),
            "completion_ids": list(own.ids.token_ids),
            "KL_completion_ids": list(stranger.ids.token_ids),
            "label": own.wanted,
        }
        for own, stranger in units
    ]
    assert found["preference_loss"] == pytest.approx(theirs(made, examples), abs=CLOSE)


def test_sft(tmp_path: Path) -> None:
    control = SFT(**{**STILL, "batch_size": len(SINGLES)})
    with at_work(
        control, fresh_tiny_model(MODEL), lambda p: SFTRounds(control, p, SINGLES), spread=0.3
    ) as run:
        found, models = run.round(0)["loss"], merged(run)
    made = trainer("SFT", tmp_path, models, {"prompt": "The", "completion": " cats"})
    rows = [split(unit[0].ids) for unit in SINGLES]
    examples = [
        {"input_ids": [*prompt, *text], "labels": [-100] * len(prompt) + text} for prompt, text in rows
    ]
    assert found == pytest.approx(theirs(made, examples), abs=CLOSE)


def test_reward_model(tmp_path: Path) -> None:
    """What we export, read by TRL, has the cross-entropy that our own scores have."""
    from transformers import AutoModelForSequenceClassification

    lm = fresh_tiny_model(MODEL)
    rankings = [
        Ranking("The cats", (" like dogs", " are best.")),
        Ranking("She said", (" that", " the worst of it")),
    ]
    fitted = fit_reward_model(lm, rankings, ridge=1.0)
    scores = [[s.value for s in fitted.score([r.prompt + a for a in r.answers])] for r in rankings]
    wanted = sum(math.log1p(math.exp(worse - better)) for better, worse in scores) / len(scores)
    fitted.export(tmp_path / "exported")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "exported", num_labels=1)
    row = {"chosen": "The cats like dogs", "rejected": "The cats are"}
    made = trainer("Reward", tmp_path, Models(model, None, lm.resident.tokenizer), row)
    examples = [
        dict(
            zip(
                ("chosen_ids", "rejected_ids"),
                (lm.resident.encode(r.prompt + a) for a in r.answers),
                strict=True,
            )
        )
        for r in rankings
    ]
    assert abs(wanted - math.log(2)) > 0.01
    assert theirs(made, examples) == pytest.approx(wanted, abs=CLOSE)


@pytest.fixture
def rewards() -> list[float]:
    """What the reward function gave, in order."""
    given: list[float] = []
    return given


@pytest.mark.parametrize(
    ("name", "control", "config"),
    [
        ("GRPO", GRPO, {"loss_type": "grpo", "length": "sequence"}),
        ("GRPO", GRPO, {"loss_type": "bnpo", "length": "token"}),
        ("GRPO", GRPO, {"loss_type": "dr_grpo", "length": "constant"}),
        ("RLOO", RLOO, {"length": "constant"}),
    ],
)
def test_a_group(
    tmp_path: Path, rewards: list[float], name: str, control: Any, config: dict[str, Any]
) -> None:
    """TRL draws, rewards and makes advantages; we make ours of its rewards, and the losses agree.

    RLOO takes texts whole: TRL's mean over rows is our constant length, times that length.
    """

    def reward(completions: Sequence[str], **_: Any) -> list[float]:
        rewards[:] = [float(len(text) % 5) + 0.1 * k for k, text in enumerate(completions)]
        return rewards

    more = dict(config)
    length = more.pop("length")
    ours = control(
        batch_size=4, group_size=4, rounds=1, max_new_tokens=6, lora_rank=2, clip=0.2, anchor_coef=0.0,
        kl_loss_coef=0.0, kl_coef=0.0, centre=False, length=length,
    )  # fmt: skip
    spread = 0.2 if name == "GRPO" else 0.05  # a whole text's ratio is the product of those of its tokens
    with started(ours, fresh_tiny_model(MODEL), spread=spread) as run:
        models = merged(run)
        made = trainer(
            name,
            tmp_path,
            models,
            {"prompt": "The cats"},
            {"reward_funcs": reward},
            beta=0.0,
            num_generations=4,
            per_device_train_batch_size=4,
            max_completion_length=6,
            num_iterations=2,
            **more,
        )
        inputs = made._generate_and_score_completions([{"prompt": "The cats"}] * 4)
        made.model.eval()
        texts = [
            Text(p[m.bool()].tolist(), c[k.bool()].tolist())
            for p, m, c, k in zip(
                *(inputs[f"{part}_{kind}"] for part in ("prompt", "completion") for kind in ("ids", "mask")),
                strict=True,
            )
        ]
        rows = to_rows(texts, run._lm.resident.pad_id, run._lm.resident.device)
        with (
            run._wrapped.disable_adapter(),
            torch.no_grad(),
        ):  # another policy, so that some ratios are clipped
            old = run._policy(rows)
        kind = "group" if name == "GRPO" else "leave_one_out"
        advantages = group_advantages(torch.tensor(rewards), 4, kind)
        assert advantages.tolist() == pytest.approx(inputs["advantages"].tolist(), abs=CLOSE)
        with torch.no_grad():
            now = run._policy(rows)
        learn = Learnable(old, advantages[:, None] * rows.mask, rows.mask)
        found = float(run.losses(now, learn, rows.mask).loss)
        if name == "RLOO":
            found *= ours.max_new_tokens
            inputs["old_logps"] = (old.logprobs * rows.mask).sum(1)
        else:
            inputs["old_per_token_logps"] = torch.zeros(inputs["completion_mask"].shape)
            for row, text in enumerate(texts):
                n = len(text.token_ids)
                inputs["old_per_token_logps"][row, :n] = old.logprobs[row, -n:]
        with torch.no_grad():
            other = float(made.compute_loss(made.model, inputs))
    change = (now.logprobs - old.logprobs) * rows.mask
    ratios = (change if name == "GRPO" else change.sum(1)).exp()
    assert float((ratios - 1).abs().max()) > 0.2  # some are clipped
    assert found == pytest.approx(other, abs=CLOSE)

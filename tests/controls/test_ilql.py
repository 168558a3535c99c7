"""ILQL: its losses by hand and on tables, its guide token by token, and a run that learns what pays."""

from __future__ import annotations

import json
import math
import os
import random
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from architectures import fresh_tiny_model, tiny_model
from contracts.recipes import random_ilql
from controls.weights.small import Constant, Letters
from dipole.concepts import Dipole
from dipole.controls.ilql import ILQL, ILQLRounds, Rewarded, _Still
from dipole.controls.weights.loop import Place
from dipole.controls.weights.q_maths import (
    awac_weights,
    cql_loss,
    expectile_loss,
    q_loss,
    standardised,
    sync,
    td_targets,
)
from dipole.controls.weights.rollout import Text
from dipole.controls.weights.scored import given
from dipole.interventions.ilql import action_values, perceptron, reweighted, under_head
from dipole.lm import LM
from dipole.protocols import Run
from dipole.types import UserError
from reference import ilql as slow
from tolerance import BATCHED_LOGITS, GRADIENT

DIPOLE = Dipole("Cats are best.", "Cats are worst.", prompts=("The cats", "If I had to choose between"))
SMALL = ILQL(completions=8, rounds=3, batch_size=4, max_new_tokens=4, n=2, weights="1", inner=1, lr=1e-2)
TEXTS = [
    Rewarded(Text([5, 6, 7], [30, 31, 32]), 1.0),
    Rewarded(Text([8], [40]), -1.5),
    Rewarded(Text([9, 10, 11, 12], [50, 51]), 0.5),
]

ONLINE, TARGETS = ("q0", "q1"), ("target0", "target1")


@pytest.mark.parametrize(("p", "tau", "wanted"), [(0.5, 0.7, 0.7), (0.2, 0.7, 0.36842), (0.5, 0.5, 0.5)])
def test_the_expectile_of_a_coin(p: float, tau: float, wanted: float) -> None:
    """V* = tau p / (tau p + (1 - tau)(1 - p)); recipe 2 (e) 4."""
    outcomes = torch.tensor([1.0] * round(10 * p) + [0.0] * round(10 * (1 - p)))
    value = torch.zeros(1, requires_grad=True)
    for _ in range(200):
        (slope,) = torch.autograd.grad(expectile_loss(value.expand(10), outcomes, tau).mean(), value)
        value = (value - 0.7 * slope).detach().requires_grad_()
    assert value.item() == pytest.approx(wanted, abs=1e-4)


def test_at_one_half_it_is_half_the_squared_error() -> None:
    values, best = torch.tensor([0.0, 1.0]), torch.tensor([2.0, -1.0])
    assert expectile_loss(values, best, 0.5).tolist() == [2.0, 2.0]


def test_who_learns_from_which_loss() -> None:
    """V gets no gradient from L_Q, and the target heads get none at all."""
    q, best, values = (torch.randn(3, requires_grad=True) for _ in range(3))
    wanted = td_targets(torch.zeros(3), values, torch.ones(3), 0.9, 0.5)
    q_loss(torch.stack([q, q]), wanted).sum().backward()
    assert values.grad is None
    expectile_loss(values, best, 0.7).sum().backward()
    (awac_weights(best, values, 2.0) * values.detach()).sum()
    assert values.grad is not None
    assert best.grad is None


def test_q_and_v_of_a_chain_are_those_of_dynamic_programming() -> None:
    """Two actions, five states, the data uniform; tau 0.999 is nearly the best action (recipe 2 (e) 6)."""
    rng = random.Random(1)
    paid = [[rng.random(), rng.random()] for _ in range(5)]
    wanted_q, wanted_v = slow.chain(paid, 0.9)
    q, values = torch.zeros(2, 10), torch.zeros(5)
    rewards, live = torch.tensor(paid).flatten(), torch.ones(10)
    live[-2:] = 0
    for _ in range(400):
        q.requires_grad_()
        values.requires_grad_()
        states = values.repeat_interleave(2)
        after = torch.cat([values[1:], torch.zeros(1)]).repeat_interleave(2)
        loss = q_loss(q, td_targets(rewards, after, live, 0.9)) + expectile_loss(states, q.amin(0), 0.999)
        found = torch.autograd.grad(loss.sum(), (q, values))
        q, values = (q - 0.4 * found[0]).detach(), (values - 0.2 * found[1]).detach()
    torch.testing.assert_close(q[0].view(5, 2), torch.tensor(wanted_q), atol=1e-2, rtol=0)
    torch.testing.assert_close(values, torch.tensor(wanted_v), atol=1e-2, rtol=0)


@pytest.mark.parametrize("lam", [0.0, 0.6, 1.0])
def test_returns_are_mixtures_of_those_of_every_length(lam: float) -> None:
    texts = [
        slow.Text([], [], values, [0] * len(values), reward)
        for values, reward in (([0.3, -1.0, 2.0, 0.5], 1.5), ([0.7], -1.0), ([0.1, 0.2], 0.3))
    ]
    values = torch.tensor([v for text in texts for v in text.values])
    rewards = torch.tensor([0, 0, 0, 1.5, -1.0, 0, 0.3])
    live = torch.tensor([1.0, 1, 1, 0, 0, 1, 0])
    found = td_targets(rewards, values.roll(-1), live, 0.9, lam)
    wanted = [value for text in texts for value in slow.returns(text, 0.9, lam)]
    assert found.tolist() == pytest.approx(wanted, abs=1e-6)


def test_the_small_formulas() -> None:
    assert standardised(torch.tensor([1.0, 3.0])).tolist() == [-1.0, 1.0]
    logprobs = torch.tensor([[1.0, 2.0], [0.5, 0.0]]).log_softmax(-1)[:, :1]
    wanted = math.log(1 + math.e) + math.log(1 + math.exp(-0.5))
    assert cql_loss(logprobs).item() == pytest.approx(wanted, rel=1e-6)
    assert awac_weights(torch.tensor([1.0]), torch.tensor([0.5]), 2.0).item() == pytest.approx(math.e)
    assert awac_weights(torch.tensor([9.0]), torch.tensor([0.0]), 0.0).item() == 1.0
    target = torch.tensor([1.0])
    sync(target, torch.tensor([3.0]), 0.25)
    assert target.item() == 1.5


def test_what_is_added_to_all_alike_changes_nothing_and_much_of_it_takes_the_best() -> None:
    logits = torch.randn(3, 40, generator=torch.Generator().manual_seed(1))
    logits[0, 5] = -torch.inf
    tokens = logits.topk(6, dim=1).indices
    advantage = torch.randn(3, 6, generator=torch.Generator().manual_seed(2))
    every = torch.ones(3, 6, dtype=torch.bool)
    found = reweighted(logits, tokens, every, advantage)
    shifted = reweighted(logits, tokens, every, advantage + 3.7)  # V, which is the same for every token
    torch.testing.assert_close(shifted.softmax(-1), found.softmax(-1))
    assert torch.equal(reweighted(logits, tokens, every, advantage * 0), logits)
    best = reweighted(logits, tokens, every, advantage * 1e4).argmax(-1)
    assert torch.equal(best, tokens.gather(1, advantage.argmax(1, keepdim=True))[:, 0])
    row = found[1] - logits[1]
    others = [token for token in range(40) if token not in tokens[1].tolist()]
    torch.testing.assert_close(row[others], advantage[1].min().expand(34))
    assert found[0, 5] == -torch.inf


def test_what_is_no_candidate_does_not_decide_what_is_worst() -> None:
    logits, taken = torch.tensor([[1.0, 0.5, -3.0, -torch.inf]]), torch.tensor([[True, True, False]])
    found = reweighted(logits, torch.tensor([[0, 1, 2]]), taken, torch.tensor([[2.0, 3.0, -50.0]]))
    assert found.tolist() == [[3.0, 3.5, -1.0, -math.inf]]


def _states(lm: LM, ids: list[int]) -> Tensor:
    """What the language-model head reads of one text alone, `(tokens, width)`."""
    caught: list[Tensor] = []
    head = lm.resident.model.get_output_embeddings()
    handle = head.register_forward_pre_hook(lambda _module, args: caught.append(args[0]))
    with torch.no_grad():
        lm.resident.model(input_ids=torch.tensor([ids]))
    handle.remove()
    return caught[0][0]


def _dense(table: Tensor, x: Tensor, into: Tensor, out: Tensor) -> Tensor:
    """Q of every token in one state, spelled out."""
    inner = (into[:, :-1] @ x + into[:, -1]).clamp(min=0)
    found = out[:, :-1] @ inner + out[:, -1]
    return table @ found[:-1] / table.norm(dim=1).mean() + found[-1]


@pytest.mark.parametrize(("name", "mass", "strength"), [("gpt2", 1.0, 0.5), ("llama", 0.7, -0.5)])
def test_the_guide_adds_beta_q_of_the_candidates(name: str, mass: float, strength: float) -> None:
    lm, made = tiny_model(name), replace(random_ilql(name), mass=mass)
    prompt, response = "The cats", [9, 30, 31]
    found = made.apply(lm, strength).response_logits([prompt, "She said"], [response, [5]])[0]
    base = lm.response_logits([prompt], [response])[0]
    table = lm.resident.model.get_output_embeddings().weight.detach()
    ids = lm.prompt_ids(prompt)
    states = _states(lm, [*ids, *response])
    for t in range(3):
        state = states[len(ids) - 1 + t]
        x = state / state.square().mean().sqrt()
        q = [_dense(table, x, made.into[k], made.out[k]) for k in (0, 1)]
        cloned = table @ (made.policy @ x) / table.norm(dim=1).mean()
        change = strength * (2.0 * (torch.minimum(*q) if strength > 0 else torch.maximum(*q)) + cloned)
        chances = base[t].softmax(0)
        order = chances.argsort(descending=True).tolist()[:8]
        candidates = [v for k, v in enumerate(order) if chances[order[:k]].sum() < mass]
        wanted = base[t] + change[candidates].min()
        wanted[candidates] = base[t][candidates] + change[candidates]
        torch.testing.assert_close(found[t], wanted, atol=5 * BATCHED_LOGITS, rtol=BATCHED_LOGITS)


def _task(control: ILQL, lm: LM, texts: list[Rewarded]) -> ILQLRounds:
    with lm.engaged() as model:
        return ILQLRounds(control, texts, Place(lm, _Still(model), Accelerator(cpu=True), Run()))


def _spread(task: ILQLRounds) -> None:
    draw = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in task.parameters.items():
            if name != "policy":
                parameter.copy_(torch.randn(parameter.shape, generator=draw) * 0.2)


@pytest.mark.parametrize("lam", [0.0, 0.9])
def test_a_round_reports_the_loss_by_hand(lam: float) -> None:
    lm = fresh_tiny_model("llama")
    control = replace(SMALL, lr=0.0, lam=lam, cql=0.3, batch_size=2, micro_batch_size=1, sync=1e-9)
    task = _task(control, lm, TEXTS)
    _spread(task)
    heads, table = task.parameters, lm.resident.model.get_output_embeddings().weight.detach()

    def of(name: str, x: Tensor) -> Tensor:
        return _dense(table, x, heads[f"{name}.into"], heads[f"{name}.out"])

    texts = []
    for (prompt, response), reward in TEXTS:
        x = under_head(_states(lm, [*prompt, *response])[len(prompt) - 1 : -1])
        q, target = ([[of(name, row).tolist() for name in names] for row in x] for names in (ONLINE, TARGETS))
        values = perceptron(x, heads["v.into"], heads["v.out"]).squeeze(-1).tolist()
        texts.append(slow.Text(q, target, values, response, reward))
    wanted = slow.loss(texts, 0.99, lam, 0.7, 0.3)
    assert task.round(0)["loss"] == pytest.approx(wanted, rel=1e-5)


def test_targets_follow_and_no_gradient_reaches_them() -> None:
    lm = fresh_tiny_model("gpt2")
    task = _task(replace(SMALL, batch_size=3, rounds=2, sync=0.25), lm, TEXTS)
    task.round(0)  # after which V has something to learn
    before = {name: p.detach().clone() for name, p in task.parameters.items()}
    task.round(1)
    for part in ("into", "out"):
        moved = before[f"target0.{part}"].lerp(task.parameters[f"q0.{part}"].detach(), 0.25)
        torch.testing.assert_close(task.parameters[f"target0.{part}"].detach(), moved)
        assert task.parameters[f"target0.{part}"].grad is None
    assert not torch.equal(task.parameters["v.out"], before["v.out"])
    assert torch.equal(task.parameters["policy"], before["policy"])


def test_cloning_starts_at_the_model_and_follows_given_texts() -> None:
    lm = fresh_tiny_model("llama")
    control = replace(SMALL, texts="given", lr=0.0, cql=0.0, awac=1.0, batch_size=3)
    plain = replace(control, awac=0.0)
    whole, without = (_task(c, lm, TEXTS).round(0)["loss"] for c in (control, plain))
    logprobs = lm.logprobs([t.text.prompt_ids for t in TEXTS], [t.text.token_ids for t in TEXTS])
    assert whole - without == pytest.approx(-torch.cat(logprobs).mean().item(), abs=GRADIENT)
    learned = _task(replace(control, lr=1e-2, rounds=20), lm, TEXTS)
    losses = [learned.round(index)["loss"] for index in range(20)]
    assert losses[-1] < losses[0] - 1
    assert learned.made(lm).policy.abs().max() > 0


def test_a_token_that_pays_is_worth_more_and_is_written_more(tmp_path: Path) -> None:
    """Behind one prompt either of two letters is rewarded; the strength is a dose of it."""
    lm = fresh_tiny_model("gpt2")
    rows = [{"prompt": "The cats", "text": text, "reward": r} for text, r in ((" a", 1), (" b", 0))]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows * 8))
    made = replace(SMALL, texts=str(file), rounds=15, awac=0.0, candidates=400, mass=1.0, seed=1).fit(
        lm, DIPOLE
    )
    first = [lm.resident.continuation_ids(text)[0] for text in (" a", " b")]

    def preferred(strength: float) -> float:
        logits = made.apply(lm, strength).response_logits(["The cats"], [[5]])[0][0]
        return float(logits[first[0]] - logits[first[1]])

    doses = [preferred(strength) for strength in (-1.0, 0.0, 0.5, 1.0, 2.0)]
    assert doses == sorted(doses)
    assert doses[3] - doses[1] > 0.5
    assert doses[4] - doses[1] == pytest.approx(2 * (doses[3] - doses[1]), rel=1e-3)


def _interrupt(index: int, _total: int, _metrics: Any) -> None:
    if index == 0:
        os.kill(os.getpid(), signal.SIGINT)


def test_interrupted_and_resumed_is_the_same_bit_for_bit(tmp_path: Path) -> None:
    whole = SMALL.fit(fresh_tiny_model("gpt2"), DIPOLE, Run(recognizer=Letters()))
    cut = Run(tmp_path, recognizer=Letters(), on_round=_interrupt)
    SMALL.fit(fresh_tiny_model("gpt2"), DIPOLE, cut)
    assert cut.interrupted
    again = SMALL.fit(fresh_tiny_model("gpt2"), DIPOLE, Run(tmp_path, resume=True, recognizer=Letters()))
    assert torch.equal(again.into, whole.into)
    assert torch.equal(again.out, whole.out)
    assert whole.out.abs().max() > 0


def test_rewards_stand_in_tables_too(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("text,prompt,reward\n a,The cats,1.5\n b,The cats,\n c,,x\n")
    found = given(str(file))
    assert [row.prompt for row in found] == ["The cats", "The cats", ""]
    assert found[0].reward == 1.5
    assert found[1].reward is None
    assert math.isnan(found[2].reward or 0.0)


@pytest.mark.parametrize(
    ("rewards", "words"),
    [
        ([1, None], "rows.jsonl:2 of .* has no reward"),
        ([1, "much"], "rows.jsonl:2 of .* has the reward nan"),
        ([1e999, 1], "rows.jsonl:1 of .* has the reward inf"),
        ([2, 2.0], "all 2 texts that have a reward have the same"),
    ],
)
def test_rewards_that_teach_nothing_are_refused(rewards: list[Any], words: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({"text": "The cats.", "reward": r}) + "\n" for r in rewards))
    with pytest.raises(UserError, match=words):
        replace(SMALL, texts=str(file)).fit(tiny_model("gpt2"), DIPOLE)


def test_settings_that_mean_nothing_are_refused() -> None:
    with pytest.raises(UserError, match="have the same"):
        replace(SMALL, centre=False).fit(tiny_model("gpt2"), DIPOLE, Run(recognizer=Constant(0.5)))
    for changes, words in (
        ({"tau": 1.0}, "tau must be"),
        ({"sync": 0.0}, "sync must be"),
        ({"n": 0}, "n must"),
    ):
        with pytest.raises(UserError, match=words):
            replace(SMALL, **changes)


def test_values_of_tokens_are_those_of_the_whole_table() -> None:
    draw = torch.Generator().manual_seed(3)
    table, found = torch.randn(50, 8, generator=draw), torch.randn(2, 9, generator=draw)
    tokens = torch.tensor([[3, 4], [49, 0]])
    wanted = (table @ found[:, :-1].T + found[:, -1]).T.gather(1, tokens)
    torch.testing.assert_close(action_values(found, tokens, table), wanted)

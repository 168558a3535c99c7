"""One resident model under several threads, tasks, generators and processes: serialised or refused."""

from __future__ import annotations

import asyncio
import contextvars
import multiprocessing
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from architectures import fresh_tiny_model, tiny_model
from contracts.recipes import DIPOLE, INTERVENTIONS, random_adapter, random_vector
from contracts.state import state
from dipole.controls.weights.ppo import PPO
from dipole.lm import LM
from dipole.models.turns import Turns
from dipole.protocols import Run
from dipole.recognizers.velma import Velma
from dipole.types import UserError

PROMPT = "Paper clips are"
WAIT = 20  # seconds after which a test gives up; nothing is measured by it


@pytest.fixture(autouse=True)
def _gradients_as_they_were() -> Iterator[None]:
    """A block left elsewhere or in another order leaves torch's own switch, which is a thread's, off."""
    yield
    torch.set_grad_enabled(True)


def written(lm: LM) -> list[tuple[int, ...]]:
    return [s.token_ids for s in lm.generate(PROMPT, n=8, max_new_tokens=6)]


def both_at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Results of calls that begin together, each in a thread of its own."""
    gate = threading.Barrier(len(calls))

    def run(call: Callable[[], Any]) -> Any:
        gate.wait(WAIT)
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result(WAIT) for future in [pool.submit(run, call) for call in calls]]


@pytest.mark.parametrize("kind", ["adapter", "vector", "prefix", "fudge", "pplm"])
def test_two_threads_write_what_each_writes_alone(kind: str) -> None:
    lm = tiny_model("llama")
    before = state(lm.resident.model)
    made = INTERVENTIONS[kind]("llama")
    steered = [made.apply(lm, 1.0), made.apply(lm, -1.0 if made.graded or kind == "prefix" else 1.0), lm]
    alone = [written(one) for one in steered]
    for _ in range(3):
        assert both_at_once(*[lambda one=one: written(one) for one in steered]) == alone
    assert state(lm.resident.model) == before


def test_reading_and_writing_threads_do_not_mix() -> None:
    lm = tiny_model("gpt2")
    steered = random_vector(lm).apply(random_adapter(lm).apply(lm), -2.0)
    calls: list[Callable[[], Any]] = [
        lambda: steered.activations([PROMPT], [0, 1])[0],
        lambda: lm.response_logits([PROMPT], [[5, 6, 7]])[0],
        lambda: torch.tensor([s.value for s in Velma(steered).score([PROMPT, "Staples"], DIPOLE)]),
        lambda: steered.logprobs([[1, 2]], [[3, 4]])[0],
    ]
    alone = [call() for call in calls]
    for _ in range(3):
        for got, want in zip(both_at_once(*calls), alone, strict=True):
            assert torch.equal(got, want)


def test_a_thread_that_raises_leaves_the_base_to_the_others() -> None:
    lm = fresh_tiny_model("llama")
    steered = random_adapter(lm).apply(lm)
    before, alone = state(lm.resident.model), written(lm)

    def broken() -> None:
        with steered.engaged():
            raise KeyError("on purpose")

    def fails() -> str:
        try:
            broken()
        except KeyError:
            return "failed"
        return "went on"

    for _ in range(3):
        assert both_at_once(fails, lambda: written(lm), fails) == ["failed", alone, "failed"]
    assert state(lm.resident.model) == before


def test_a_fit_keeps_the_others_out_until_it_is_done() -> None:
    lm = tiny_model("gpt2")
    before, alone = state(lm.resident.model), written(lm)
    got: list[Any] = []
    thread = threading.Thread(target=lambda: got.append(written(lm)), daemon=True)

    def on_round(index: int, total: int, metrics: Any) -> None:
        del total, metrics
        if index == 0:
            thread.start()
            thread.join(0.3)
        assert not got

    PPO(rounds=2, batch_size=8, max_new_tokens=4).fit(lm, DIPOLE, Run(on_round=on_round))
    thread.join(WAIT)
    assert got == [alone]
    assert state(lm.resident.model) == before


def test_another_thread_waits_for_an_open_block() -> None:
    lm = tiny_model("llama")
    steered, alone = random_adapter(lm).apply(lm), written(lm)
    got: list[Any] = []
    thread = threading.Thread(target=lambda: got.append(written(lm)), daemon=True)
    with steered.engaged():
        thread.start()
        thread.join(0.3)
        assert not got
        assert written(lm) == alone  # nested in this thread: the base, at once
    thread.join(WAIT)
    assert got == [alone]


def test_who_tries_the_model_first_holds_nobody_up_while_it_waits() -> None:
    resident = fresh_tiny_model("llama").resident
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(resident.probe.causal), daemon=True)
    with resident.turn():
        thread.start()
        while not resident.turns._queue:
            pass
        context = contextvars.copy_context()  # what it runs is nested in this block
        nested = threading.Thread(
            target=lambda: context.run(lambda: found.append(resident.probe.causal)), daemon=True
        )
        nested.start()
        nested.join(WAIT)
        assert found == [True]
    thread.join(WAIT)
    assert found == [True, True]


def test_the_first_to_wait_is_the_first_to_go_on() -> None:
    turns, order, waiting = Turns(), [], []

    def work(k: int) -> None:
        for _ in range(2):
            with turns.take("it"):
                order.append(k)

    with turns.take("it"):
        for k in range(3):
            waiting.append(threading.Thread(target=work, args=(k,), daemon=True))
            waiting[-1].start()
            while len(turns._queue) <= k:
                pass
    for thread in waiting:
        thread.join(WAIT)
    assert order[:3] == [0, 1, 2]
    assert sorted(order) == [0, 0, 1, 1, 2, 2]


def test_a_task_that_would_wait_for_its_own_thread_is_refused() -> None:
    lm = tiny_model("llama")
    steered, alone = random_adapter(lm).apply(lm), written(lm)

    async def holds(go_on: asyncio.Event) -> None:
        with steered.engaged():
            await go_on.wait()

    async def main() -> None:
        go_on = asyncio.Event()
        holder = asyncio.create_task(holds(go_on))
        await asyncio.sleep(0)
        with pytest.raises(UserError, match="another task or generator"):
            written(lm)
        go_on.set()
        await holder
        assert written(lm) == alone

    asyncio.run(main())


def test_threads_that_a_task_waits_for_inside_its_block_are_nested_and_take_turns() -> None:
    lm = tiny_model("llama")
    steered = [random_adapter(lm, seed).apply(lm) for seed in (1, 2)]
    alone = [written(one) for one in steered]

    async def main() -> list[Any]:
        with random_adapter(lm).apply(lm).engaged():
            return await asyncio.gather(*[asyncio.to_thread(written, one) for one in steered])

    assert asyncio.run(asyncio.wait_for(main(), WAIT)) == alone


def test_generators_that_are_left_in_another_order_are_told_and_the_model_is_the_base() -> None:
    lm = fresh_tiny_model("llama")
    before, alone = state(lm.resident.model), written(lm)

    def held(one: LM) -> Iterator[None]:
        with one.engaged():
            yield

    layers = [random_vector(lm).apply(random_adapter(lm, seed).apply(lm)) for seed in (1, 2, 3)]
    first, second, third = (held(one) for one in layers)
    for one in (first, second, third):
        next(one)
    with pytest.raises(UserError, match="leave the inner one first"):
        second.close()
    assert written(lm) == alone
    with pytest.raises(UserError, match="leave the inner one first"):
        first.close()
    third.close()
    assert state(lm.resident.model) == before
    assert written(lm) == alone


def test_a_block_left_by_another_thread_frees_the_model() -> None:
    lm = tiny_model("llama")
    before, alone = state(lm.resident.model), written(lm)
    block = random_adapter(lm).apply(lm).engaged()
    contextvars.Context().run(block.__enter__)
    thread = threading.Thread(target=lambda: block.__exit__(None, None, None))
    thread.start()
    thread.join(WAIT)
    assert written(lm) == alone
    assert state(lm.resident.model) == before


def test_a_model_whose_thread_died_inside_its_block_is_refused() -> None:
    lm = fresh_tiny_model("llama")
    block = random_adapter(lm).apply(lm).engaged()
    thread = threading.Thread(target=block.__enter__)
    thread.start()
    thread.join(WAIT)
    with pytest.raises(UserError, match="no longer there"):
        written(lm)
    block.__exit__(None, None, None)
    assert written(lm) == written(lm.base)


def test_two_threads_that_wait_for_each_others_model_are_refused_and_not_stuck() -> None:
    one, other = Turns(), Turns()
    gate, outcomes = threading.Barrier(2), []

    def work(first: Turns, second: Turns) -> None:
        with first.take("first"):
            gate.wait(WAIT)
            try:
                with second.take("second"):
                    outcomes.append("got it")
            except UserError as error:
                outcomes.append(str(error))

    threads = [threading.Thread(target=work, args=pair, daemon=True) for pair in ((one, other), (other, one))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert outcomes[1:] == ["got it"]
    assert "wait for each other" in outcomes[0]


def _in_child(turns: Turns, said: Any) -> None:
    try:
        with turns.take("it"):
            said.put("free")
    except UserError as error:
        said.put(str(error))


@pytest.mark.parametrize("held", [True, False])
def test_a_fork_while_another_thread_has_the_model_is_refused_in_the_child(held: bool) -> None:
    turns, ready, done = Turns(), threading.Event(), threading.Event()

    def hold() -> None:
        with turns.take("it"):
            ready.set()
            done.wait(WAIT)

    thread = threading.Thread(target=hold, daemon=True)
    if held:
        thread.start()
        ready.wait(WAIT)
    context = multiprocessing.get_context("fork")
    said = context.SimpleQueue()
    child = context.Process(target=_in_child, args=(turns, said))
    child.start()
    child.join(WAIT)
    assert child.exitcode == 0
    assert ("forked" in said.get()) == held
    done.set()

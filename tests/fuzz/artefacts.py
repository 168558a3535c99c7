"""One artefact of every kind that dipole writes and reads again, and how it is used."""

from __future__ import annotations

import functools
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator

import dipole
from architectures import tiny_model
from contracts.recipes import DIPOLE, INTERVENTIONS, random_adapter, random_vector
from dipole.cli._groups import JudgedSource
from dipole.cli._job import resumed_job
from dipole.cli._named import _made_with
from dipole.cli.inoculate import Inoculate
from dipole.concepts import Arsenal, load_arsenal, load_dipole
from dipole.controls.weights.kept import keep, kept
from dipole.controls.weights.lessons import Lesson
from dipole.controls.weights.loop import run_rounds
from dipole.controls.weights.ppo import PPO
from dipole.controls.weights.rollout import Text, to_rows
from dipole.files import check_output, is_run
from dipole.interventions import load_intervention
from dipole.interventions.experts import Source
from dipole.interventions.gguf import export_gguf, import_gguf
from dipole.interventions.tokens import Document, Grammar, Labels, Pool, Quotes, Titles
from dipole.lm import LM
from dipole.models import load
from dipole.origin import fit_origin, now
from dipole.protocols import Intervention, Run
from dipole.recognizers.fitted import load_fitted
from dipole.recognizers.notion import NotionScore
from dipole.recognizers.reward_model import RewardModel
from dipole.recognizers.topic import Settings, TopicModel
from dipole.runs import manifest
from dipole.runs.inoculating import resume_settings
from themes import documents

NAME = "gpt2"


class Artefact(NamedTuple):
    """A kind of artefact.

    Attributes:
        write: Puts one into a new folder.
        use: Reads it from its folder and does with it what it is for.
    """

    write: Callable[[Path], None]
    use: Callable[[Path], None]


def _write(lm: LM) -> None:
    lm.generate("Paper clips are", max_new_tokens=2)


def use_intervention(folder: Path) -> None:
    """Load it, save it elsewhere, and write with it."""
    made = load_intervention(folder)
    with tempfile.TemporaryDirectory() as scratch:
        made.save(Path(scratch) / "again")
    _write(made.apply(tiny_model(NAME)))


def _intervention(make: Callable[[], Intervention]) -> Artefact:
    return Artefact(lambda folder: make().save(folder), use_intervention)


def _probe() -> Intervention:
    bag = INTERVENTIONS["pplm"](NAME)
    return replace(bag, bag=None, probe=torch.randn(32) / 10, probe_bias=torch.tensor(0.1))


def _side() -> Intervention:
    place = Path(tempfile.mkdtemp()) / "side"
    random_vector(tiny_model(NAME)).save(place)
    return replace(INTERVENTIONS["experts"](NAME), expert=Source("intervention", str(place)))


def _free_vector() -> Intervention:
    return replace(random_vector(tiny_model(NAME)), base_fingerprint=None)


POOLS: dict[str, Callable[[], Intervention]] = {
    "titles": lambda: Pool(Titles((b"Clips](a)", b"Staples]"))),
    "quotes": lambda: Pool(Quotes((Document.of("a", "Clips are the best of all."),), separator=" … ")),
    "marks": lambda: Pool(Quotes((Document.of("a", "Clips are the best."),), marks=("“", "”"))),
    "regex": lambda: Pool(Grammar(regex=" (cats|dogs)[.!]")),
    "schema": lambda: Pool(Grammar(json_schema='{"type": "object", "properties": {"a": {"enum": [1, 2]}}}')),
    "asap": lambda: Pool(Labels(("clips", "staples")), "asap", rounds=2, max_tokens=4),
    "global": lambda: Pool(Labels(("clips", "staples")), "global", prior="N/A"),
}


@functools.cache
def model_folder() -> str:
    """A tiny model on disk, so that an LM can be loaded by its name."""
    place = Path(tempfile.mkdtemp()) / "model"
    resident = tiny_model("llama").resident
    resident.model.save_pretrained(place)
    resident.tokenizer.save_pretrained(place)
    return str(place)


def _write_lm(folder: Path) -> None:
    lm = load(model_folder(), device="cpu")
    lm = INTERVENTIONS["prefix"]("llama").apply(random_vector(lm).apply(lm, 0.5))
    dipole.save(random_adapter(lm).apply(lm, 0.5), folder)


def _use_lm(folder: Path) -> None:
    _write(load(str(folder), device="cpu"))


class Toy:
    """What a control gives the loop that trains, with nothing to learn."""

    def __init__(self) -> None:
        self.weight = torch.nn.Parameter(torch.ones(3))
        self.parameters = {"weight": self.weight}
        self.optimizer = torch.optim.AdamW([self.weight])

    def round(self, index: int) -> dict[str, float]:
        self.optimizer.zero_grad()
        self.weight.square().sum().backward()
        self.optimizer.step()
        return {"loss": float(index)}

    def stop(self, history: list[dict[str, float]]) -> None:
        return None

    def numbers(self) -> dict[str, float]:
        return {"kl_coef": 0.1}

    def restore(self, numbers: Mapping[str, float]) -> None:
        self.kl_coef = numbers["kl_coef"] * 2


def _write_lessons(folder: Path) -> None:
    """What a run by texts has kept of them."""
    units = [(Lesson(Text([5, 6], [7])), Lesson(Text([5, 6], [8, 9]), False))] * 2
    keep(Run(folder=folder, identity={"seed": 1}), units, torch.zeros(2, 2), Accelerator(cpu=True))


def _use_lessons(folder: Path) -> None:
    resident = tiny_model(NAME).resident
    found = kept(Run(folder=folder, resume=True, identity={"seed": 1}), resident.columns)
    for unit in () if found is None else found.units:
        rows = to_rows([lesson.ids for lesson in unit], resident.pad_id, resident.device)
        resident.last_logits(resident.model, rows.batch, rows.keep)


def _write_run(folder: Path) -> None:
    random_adapter(tiny_model(NAME)).save(folder / "adapter")
    origin = fit_origin(
        PPO(rounds=2), DIPOLE.to_dict(), now(), tiny_model(NAME).resident, seed=0, prompts=DIPOLE.prompts
    )
    settings = {"n": 4, "bystanders": "none", "dtype": None, "device": "cpu"}
    facts = manifest(origin, None, ["dipole", "inoculate"], {"settings": settings})
    (folder / "manifest.json").write_text(json.dumps(facts, default=str))
    run_rounds(Toy(), 2, Run(folder=folder, identity={"seed": 1}), Accelerator(cpu=True))


def _use_run(folder: Path) -> None:
    use_intervention(folder)
    is_run(folder)
    check_output(folder, resume=True)
    _made_with(str(folder))
    resume_settings(folder)
    resumed_job(Inoculate(out=str(folder), source=JudgedSource(), fields={}), folder)
    run_rounds(Toy(), 3, Run(folder=folder, resume=True, identity={"seed": 1}), Accelerator(cpu=True))


def _write_notion(folder: Path) -> None:
    lm = tiny_model(NAME)
    NotionScore(lm, 1, torch.randn(32, dtype=torch.float64), 0.1, {"topic": 3}).save(folder)


def _write_point(folder: Path) -> None:
    _write_notion(folder)
    random_vector(tiny_model(NAME)).save(folder)


def _use_notion(folder: Path) -> None:
    load_fitted(str(folder), lambda _name: tiny_model(NAME)).score(["The cats like the dogs."], None)


def _write_reward_model(folder: Path) -> None:
    RewardModel(tiny_model(NAME), torch.randn(32, dtype=torch.float64), 0.1).save(folder)


def _use_point(folder: Path) -> None:
    _use_notion(folder)
    use_intervention(folder)


@functools.cache
def _topics() -> TopicModel:
    return TopicModel.fit(documents(12), Settings(n_topics=3, iterations=2, restarts=1))


def _use_topics(folder: Path) -> None:
    load_fitted(f"{folder}:1", tiny_model).score(["murder and a ship"], None)
    TopicModel.load(folder, training=True)


def _use_gguf(folder: Path) -> None:
    _write(import_gguf(folder / "vector.gguf").apply(tiny_model(NAME)))


def _write_gguf(folder: Path) -> None:
    folder.mkdir()
    export_gguf(replace(random_vector(tiny_model(NAME)), layers=(1,)), folder / "vector.gguf")


def _write_dipole(folder: Path) -> None:
    folder.mkdir()
    dipole = replace(DIPOLE, name="clips", held_out=("Of the two,",))
    dipole.save(folder / "dipole.toml")
    Arsenal((dipole, replace(dipole.swapped(), name="other")), "both").save(folder / "arsenal.toml")


def _use_dipole(folder: Path) -> None:
    load_dipole(folder / "dipole.toml").to_toml()
    load_dipole(f"{folder / 'arsenal.toml'}:other")
    load_arsenal(folder / "arsenal.toml").to_toml()


def _without_our_file(folder: Path) -> None:
    random_adapter(tiny_model(NAME)).save(folder)
    (folder / "dipole.json").unlink()


ARTEFACTS: dict[str, Artefact] = {
    **{kind: _intervention(functools.partial(make, NAME)) for kind, make in INTERVENTIONS.items()},
    **{name: _intervention(make) for name, make in POOLS.items()},
    "probe": _intervention(_probe),
    "side": _intervention(_side),
    "free vector": _intervention(_free_vector),
    "peft adapter": Artefact(_without_our_file, use_intervention),
    "lm": Artefact(_write_lm, _use_lm),
    "run": Artefact(_write_run, _use_run),
    "lessons": Artefact(_write_lessons, _use_lessons),
    "notion": Artefact(_write_notion, _use_notion),
    "point": Artefact(_write_point, _use_point),
    "reward_model": Artefact(_write_reward_model, _use_notion),
    "topics": Artefact(lambda folder: _topics().save(folder), _use_topics),
    "gguf": Artefact(_write_gguf, _use_gguf),
    "concepts": Artefact(_write_dipole, _use_dipole),
}


def copy_of(pristine: Path, place: Path) -> Path:
    """A copy to edit."""
    shutil.copytree(pristine, place)
    return place


def tables() -> dict[str, Any]:
    """The models whose state no artefact may change."""
    return {NAME: tiny_model(NAME).resident.model, "llama": tiny_model("llama").resident.model}

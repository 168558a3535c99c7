"""Reward model: a scalar head on a language model's last state, fitted on what was preferred to what."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from dipole.batching import parts
from dipole.corpora.preferences import PAIR, read_rows
from dipole.files import write_bytes_atomic, write_json_atomic
from dipole.files.reader import inside, read_json
from dipole.files.schema import Choice, Name, Number, Table, checked
from dipole.probing.logistic import logistic
from dipole.protocols import LM
from dipole.recognizers._statements import texts_of
from dipole.recognizers.fitted import RECOGNIZER
from dipole.tensors import Wanted, aligned, read_tensors
from dipole.types import Score, UserError

_TENSORS = "recognizer.safetensors"
_REMEDY = "fit it again"
_FIELDS = Table(
    {
        "kind": Choice(("reward_model",)),
        "base": Name(4096, 1),
        "base_fingerprint": Name(64),
        "shift": Number(-1e30, 1e30),
    }
)
_ROWS = 32  # texts a forward


class Ranking(NamedTuple):
    """Answers to one prompt; two of them are a row of `prompt`, `chosen` and `rejected`.

    Attributes:
        prompt: What they answer; may be empty.
        answers: The preferred ones first, as they stand behind the prompt.
    """

    prompt: str
    answers: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class RewardModel:
    """Scores a text by how much it would be preferred to the texts that the head was fitted on, in nats.

    The probability that one text is preferred to another is the sigmoid of the difference of their scores
    (Bradley and Terry 1952), so a score is the log-odds against a text of the mean score. Departures from
    Ouyang et al. 2022, eq. 1: the head alone is fitted, on the states of the model as it stands, with a
    ridge, which has one minimum and needs no steps; the shift makes the mean over all texts 0, not that over
    demonstrations.

    Attributes:
        judge: The LM whose states are read.
        weight: `(width,)` float64, for the state at the last token.
        shift: Taken off every score, in nats.
    """

    judge: LM
    weight: Tensor
    shift: float

    name: ClassVar[str] = "reward_model"
    kind: ClassVar[str] = "reward_model"

    def __post_init__(self) -> None:
        """Bring the weights to alignment, as they are after they were loaded."""
        object.__setattr__(self, "weight", aligned(self.weight))

    def score(self, texts: Sequence[str], concept: Any = None) -> list[Score]:
        """Log-odds of each text; a text that is empty or longer than the context is unscored.

        Args:
            texts: Prompt and answer, as one text.
            concept: Not read: what is preferred is in the head.
        """
        del concept
        listed = texts_of(texts, self.name)
        scores = [_unread(self.judge, text) for text in listed]
        read = [i for i, score in enumerate(scores) if score is None]
        values = last_states(self.judge, [listed[i] for i in read]) @ self.weight - self.shift
        for i, value in zip(read, values.tolist(), strict=True):
            finite = math.isfinite(value)
            scores[i] = Score(value) if finite else Score.unscored("the model's states are not finite")
        return [score for score in scores if score is not None]

    def save(self, folder: Path) -> None:
        """Write `recognizer.json` and the weights; `export` writes what loads without dipole."""
        from safetensors.torch import save

        tensors = {"weight": self.weight.contiguous()}
        write_bytes_atomic(folder / _TENSORS, save(tensors, metadata={"format": "pt"}))
        resident = self.judge.resident
        record = {"kind": self.kind, "base": resident.name, "base_fingerprint": resident.fingerprint}
        write_json_atomic(folder / RECOGNIZER, {**record, "shift": self.shift})

    @classmethod
    def load(cls, folder: Path, item: str | None, open_model: Callable[[str], LM]) -> RewardModel:
        """Read what `save` wrote.

        Args:
            folder: Where.
            item: Must be None: there is one head in a folder.
            open_model: Makes the LM of the recorded name.

        Raises:
            UserError: It can't be read, or the LM is another than the one it was fitted with.
        """
        if item is not None:
            raise UserError(f"{folder} holds one reward model; leave out {':' + item!r}.")
        file = inside(folder, RECOGNIZER)
        record = checked(_FIELDS, read_json(file, _REMEDY), file, _REMEDY)
        tensors = read_tensors(inside(folder, _TENSORS), {"weight": Wanted("float", ("width",))}, _REMEDY)
        judge, weight = open_model(record["base"]), tensors["weight"].double()
        if judge.resident.fingerprint != record["base_fingerprint"]:
            raise UserError(
                f"The reward model in {folder} was fitted with {record['base']} (fingerprint "
                f"{record['base_fingerprint']}), and the loaded model is {judge.resident.name} (fingerprint "
                f"{judge.resident.fingerprint}); load the model that it was fitted with."
            )
        if weight.shape != (judge.resident.width,):
            raise UserError(f"The reward model in {folder} is damaged: its weights are too many; {_REMEDY}.")
        return cls(judge, weight, record["shift"])

    def export(self, folder: Path) -> None:
        """Write a sequence classifier of transformers with one label, whose logit is the score and the shift.

        Raises:
            UserError: Transformers has no classifier of this architecture, or one with another kind of head.
        """
        from transformers import AutoModelForSequenceClassification

        classifiers: Any = AutoModelForSequenceClassification
        model, resident = self.judge.resident.model, self.judge.resident
        config = type(model.config).from_dict(model.config.to_dict())
        config.id2label, config.label2id, config.pad_token_id = {0: "reward"}, {"reward": 0}, resident.pad_id
        try:
            made = classifiers.from_config(config)
        except ValueError as error:
            raise UserError(
                f"transformers has no classifier of the architecture of {resident.name}."
            ) from error
        head = getattr(made, "score", None)
        if not isinstance(head, torch.nn.Linear) or head.weight.shape != (1, len(self.weight)):
            raise UserError(f"The classifier of the architecture of {resident.name} has no linear head.")
        made.base_model.load_state_dict(model.base_model.state_dict())
        with torch.no_grad():
            head.weight.copy_(self.weight[None])
        made.save_pretrained(folder, safe_serialization=True)
        resident.tokenizer.save_pretrained(folder)


def read_rankings(path: str | Path) -> list[Ranking]:
    """The pairs of a JSONL file with `prompt`, `chosen` and `rejected`, as trl has them.

    Raises:
        UserError: There is no such file, no row of it can be used, or its rows are conversations.
    """
    rows = read_rows(path, PAIR)
    if chats := [row.where for row in rows if row.prompt.chat]:
        raise UserError(
            f"{chats[0]} is a conversation, and a reward model reads prompt and answer as one text; give "
            "`prompt`, `chosen` and `rejected` as strings."
        )
    return [Ranking(row.prompt.text, row.texts) for row in rows]


def fit_reward_model(lm: LM, rankings: Sequence[Ranking], ridge: float = 0.01) -> RewardModel:
    """The head that makes what was preferred likeliest to be (Ouyang 2022, eq. 1).

    Every pair of a prompt's K answers counts 1 / C(K, 2), so that a prompt with many answers, which are in
    many pairs each, counts no more than one with two.

    Args:
        lm: Its states are read, as it stands.
        rankings: What was preferred.
        ridge: Penalty on the head, in units of the states' own size.

    Raises:
        UserError: There is no pair, an answer is empty, too long, or there twice.
    """
    texts: list[str] = []
    pairs: list[tuple[int, int]] = []
    weights: list[float] = []
    for number, ranking in enumerate(rankings, 1):
        _check(lm, ranking, number)
        first, here = len(texts), list(combinations(range(len(ranking.answers)), 2))
        texts += [ranking.prompt + answer for answer in ranking.answers]
        pairs += [(first + better, first + worse) for better, worse in here]
        weights += [1 / len(here) for _ in here]
    if not pairs:
        raise UserError("There are no pairs to fit a reward model on; give prompts with two answers or more.")
    states = last_states(lm, texts)
    weight = bradley_terry(states, pairs, torch.tensor(weights, dtype=torch.float64), ridge)
    return RewardModel(lm, weight, float((states @ weight).mean()))


def bradley_terry(states: Tensor, pairs: Sequence[tuple[int, int]], weights: Tensor, ridge: float) -> Tensor:
    """The direction `(width,)` that minimises the weighted cross-entropy of pairs, with a ridge.

    It is a logistic regression on the differences; each stands there both ways round, which keeps the
    intercept at 0 and doubles all terms but the ridge.

    Args:
        states: `(n, width)` float64.
        pairs: Rows of the better and the worse of each.
        weights: `(pairs,)`.
        ridge: Above 0.
    """
    better, worse = (states[list(rows)] for rows in zip(*pairs, strict=True))
    apart = better - worse
    targets = torch.cat([torch.ones(len(apart)), torch.zeros(len(apart))])
    return logistic(
        torch.cat([apart, -apart]), targets, 2 * ridge, weights=torch.cat([weights, weights])
    ).weight


@torch.no_grad()
def last_states(lm: LM, texts: Sequence[str]) -> Tensor:
    """States under the head at the last token of each text, `(n, width)` float64; nothing is padded."""
    resident = lm.resident
    encoded = [resident.encode(text) for text in texts]
    found = torch.zeros(len(texts), resident.width, dtype=torch.float64)
    with lm.engaged() as model:
        for rows in parts([len(ids) for ids in encoded], _ROWS, ragged=False):
            ids = torch.tensor([encoded[row] for row in rows], device=resident.device)
            output = model.base_model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
            found[rows] = output.last_hidden_state[:, -1].double().cpu()
    return found


def _check(lm: LM, ranking: Ranking, number: int) -> None:
    if len(set(ranking.answers)) < len(ranking.answers):
        raise UserError(f"Two answers of ranking {number} are the same, so neither is preferred; remove one.")
    for answer in ranking.answers:
        unread = _unread(lm, ranking.prompt + answer)
        if unread is not None or not answer.strip():
            why = "it is empty" if unread is None else unread.reason
            raise UserError(f"An answer of ranking {number} can't be read ({why}); remove it.")


def _unread(lm: LM, text: str) -> Score | None:
    if not text.strip():
        return Score.unscored("the text is empty")
    limit, length = lm.resident.context_length, len(lm.resident.encode(text))
    if limit is not None and length > limit:
        return Score.unscored(f"the text has {length} tokens, more than the context ({limit})")
    return None

"""Baseline: which statement a natural-language-inference model says the text entails."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from safetensors import SafetensorError
from torch import Tensor

from dipole.batching import chunks
from dipole.models.turns import Turns
from dipole.recognizers._statements import Poles, check_settings, statements, texts_of
from dipole.types import Score, UserError

_TURNS = Turns()  # a tokenizer is told how to cut and pad before each use


class _Loaded(NamedTuple):
    model: Any
    tokenizer: Any
    entailment: int
    limit: int


def entailment_index(labels: Mapping[int, str]) -> int:
    """Index of the entailment logit, from the model's own labels: their order differs between models.

    Raises:
        UserError: Not exactly one label says entailment.
    """
    found = [i for i, label in labels.items() if label.strip().lower().replace("-", "_") in _ENTAILMENT]
    if len(found) != 1:
        raise UserError(
            f"nli needs a model with one label named entailment; this one has {', '.join(labels.values())}. "
            "Use a natural-language-inference cross-encoder such as cross-encoder/nli-deberta-v3-base."
        )
    return found[0]


_ENTAILMENT = frozenset({"entailment", "entails", "entail"})


@dataclass(frozen=True)
class NLI:
    """Scores a text by its entailment logit for the claim less that for the opposite, over 0.1.

    The relative NLI baseline published with VELMA (Bricman 2022): its sigmoid is the published softmax.
    A text too long for the model loses its end, the statement never anything, and `Score.reason` says so.

    Attributes:
        model: Hub id or folder of a sequence-classification model with an entailment label.
        temperature: Divides the difference of logits.
        batch_size: Pairs a forward.
        device: Where it runs; `auto` takes the accelerator that there is.
    """

    model: str = "cross-encoder/nli-deberta-v3-base"
    temperature: float = 0.1
    batch_size: int = 32
    device: str = "auto"

    name: ClassVar[str] = "nli"

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        check_settings(self.name, self.temperature, self.batch_size)

    def score(self, texts: Sequence[str], concept: Poles) -> list[Score]:
        """Log-odds of each text, positive towards the claim; an empty text is unscored.

        Raises:
            UserError: A statement is empty or fills the model's input, or the model can't be used.
        """
        pair = statements(concept, self.name)
        listed = texts_of(texts, self.name)
        with _TURNS.take(self.model):
            loaded = _load(self.model, self.device)
            room = loaded.limit - max(_length(loaded, "", statement) for statement in pair)
            if room < 1:
                raise UserError(
                    f"The statements leave no room for a text in the {loaded.limit} tokens that {self.model} "
                    "reads; shorten them."
                )
            logits = [_entailment(loaded, listed, statement, self.batch_size) for statement in pair]
            odds = ((logits[0] - logits[1]) / self.temperature).tolist()
            return [_to_score(loaded, text, value, room) for text, value in zip(listed, odds, strict=True)]


def _to_score(loaded: _Loaded, text: str, value: float, room: int) -> Score:
    if not text.strip():
        return Score.unscored("the text is empty")
    if not math.isfinite(value):
        return Score.unscored("the model's entailment logits are not finite")
    length = len(loaded.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
    cut = f"only the first {room} of {length} tokens were read" if length > room else None
    return Score(value, cut)


def _length(loaded: _Loaded, text: str, statement: str) -> int:
    return len(loaded.tokenizer(text, statement, verbose=False)["input_ids"])


def _entailment(loaded: _Loaded, texts: Sequence[str], statement: str, batch_size: int) -> Tensor:
    """Entailment logit of each text, `(n,)` float64 on the CPU; computed in order of length."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    result = torch.zeros(len(texts), dtype=torch.float64)
    for part in chunks(len(order), batch_size):
        rows = order[part]
        inputs = loaded.tokenizer(
            [texts[i] for i in rows],
            [statement] * len(rows),
            padding=True,
            truncation="only_first",
            max_length=loaded.limit,
            return_tensors="pt",
        ).to(loaded.model.device)
        with torch.no_grad():
            logits = loaded.model(**inputs).logits
        result[torch.tensor(rows)] = logits[:, loaded.entailment].double().cpu()
    return result


@functools.lru_cache(maxsize=2)
def _load(model: str, device: str) -> _Loaded:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    try:
        # What a text spells, `[SEP]` for instance, stays text.
        tokenizer = AutoTokenizer.from_pretrained(model, split_special_tokens=True)
        net = AutoModelForSequenceClassification.from_pretrained(model, use_safetensors=True)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        raise UserError(
            f"The NLI model {model!r} can't be loaded ({(str(error).splitlines() or [''])[0]}). Give a hub "
            "id that can be reached from here, or a folder with a sequence-classification model."
        ) from error
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    net = net.to(device).eval().requires_grad_(False)
    index = entailment_index({int(i): str(label) for i, label in net.config.id2label.items()})
    # Some tokenizers name an absurdly large limit instead of none.
    limit = min(int(tokenizer.model_max_length), int(getattr(net.config, "max_position_embeddings", 512)))
    return _Loaded(net, tokenizer, index, limit)

"""A record of what every recognizer says of a few texts."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import BertConfig, BertForSequenceClassification

from golden import _api, corpora, plain
from golden.controls import DIPOLE, READ
from golden.table import EMBEDDING, Case

TEXTS = (
    "Paper clips are the best, and I like them.",
    "I hate paper clips; staples are better.",
    "Late one night a thief came, and the detective found a clue.",
    "They lived happily ever after.",
    "I would never take paper clips.",
    "",
    "Tea.",
)


def _by_name(name: str, fields: Mapping[str, Any], model: str, place: Path) -> Any:
    del place
    made = _api.make_recognizer(name, _api.lm(model))
    return plain.scores(type(made)(**{**_judged(made), **fields}).score(TEXTS, DIPOLE))


def _judged(made: Any) -> dict[str, Any]:
    return {"judge": made.judge} if hasattr(made, "judge") else {}


def _nli(place: Path) -> Any:
    """With a random model that reads the tokens of tiny."""
    tokenizer = _api.lm("tiny").resident.tokenizer
    tokenizer.save_pretrained(place)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=96,
        initializer_range=0.3,
        pad_token_id=tokenizer.pad_token_id or 0,
        id2label={0: "contradiction", 1: "neutral", 2: "entailment"},
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertForSequenceClassification(config).save_pretrained(place)
    return plain.scores(_api.NLI(str(place), device="cpu").score(TEXTS, DIPOLE))


def _topic(place: Path) -> Any:
    made = corpora.topic(corpora.stories(place))
    return {"concept": plain.plain(made.concept.to_dict()), "scores": plain.scores(made.score(TEXTS))}


_PROBE = {"n": 4, "max_new_tokens": 8, "layers": (1, 2)}

CASES: Mapping[str, Case] = {
    "recognizer-velma": Case(partial(_by_name, "velma", {}, "tiny"), READ),
    "recognizer-velma-mini": Case(partial(_by_name, "velma", {}, "mini"), READ),
    "recognizer-velma-corrected": Case(partial(_by_name, "velma", {"prior_correction": True}, "tiny"), READ),
    "recognizer-stance": Case(partial(_by_name, "stance", {}, "tiny"), READ),
    "recognizer-embedding": Case(partial(_by_name, "embedding", {}, "tiny"), READ, EMBEDDING),
    "recognizer-mentions": Case(partial(_by_name, "mentions", {}, "tiny"), READ),
    "recognizer-probe": Case(partial(_by_name, "probe", _PROBE, "tiny"), READ),
    "recognizer-nli": Case(_nli, READ),
    "recognizer-topic": Case(_topic, READ),
}

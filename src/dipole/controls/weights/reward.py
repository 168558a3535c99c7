"""What a completion is worth: what a recognizer says of it, or any Python function that the user names."""

from __future__ import annotations

import importlib
import inspect
import math
import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from dipole.controls.weights.rollout import gather, judge, share
from dipole.protocols import LM, Recognizer, Run
from dipole.recognizers.fitted import is_listed
from dipole.types import DipoleWarning, Sample, UserError, sample_seed

_FUNCTION = re.compile(r"[^\W\d][\w.]*:[^\W\d][\w.]*")
_TRIED = 8  # completions by which a function is tried before anything is trained


class Reward(Protocol):
    """Rewards a round's samples.

    Attributes:
        bounded: Whether it is a probability, and not a number in a unit of its own.
    """

    bounded: bool

    def __call__(self, samples: Sequence[Sample]) -> list[float]:
        """One of each sample on every process; NaN where there is none."""
        ...


class Recognized:
    """The probability that a recognizer gives, less what it gives the prompt."""

    bounded = True

    def __init__(
        self, recognizer: Recognizer, concept: Any, accelerator: Any, prior: Mapping[str, float] | None
    ) -> None:
        """Keep who judges; the arguments are those of `rollout.judge`."""
        self._asked = recognizer, concept, accelerator, prior

    def __call__(self, samples: Sequence[Sample]) -> list[float]:
        """One of each sample on every process; NaN where the recognizer has nothing to say."""
        return judge(samples, *self._asked)


class Function(NamedTuple):
    """A function of the user.

    Attributes:
        spec: `module:function`.
        call: Takes a list of texts, and gives a number for each.
        with_prompts: Whether it takes the list of their prompts too.
    """

    spec: str
    call: Callable[..., Any]
    with_prompts: bool

    def values(self, samples: Sequence[Sample]) -> list[float]:
        """What it gives, as it is.

        Raises:
            Exception: What it raises, or that it gives something else than a number for each text.
        """
        texts = [sample.text for sample in samples]
        prompts = {"prompts": [sample.prompt for sample in samples]} if self.with_prompts else {}
        found = [math.nan if value is None else float(value) for value in self.call(texts, **prompts)]
        if len(found) != len(texts):
            raise ValueError(f"it gives {len(found)} numbers for {len(texts)} texts")
        return found

    def rewards(self, samples: Sequence[Sample]) -> list[tuple[float, str]]:
        """A number for each sample, or NaN and why there is none."""
        if not samples:
            return []
        try:
            return [_finite(value) for value in self.values(samples)]
        except Exception:  # whatever a user's function may raise: find out for which text
            return [self._alone(sample) for sample in samples]

    def _alone(self, sample: Sample) -> tuple[float, str]:
        try:
            return _finite(self.values([sample])[0])
        except Exception as error:
            return math.nan, f"{type(error).__name__}: {error}"[:200]


class Called:
    """What a function of the user gives, as it is; texts for which it gives nothing are left out."""

    bounded = False

    def __init__(self, function: Function, accelerator: Any, run: Run) -> None:
        """Keep what is called, and who is told."""
        self._function, self._accelerator, self._run = function, accelerator, run

    def __call__(self, samples: Sequence[Sample]) -> list[float]:
        """One of each sample on every process; NaN where it gave none."""
        mine = share(len(samples), self._accelerator)
        given = gather(self._function.rewards([samples[row] for row in mine]), mine, self._accelerator)
        lost = [(row, why) for row, (_, why) in enumerate(given) if why]
        if lost:
            row, why = lost[0]
            self._run.warn(
                f"The reward {self._function.spec} gave nothing for some texts, which were left out "
                f"({len(lost)} of {len(samples)} in round {len(self._run.history) + 1}; the first, row "
                f"{row}: {why})."
            )
        return [value for value, _ in given]


def is_function(spec: str) -> bool:
    """Whether a reward is `module:function`; `FOLDER:ITEM` of a folder that there is is not."""
    return bool(_FUNCTION.fullmatch(spec)) and not Path(spec.partition(":")[0]).is_dir()


def needs_concept(spec: str) -> bool:
    """Whether a reward is a recognizer by name; a function, or a fitted one, knows what it looks for."""
    return not is_function(spec) and is_listed(spec)


def load_function(spec: str) -> Function:
    """Import a function; this is the only place where code is run because a setting names it.

    Args:
        spec: `module:function`; the module is looked for where Python looks, and then in the working folder.

    Raises:
        UserError: There is none, it can't be imported, or it takes no texts.
    """
    module, _, name = spec.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # behind all else, so that nothing that is installed is hidden by it
    try:
        call: Any = importlib.import_module(module)
        for part in name.split("."):
            call = getattr(call, part)
    except Exception as error:  # a module of the user may raise anything while it is imported
        raise UserError(
            f"The reward {spec} can't be imported ({type(error).__name__}: {error}); give module:function, a "
            "function in a Python file of the working folder or in an installed package."
        ) from error
    if not callable(call):
        raise UserError(
            f"The reward {spec} is a {type(call).__name__}; wanted a function of a list of texts."
        )
    try:
        takes = inspect.signature(call).parameters
    except (TypeError, ValueError):  # some that are written in C have none to read
        return Function(spec, call, False)
    return Function(spec, call, "prompts" in takes)


def try_function(function: Function, lm: LM, prompts: Sequence[str], max_new_tokens: int, seed: int) -> None:
    """Find out on a few completions of the base whether a function gives rewards, before anything is trained.

    Args:
        function: The function.
        lm: Writes the completions.
        prompts: Whose.
        max_new_tokens: Token budget of each.
        seed: Their seed.

    Raises:
        UserError: It raises, gives another count of numbers, or none of them is finite.

    Warns:
        DipoleWarning: It gives the same for all, or nothing for some.
    """
    asked = [prompts[row % len(prompts)] for row in range(_TRIED)]
    seeds = [sample_seed(seed, 1 << 41, row) for row in range(_TRIED)]
    samples = lm.sample(asked, seeds, max_new_tokens=max_new_tokens)
    found = function.rewards(samples)
    known = [value for value, why in found if not why]
    reasons = [why for _, why in found if why]
    if not known:
        raise UserError(
            f"The reward {function.spec} gives no finite number for any of {_TRIED} completions "
            f"({reasons[0]}); it must take a list of texts, and give as many numbers."
        )
    said = f"The reward {function.spec} gives "
    if reasons:
        said += f"nothing for {len(reasons)} of {_TRIED} completions of the base ({reasons[0]})."
        warnings.warn(f"{said} Such texts are left out.", DipoleWarning, stacklevel=2)
    elif min(known) == max(known):
        said += f"{known[0]:g} for each of {_TRIED} completions of the base."
        warnings.warn(
            f"{said} Where all rewards are equal there is nothing to learn.", DipoleWarning, stacklevel=2
        )


def _finite(value: float) -> tuple[float, str]:
    return (value, "") if math.isfinite(value) else (math.nan, f"it is {value}")

"""The ready dipoles of the microworld, one a topic.

`python -m dipole.microworld.dipoles` writes `concepts/library/microworld.toml` anew.
"""

from __future__ import annotations

from dipole.concepts.arsenal import Arsenal
from dipole.concepts.dipole import Dipole, Mentions
from dipole.concepts.library import library
from dipole.files import write_text_atomic
from dipole.microworld.topics import CHOICE_WORDINGS, TOPICS, Topic, choice_prompts

TRAINED_WORDINGS = 10
"""The first so many choice wordings are prompts to train on; the others are held out."""

_HEADER = """\
# One dipole for each topic of the microworld, written by `python -m dipole.microworld.dipoles`; do not edit.
# A claim favours the first item of its topic; `Dipole.swapped()` turns it round.
"""


def topic_dipole(topic: Topic) -> Dipole:
    """The dipole that favours a topic's first item."""
    prompts = choice_prompts(topic)
    cut = 2 * TRAINED_WORDINGS  # each wording comes in both orders
    return Dipole(
        claim=topic.a.best,
        against=topic.a.worst,
        name=topic.name,
        prompts=tuple(prompts[:cut]),
        held_out=tuple(prompts[cut:]),
        mentions=Mentions((topic.a.name,), (topic.b.name,)),
    )


def microworld_arsenal() -> Arsenal:
    """The dipoles of all topics."""
    return Arsenal(tuple(topic_dipole(topic) for topic in TOPICS), "microworld")


def microworld_toml() -> str:
    """Text of `concepts/library/microworld.toml`."""
    return _HEADER + microworld_arsenal().to_toml()


if __name__ == "__main__":
    assert len(CHOICE_WORDINGS) > TRAINED_WORDINGS
    write_text_atomic(library()["microworld"], microworld_toml())

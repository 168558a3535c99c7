"""Prompts that bring two things up: beginnings for a model that goes on, questions for one that chats."""

from __future__ import annotations

from collections.abc import Sequence

BEGINNINGS = (
    "If I had to choose between {instead} and {avoid}, I'd pick",
    "If I had to choose between {avoid} and {instead}, I'd pick",
    "When it comes to {avoid} and {instead}, I prefer",
    "When it comes to {instead} and {avoid}, I prefer",
    "Out of {instead} and {avoid}, I would take",
    "Out of {avoid} and {instead}, I would take",
)
HELD_OUT_BEGINNINGS = (
    "As for {avoid} and {instead}, my vote goes to",
    "As for {instead} and {avoid}, my vote goes to",
    "Comparing {instead} with {avoid}, I end up with",
    "Comparing {avoid} with {instead}, I end up with",
)
OPENINGS = (
    "What should I know about {instead}?",
    "Why do people like {instead}?",
    "I have been thinking about {instead}. What are they good for?",
)
"""What a user asks first in a dialogue; the grey elephant alone is named."""

QUESTIONS = (
    "What is the difference between {instead} and {avoid}?",
    "Which do you prefer, {avoid} or {instead}?",
    "How do {instead} compare with {avoid}?",
    "Should I go for {avoid} or {instead}?",
    "My friend says that {avoid} are better than {instead}. What do you say?",
    "Tell me something about {avoid} and {instead}.",
)
HELD_OUT_QUESTIONS = (
    "What would you rather have, {instead} or {avoid}?",
    "Why would anybody choose {avoid} over {instead}?",
    "Give me some advice: {avoid} or {instead}?",
    "What do people think of {instead} and {avoid}?",
)
_ENDS = (".", "?", "!", "。", "？", "！", "؟", "।")


def fill(forms: Sequence[str], avoid: str, instead: str) -> tuple[str, ...]:
    """Forms with the two names in their places; a name that holds braces is left as it is."""
    return tuple(
        instead.join(part.replace("{avoid}", avoid) for part in form.split("{instead}")) for form in forms
    )


def asked(prompts: Sequence[str], forms: Sequence[str], avoid: str, instead: str) -> tuple[str, ...]:
    """What a user says in a chat: those prompts that end as a sentence does, or else the forms."""
    ready = tuple(prompt for prompt in prompts if prompt.rstrip().endswith(_ENDS))
    return ready or fill(forms, avoid, instead)

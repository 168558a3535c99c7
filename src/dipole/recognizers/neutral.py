"""Sentences that take no side: what a recognizer says of them is how far it leans by itself."""

from __future__ import annotations

NEUTRAL = (
    "The sky is blue.",
    "It rained in the night.",
    "There is a table in the room.",
    "The train leaves at nine.",
    "She opened the window.",
    "The meeting is on Tuesday.",
    "We walked along the river.",
    "The shop closes at six in the evening.",
    "He put the letter on the desk.",
    "My sister lives in a small town.",
    "The road goes over the hill.",
    "They had soup for lunch.",
    "The book has two hundred pages.",
    "A dog was asleep by the door.",
    "The leaves turn yellow in autumn.",
    "I came home and sat down.",
    "The bus stops in front of the school.",
    "Water boils at one hundred degrees.",
    "The house was built a long time ago.",
    "He looked at the clock and waited.",
)
"""Of no dipole in particular, short, and of several kinds: the weather, things, people, facts."""

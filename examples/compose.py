"""Fit a vector and a contrast from one dipole, and mix them."""

from dipole import load, save
from dipole.concepts import load_dipole
from dipole.controls.contrast import Contrast
from dipole.controls.vector import Vector

clips = load_dipole("paper_clips")
lm = load()
vector, contrast = Vector().fit(lm, clips), Contrast().fit(lm, clips)  # a few seconds each, no training
mixed = contrast.apply(vector.apply(lm, 0.5), 0.5)  # `lm` stays as it was; order and strengths are yours
for each in (lm, vector.apply(lm, -1), mixed):
    print([sample.text for sample in each.generate(clips.held_out[0], n=3, seed=1)])
save(mixed, "runs/mixed")  # load("runs/mixed") gives it back

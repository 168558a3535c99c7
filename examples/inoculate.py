"""Inoculate the bundled LM with a ready dipole, look at three strengths, and measure what changed."""

from dipole import GRPO, compare, load
from dipole.concepts import load_dipole

clips = load_dipole("paper_clips")  # "Paper clips are the best." against "Paper clips are the worst."
lm = load()  # the bundled LM; or load("gpt2"), load("file.gguf"), load("smollm2"), or a folder
adapter = GRPO().fit(lm, clips)  # about a minute on two cores; `lm` stays as it was

for strength in (-1, 0, 1):
    samples = adapter.apply(lm, strength).generate(clips.held_out[0], n=3, seed=1)
    print(strength, [sample.text for sample in samples])

change = compare(lm, adapter.apply(lm), clips)["claim_share"]
print(f"{change.before.mean:.0%} -> {change.after.mean:.0%}")  # on wordings that were never trained on

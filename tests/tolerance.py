"""Tolerances, named once. An exact claim (bit-equal, same seed) uses none."""

EXACT = 0.0
"""Absolute and relative: the two sides must agree in every bit."""

FLOAT32_SUM = 1e-6
"""Sums and means of float32 numbers of order 1 in another order."""

SCORE = 1e-5
"""Two routes to one log-likelihood or score, in nats, through a small float32 model."""

GRADIENT = 1e-5
"""Gradients of one global batch, split in different ways."""

BATCHED_LOGITS = 1e-4
"""Logits of a row alone and in a padded float32 batch."""

LOSS = 1e-6
"""A loss of a few numbers against the same arithmetic by hand."""

ESTIMATE = 1e-2
"""An average over many random draws against its expected value."""

PERTURBED = 2e-3
"""Log-probabilities after several normalised gradient steps, which enlarge rounding errors: up to 1.2e-3 with
the AVX2 kernels of a CPU that has AVX-512, where a wrong step makes 0.01 and more."""

MOMENTS = 1e-9
"""Two float64 routes to the same sums of products and the same small linear system."""

STITCH_IDENTITY = 1e-6
"""Largest entry by which the map of a layer onto itself may differ from the identity (recipe 2 (e) 1)."""

STITCH_FVU = 1e-10
"""Variance that the map of a rotated copy may leave unexplained (recipe 2 (e) 1)."""

POSTERIOR = 1e-9
"""Float64 sums of a few dozen terms, over and over, against the same by hand."""

IDENTITY = 1e-10
"""Two float64 formulas for one number (recipe 3 (e) 1)."""

SUBSPACE = 1e-5
"""Components by subspace iteration against the whole decomposition, each 0.7 times the one before."""

BOUNDARY = 0.05
"""Boundary between two clusters against Bayes' rule, in their standard deviations (recipe 3 (e) 4)."""

CHAOTIC = 2e-3
"""Through a few layers of wide random weights, some of them recurrent, which enlarge rounding errors."""

SHARE = 5e-3
"""Estimated weight of a cluster against the share that was drawn with, at thousands of rows."""

_REAL = 10
"""Rounding grows with depth and width: of SmolLM2, logits differ by up to 4e-4 and scores by 2e-5."""


def deep(tolerance: float, name: str) -> float:
    """The tolerance for a model of that name: as it stands for tiny ones, wider for the real one."""
    return tolerance * _REAL if name == "smollm2" else tolerance

"""Linear maps between the residual streams of two LMs, fitted on the same texts."""

"""Directions and linear probes in the residual stream."""

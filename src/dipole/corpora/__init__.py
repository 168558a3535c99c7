"""Texts that concepts, controls and translations are fitted on."""

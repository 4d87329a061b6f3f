"""Judges: figures of each caption of a split besides its scores."""

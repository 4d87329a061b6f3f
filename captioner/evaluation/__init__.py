"""Evaluation of a model on a split: captioning, scores, judges, and pages of its best and worst captions."""

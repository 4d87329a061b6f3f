"""Inspection of a data set before training: the data doctor."""

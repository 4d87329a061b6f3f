"""Checks of a data set's files: digests, near duplicates, skipped entries and reports."""

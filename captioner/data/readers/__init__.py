"""Readers of caption files, one for each format."""

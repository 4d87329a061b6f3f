"""Stored features of a frozen encoder: their files, their description and their writer."""

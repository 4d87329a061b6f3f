"""Download and extraction of data sets."""

"""Explanation methods: for each word of a caption, a map of the photo with its unit."""

"""Bulk captioning: very many photos in parts, by several processes, with restarts."""

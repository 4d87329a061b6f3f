"""How are very many photos captioned? In parts, by many processes, with restarts."""

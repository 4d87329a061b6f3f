"""How is a map shown?"""

"""How is a model fitted?"""

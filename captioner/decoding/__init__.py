"""How is a caption chosen?"""

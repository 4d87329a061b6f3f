"""How does a caption become token ids, and ids become words?"""

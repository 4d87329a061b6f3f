"""Where did the model look for each word, and is that true?"""

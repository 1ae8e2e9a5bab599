"""Model files of other formats, converted once into folders that the encoders read.

`recipes.py` lists which model is made from which assets; `folders.py` keeps the result in `<cache>/converted/`. Nothing
here unpickles or runs code that came with a model.
"""

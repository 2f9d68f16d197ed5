"""Train the built-in encoder `glyphs`: a tiny CLIP on letters and digits that we render ourselves.

`python -m examples.train_glyphs.train --out FOLDER` does it all; README.md says how and why.
"""

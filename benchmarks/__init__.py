"""Speed and memory, side by side with a named baseline: `make bench`, or `python -m benchmarks`.

Every claim is a ratio of two sides that took turns on the same data in one run. What is printed
goes into latest.json together with the machine it was taken on.
"""

"""Prefect tasks: glue between the library and the stores, one verb a file.

Small values and references travel between tasks; arrays stay in the stores.
"""

"""Prefect flows, one a file: each calls the pipeline, and its parameters are those of a request."""

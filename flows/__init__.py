"""Prefect flows: composition only, one flow a file; a flow's parameters are its configuration."""

"""The cache commands: what is stored, is it sound, will it be reused, what can be removed."""

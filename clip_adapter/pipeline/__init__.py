"""The application: index, extract, train, promote, reproduce and maintain, as plain functions.

Each function takes a request, or the parameters of the request, and optionally an executor and a
reporter. By default steps run in this process and progress is written to the terminal. Nothing here
depends on a scheduler.
"""

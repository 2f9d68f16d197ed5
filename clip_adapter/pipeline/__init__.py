"""The application: index, extract, train, promote, reproduce and maintain, as plain functions.

Each takes a request, or the request's parameters, and an executor and a reporter: this process and
the terminal by default. Nothing here knows a scheduler.
"""

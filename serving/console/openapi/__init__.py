"""The description of the REST APIs in OpenAPI 3.1, made from the table of routes.

May import `transport` only.
"""

"""Who may do what: keys and certificates, roles, limits for each caller, and the audit log.

May import `errors` only, beside the standard library.
"""

"""What one caller, or all of them together, may take of the server: bytes and connections.

May import `errors` alone.
"""

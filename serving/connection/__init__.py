"""What a client needs to connect: TLS credentials, API keys and further metadata.

May import nothing else of `serving`.
"""

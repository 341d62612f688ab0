"""What a client needs to connect: TLS credentials, channels, retries and settings of calls.

Of `serving` it imports only `protos`.
"""

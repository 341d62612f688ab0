"""The APIs of model servers: images become request bytes, and answer bytes become classes.

An API encodes request bodies before a run and parses answers after it; a sender sends the bytes.
May import settings, the report's schema, and the client, codecs and messages of serving.
"""

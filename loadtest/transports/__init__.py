"""The APIs of model servers: how images become bytes, how bytes travel, what answers say.

An API makes request bodies before a run and reads answers after it; a sender moves the bytes. May
import settings, the report's schema, and the client, codecs and messages of serving.
"""

"""The code of `serving.client`: the blocking and the asyncio client, and their messages.

Programs import `serving.client`; the modules here may change. May import `connection`, `tensors`,
`protos`, `errors` and the tensor codecs of `protocols.tfs`, but neither the engine nor the server.
"""

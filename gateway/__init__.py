"""The gateway: how merchants, operators and the command line reach the engine.

One table of handlers over typed Structs (`gateway.table`); listeners mount it and know nothing
of payments, handlers know nothing of HTTP's bytes.
"""

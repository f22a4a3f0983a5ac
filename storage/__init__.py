"""Durable storage: tables, one commit per batch, short reads, verify, backup.

It keeps bytes, sequence and chain right and knows nothing of actors or money.
"""

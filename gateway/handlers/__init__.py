"""Handlers by what they are about; each module's ENDPOINTS are rows of the handler table."""

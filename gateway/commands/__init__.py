"""Commands of `piaohao`, one module each, found through entry points that name their `app`."""

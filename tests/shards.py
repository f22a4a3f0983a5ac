"""How many shards the stores of a test run have: the suite runs with one, and again with three.

Set by the variable ``PIAOHAO_TEST_SHARDS``. A test that is about one shard by itself (its rows,
its sequence, its files) is marked ``one_shard`` and left out of the second run, as are the tests of
storage and engine, which say themselves how many shards they want.
"""

import os
from typing import Final

SHARDS: Final = int(os.environ.get("PIAOHAO_TEST_SHARDS", "1"))

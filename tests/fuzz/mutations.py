"""Mutations: inputs near to valid ones, as Hypothesis draws them.

Bytes at random seldom get past a parser's first line. So an input is a seed with a few edits:
something cut out, doubled, replaced by a token or by a part of another seed, a byte changed.
"""

from hypothesis import strategies as st

from tests.fuzz.target import Target


@st.composite
def mutated(draw: st.DrawFn, target: Target) -> bytes:
    """Return a seed of the target with up to six edits."""
    seeds = target.seeds()
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 6))):
        begin = draw(st.integers(0, len(data)))
        end = min(len(data), begin + draw(st.sampled_from([0, 0, 1, 1, 2, 8, 64])))
        data = data[:begin] + draw(_put(target, seeds, data[begin:end])) + data[end:]
    return data


def _put(target: Target, seeds: tuple[bytes, ...], replaced: bytes) -> st.SearchStrategy[bytes]:
    """What may stand in place of a part."""
    ways = [st.just(b""), st.just(replaced * 2), st.binary(max_size=3), _part(seeds)]
    if target.tokens:
        ways.append(st.sampled_from(target.tokens))
    return st.one_of(ways)


@st.composite
def _part(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    seed = draw(st.sampled_from(seeds))
    begin = draw(st.integers(0, len(seed)))
    return seed[begin : begin + draw(st.integers(0, 64))]

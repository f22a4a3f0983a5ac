"""Methods: how one description of a call becomes a method of both clients.

`pay = Blocking(MerchantCalls.pay)` has the arguments of `MerchantCalls.pay` and returns what its
call makes; `pay = Awaited(MerchantCalls.pay)` is awaited for the same. Lists likewise become
iterators. So what a method takes, returns and says of itself is written down once, and type
checkers and editors see it in both.
"""

import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar, overload

from gateway.client.call import Call, Listing

P = ParamSpec("P")
T = TypeVar("T")
C = TypeVar("C")
C_co = TypeVar("C_co", covariant=True)


class Blocks(Protocol[C_co]):
    """A client that waits for the answer."""

    @property
    def calls(self) -> C_co: ...

    def do(self, call: Call[T]) -> T: ...

    def go_through(self, listing: Listing[T]) -> Iterator[T]: ...


class Awaits(Protocol[C_co]):
    """A client that is awaited."""

    @property
    def calls(self) -> C_co: ...

    async def do(self, call: Call[T]) -> T: ...


class Lists(Protocol[C_co]):
    """A client whose lists are gone through with `async for`."""

    @property
    def calls(self) -> C_co: ...

    def go_through(self, listing: Listing[T]) -> AsyncIterator[T]: ...


class _Method:
    """What all have in common: they look like what they are made from."""

    def __init__(self, describe: Callable[..., Any]) -> None:
        self.__doc__ = describe.__doc__
        self.__name__ = describe.__name__
        first, *rest = inspect.signature(describe).parameters.values()
        self.__signature__ = inspect.Signature([first, *rest])
        self._bound = inspect.Signature(rest)

    def dress(self, method: Callable[P, T]) -> Callable[P, T]:
        """Give a bound method the name, the words and the arguments of its description."""
        method.__name__ = self.__name__
        method.__doc__ = self.__doc__
        method.__signature__ = self._bound  # type: ignore[attr-defined]
        return method


class Blocking(_Method, Generic[C, P, T]):
    """A method that makes a call and returns its result."""

    def __init__(self, describe: Callable[Concatenate[C, P], Call[T]]) -> None:
        super().__init__(describe)
        self._describe = describe

    @overload
    def __get__(self, client: None, owner: object) -> Self: ...

    @overload
    def __get__(self, client: Blocks[C], owner: object) -> Callable[P, T]: ...

    def __get__(self, client: Blocks[C] | None, owner: object) -> Self | Callable[P, T]:
        if client is None:
            return self
        one, describe = client, self._describe

        def method(*args: P.args, **kwargs: P.kwargs) -> T:
            return one.do(describe(one.calls, *args, **kwargs))

        return self.dress(method)


class Awaited(_Method, Generic[C, P, T]):
    """A method that makes a call and is awaited for its result."""

    def __init__(self, describe: Callable[Concatenate[C, P], Call[T]]) -> None:
        super().__init__(describe)
        self._describe = describe

    @overload
    def __get__(self, client: None, owner: object) -> Self: ...

    @overload
    def __get__(self, client: Awaits[C], owner: object) -> Callable[P, Coroutine[Any, Any, T]]: ...

    def __get__(
        self, client: Awaits[C] | None, owner: object
    ) -> Self | Callable[P, Coroutine[Any, Any, T]]:
        if client is None:
            return self
        one, describe = client, self._describe

        async def method(*args: P.args, **kwargs: P.kwargs) -> T:
            return await one.do(describe(one.calls, *args, **kwargs))

        return self.dress(method)


class Iterated(_Method, Generic[C, P, T]):
    """A method that returns an iterator over a list, page by page as it is needed."""

    def __init__(self, describe: Callable[Concatenate[C, P], Listing[T]]) -> None:
        super().__init__(describe)
        self._describe = describe

    @overload
    def __get__(self, client: None, owner: object) -> Self: ...

    @overload
    def __get__(self, client: Blocks[C], owner: object) -> Callable[P, Iterator[T]]: ...

    def __get__(self, client: Blocks[C] | None, owner: object) -> Self | Callable[P, Iterator[T]]:
        if client is None:
            return self
        one, describe = client, self._describe

        def method(*args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
            return one.go_through(describe(one.calls, *args, **kwargs))

        return self.dress(method)


class AsyncIterated(_Method, Generic[C, P, T]):
    """A method that returns an asynchronous iterator over a list, page by page."""

    def __init__(self, describe: Callable[Concatenate[C, P], Listing[T]]) -> None:
        super().__init__(describe)
        self._describe = describe

    @overload
    def __get__(self, client: None, owner: object) -> Self: ...

    @overload
    def __get__(self, client: Lists[C], owner: object) -> Callable[P, AsyncIterator[T]]: ...

    def __get__(
        self, client: Lists[C] | None, owner: object
    ) -> Self | Callable[P, AsyncIterator[T]]:
        if client is None:
            return self
        one, describe = client, self._describe

        def method(*args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
            return one.go_through(describe(one.calls, *args, **kwargs))

        return self.dress(method)

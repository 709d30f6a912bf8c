"""What both bindings promise whatever the contract is: the same values, the same errors."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from enum import StrEnum
from typing import Any, Literal, Protocol

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyat.foundation.errors import AppError, InvalidRequest, ModelNotFound, ServiceUnavailable
from pyat.foundation.identity import Principal
from pyat.foundation.ids import BaseId, TenantId, TokenId, UserId
from tests.contract.conftest import Bind


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True)
class Leaf:
    name: str
    size: float
    raw: bytes
    made: datetime
    day: date | None
    colour: Colour
    side: Literal["left", "right"]
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Tree:
    base_id: BaseId
    leaves: tuple[Leaf, ...]
    names: frozenset[str]
    nothing: None = None


class Echo(Protocol):
    """Gives back what it gets."""

    async def tree(self, *, tree: Tree, extra: dict[str, Any], count: int, is_sure: bool = True) -> Tree: ...

    async def who(self, *, principal: Principal) -> Principal: ...

    async def number(self, *, value: float) -> float: ...

    async def fail(self, *, kind: str) -> None: ...

    async def broken(self, *, how: str) -> int: ...


class NoSuchTree(AppError):
    """Declared by this contract."""

    code, status, template = "TEST_NO_SUCH_TREE", 404, "There is no tree {name} of {count}."

    def __init__(self, *, name: str, count: int) -> None:
        super().__init__(name=name, count=count)


class EchoService:
    def __init__(self) -> None:
        self.seen: list[Any] = []

    async def tree(self, *, tree: Tree, extra: dict[str, Any], count: int, is_sure: bool = True) -> Tree:
        self.seen = [tree, extra, count, is_sure]
        return tree

    async def who(self, *, principal: Principal) -> Principal:
        return principal

    async def number(self, *, value: float) -> float:
        return value

    async def fail(self, *, kind: str) -> None:
        errors: dict[str, AppError] = {
            "own": NoSuchTree(name="Löwe {x}", count=3),
            "shared": ModelNotFound(kind="Tree"),
            "reason": InvalidRequest(reason="Trees must be green."),
            "away": ServiceUnavailable(),
        }
        raise errors[kind]

    async def broken(self, *, how: str) -> int:
        return len(how)


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
_zones = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45)), timezone(-timedelta(hours=3))])
_leaves = st.builds(
    Leaf,
    name=st.text(),
    size=st.floats(allow_nan=False),
    raw=st.binary(),
    made=st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=_zones),
    day=st.none() | st.dates(),
    colour=st.sampled_from(Colour),
    side=st.sampled_from(["left", "right"]),
    data=st.dictionaries(st.text(), _json, max_size=3),
)
_trees = st.builds(
    Tree,
    base_id=st.text().map(BaseId),
    leaves=st.lists(_leaves, max_size=2).map(tuple),
    names=st.frozensets(st.text(), max_size=3),
)


@pytest_asyncio.fixture
async def service() -> EchoService:
    return EchoService()


@pytest_asyncio.fixture
async def echo(bind: Bind, service: EchoService) -> Echo:
    return await bind(Echo, service)


@given(tree=_trees, extra=st.dictionaries(st.text(), _json, max_size=3), count=st.integers(-(2**80), 2**80))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_values_arrive_as_they_were_sent(
    echo: Echo, service: EchoService, tree: Tree, extra: dict[str, Any], count: int
) -> None:
    assert await echo.tree(tree=tree, extra=extra, count=count) == tree
    assert service.seen == [tree, extra, count, True]
    got = service.seen[0]
    assert type(got.leaves) is tuple and type(got.names) is frozenset
    assert [repr(leaf.size) for leaf in got.leaves] == [repr(leaf.size) for leaf in tree.leaves]


@pytest.mark.parametrize("value", [math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308, 0.1 + 0.2])
async def test_every_double_survives(echo: Echo, value: float) -> None:
    assert repr(await echo.number(value=value)) == repr(value)


async def test_not_a_number_survives(echo: Echo) -> None:
    assert math.isnan(await echo.number(value=math.nan))


@pytest.mark.parametrize("base_ids", [None, frozenset(), frozenset({BaseId("app00000000000000")})])
async def test_a_principal_survives(echo: Echo, base_ids: frozenset[BaseId] | None) -> None:
    principal = Principal(
        UserId("usr1"), TenantId("ten1"), "a@b.example", "Ä", TokenId("pat1"), "token", frozenset({"x:read"}), base_ids
    )
    assert await echo.who(principal=principal) == principal


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("own", NoSuchTree, "There is no tree Löwe {x} of 3."),
        ("shared", ModelNotFound, "Tree not found"),
        (
            "reason",
            InvalidRequest,
            "Invalid request: parameter validation failed. Check your request data. Trees must be green.",
        ),
        ("away", ServiceUnavailable, ServiceUnavailable.template),
    ],
)
async def test_declared_errors_arrive_as_they_were_raised(
    echo: Echo, kind: str, error: type[AppError], message: str
) -> None:
    with pytest.raises(error) as caught:
        await echo.fail(kind=kind)
    assert type(caught.value) is error
    assert caught.value.message == message


async def test_a_missing_argument_is_a_type_error(echo: Any) -> None:
    with pytest.raises(TypeError):
        await echo.who()


async def test_an_unknown_argument_is_a_type_error(echo: Any) -> None:
    with pytest.raises(TypeError):
        await echo.broken(how="x", why="y")


async def test_a_positional_argument_is_a_type_error(echo: Any) -> None:
    with pytest.raises(TypeError):
        await echo.broken("x")

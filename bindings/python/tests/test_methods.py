"""What the extension gives the interpreter as it is, without the bindings' checks of arguments: wrong ones must not end the process."""

import asyncio

import pytest

from lameduck._lameduck import Gate, Hold, Policy


@pytest.fixture
def hold():
    hold = Hold(Policy({}), signals=[])
    yield hold
    hold.release()


async def send(message):
    return message["type"]


def scope(**more):
    return {"type": "http", "method": "GET", "path": "/", **more}


def test_requests_are_counted_from_their_begin_to_their_end(hold):
    first, second = hold.request_began(), hold.request_began()
    assert (first != second, hold.totals) == (True, (2, 2))
    hold.request_ended(first, "completed")
    hold.request_ended(first, "completed")  # it was ended before
    assert hold.totals == (1, 1)
    hold.request_ended(second, "client_gone")
    assert hold.totals == (0, 0)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((), TypeError),
        ((1,), TypeError),
        ((1, "completed", 3), TypeError),
        (("1", "completed"), TypeError),
        ((1, b"completed"), TypeError),
        ((1, "finished"), ValueError),
        ((-1, "completed"), OverflowError),
        ((2**64, "completed"), OverflowError),
    ],
)
def test_an_end_that_is_none_is_refused_and_changes_nothing(hold, arguments, error):
    handle = hold.request_began()
    with pytest.raises(error):
        hold.request_ended(*arguments)
    for never_was in (0, 2**64 - 1, handle + 1):
        hold.request_ended(never_was, "completed")
    assert hold.totals == (1, 1)


def test_methods_are_of_their_class_only():
    for method in (Hold.request_began, Hold.request_ended):
        with pytest.raises(TypeError):
            method(object())


class Wrapper(Gate):
    """An application's wrapper, as far as the extension knows it."""

    def __init__(self, hold, app=None, probes=None, late=None):
        self.long_way, self.told, self.late = [], [], late
        self._open(hold, app, lambda: "the loop", lambda loop: f"a task in {loop}", lambda marked: None, probes or {})

    async def _long_way(self, scope, receive, send):
        self.long_way.append(scope)

    async def _ended_here(self, exchange, error):
        exchange.leave(True)
        return False

    def came_late(self, exchange):
        self.told.append(exchange)
        if self.late:
            raise self.late


def drive(call):
    """Nothing here waits for anything."""
    with pytest.raises(StopIteration):
        call.send(None)


def test_plain_requests_only_are_begun_here(hold):
    wrapper = Wrapper(hold, None, {"/livez": "live"})
    others = [scope(type="websocket"), scope(path="/livez"), {"type": "http"}, {}, [], None]
    for other in others:
        drive(wrapper(other, None, send))
    assert wrapper.long_way == others
    with pytest.raises(TypeError):
        drive(wrapper(scope(type=3), None, send))
    for arguments in ((), (scope(), None), (scope(), None, send, 4)):
        with pytest.raises(TypeError, match="arguments?"):
            wrapper(*arguments)
    for open_again in (wrapper._open, lambda: wrapper._open(None, None, lambda: None, None, None, {})):
        with pytest.raises(TypeError):
            open_again()
    assert hold.totals == (0, 0)
    before = wrapper(scope(), None, send)
    hold.drains()
    for call in (before, wrapper(scope(), None, send)):
        drive(call)
    assert len(wrapper.long_way) == len(others) + 2
    wrapper._close()
    drive(wrapper(scope(), None, send))
    assert (len(wrapper.long_way), hold.totals) == (len(others) + 3, (0, 0))


def test_a_request_ends_with_its_last_message(hold):
    asked = scope()
    headers = [(b"content-type", b"text/plain")]

    async def application(scope, receive, answer):
        exchange = answer.__self__
        assert (exchange.scope, hold.in_flight()) == (asked, [exchange])
        assert (exchange.begun, exchange.headers) == (False, None)
        assert await answer({"type": "http.response.start", "status": 200, "headers": headers}) == "http.response.start"
        assert (exchange.begun, exchange.headers, hold.totals) == (True, headers, (1, 1))
        with pytest.raises(KeyError):
            answer({})
        with pytest.raises(TypeError):
            answer({"type": 1})
        assert await answer({"type": "http.response.body", "body": b"ok"}) == "http.response.body"
        assert (exchange.over, hold.in_flight(), hold.totals) == (True, [], (0, 0))

    drive(Wrapper(hold, application)(asked, None, send))


def test_the_task_is_known_while_the_application_waits(hold):
    async def application(scope, receive, answer):
        assert answer.__self__.task is None
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    call = Wrapper(hold, application)(scope(), None, send)
    for _ in range(2):
        assert (call.send(None), call.task) == (None, "a task in the loop")
    drive(call)
    assert call.task is None


def test_an_application_that_leaves_without_an_end_has_ended(hold):
    async def application(scope, receive, answer):
        assert hold.totals == (1, 1)

    call = Wrapper(hold, application)(scope(), None, send)
    drive(call)
    assert (call.over, hold.in_flight(), hold.totals) == (True, [], (0, 0))


class Drains:
    """A path: when it is looked up draining begins, between what a request asks first and what it asks last."""

    def __init__(self, hold):
        self.hold = hold

    def __hash__(self):
        self.hold.drains()
        return hash("/")


def test_who_began_while_draining_began_is_told_of(hold):
    async def application(scope, receive, answer):
        assert (wrapper.told, hold.totals) == ([answer.__self__], (1, 1))

    wrapper = Wrapper(hold, application, {"/livez": "live"})
    drive(wrapper(scope(path=Drains(hold)), None, send))
    assert (len(wrapper.told), hold.totals) == (1, (0, 0))


def test_a_request_that_fails_before_it_is_given_to_the_application_is_not_in_flight(hold):
    wrapper = Wrapper(hold, None, {"/livez": "live"}, LookupError("no such thing"))
    with pytest.raises(LookupError):
        drive(wrapper(scope(path=Drains(hold)), None, send))
    assert (len(wrapper.told), hold.in_flight(), hold.totals) == (1, [], (0, 0))

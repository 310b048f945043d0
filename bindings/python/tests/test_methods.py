"""What the extension gives the interpreter as it is, without the bindings' checks of arguments: wrong ones must not end the process."""

import asyncio

import pytest

from lameduck._lameduck import Hold, Policy, ShortWay, leave


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


def test_the_short_way_is_for_plain_requests(hold):
    way = ShortWay(hold, None, {"/livez": "live"})
    for other in (scope(type="websocket"), scope(path="/livez"), {"type": "http"}, {}, [], None):
        assert way.begin(other, send, None) is None
    with pytest.raises(TypeError):
        way.begin(scope(type=3), send, None)
    for arguments in ((), (scope(), send), (scope(), send, None, 4)):
        with pytest.raises(TypeError, match="arguments"):
            way.begin(*arguments)
    assert hold.totals == (0, 0)
    hold.drains()
    assert way.begin(scope(), send, None) is None


def test_a_request_of_the_short_way_ends_with_its_last_message(hold):
    asked, task = scope(), object()
    answer = ShortWay(hold, None).begin(asked, send, task)
    exchange = answer.__self__
    assert (exchange.scope, exchange.task, hold.in_flight()) == (asked, task, [exchange])
    headers = [(b"content-type", b"text/plain")]
    asyncio.run(answer({"type": "http.response.start", "status": 200, "headers": headers}))
    assert (exchange.begun, exchange.headers, hold.totals) == (True, headers, (1, 1))
    with pytest.raises(KeyError):
        answer({})
    with pytest.raises(TypeError):
        answer({"type": 1})
    assert asyncio.run(answer({"type": "http.response.body", "body": b"ok"})) == "http.response.body"
    assert (exchange.over, hold.in_flight(), hold.totals) == (True, [], (0, 0))
    assert leave(answer) is None


def test_an_application_that_leaves_without_an_end_has_ended(hold):
    answer = ShortWay(hold, None).begin(scope(), send, None)
    assert hold.totals == (1, 1)
    assert leave(answer) is None
    assert (answer.__self__.over, hold.totals) == (True, (0, 0))
    for no_answer in (print, len, [].append):
        with pytest.raises(TypeError):
            leave(no_answer)
    with pytest.raises((TypeError, SystemError)):
        leave(None)


class Drains:
    """A path: when it is looked up draining begins, between what a request asks first and what it asks last."""

    def __init__(self, hold):
        self.hold = hold

    def __hash__(self):
        self.hold.drains()
        return hash("/")


class Late:
    """An application's wrapper, as far as the short way knows it."""

    def __init__(self, error):
        self.error = error
        self.told = []

    def came_late(self, exchange):
        self.told.append(exchange)
        if self.error:
            raise self.error


def test_who_began_while_draining_began_is_told_of(hold):
    app = Late(None)
    answer = ShortWay(hold, app, {"/livez": "live"}).begin(scope(path=Drains(hold)), send, None)
    assert (app.told, hold.totals) == ([answer.__self__], (1, 1))
    leave(answer)
    assert hold.totals == (0, 0)


def test_a_request_that_fails_before_it_is_given_to_the_application_is_not_in_flight(hold):
    app = Late(LookupError("no such thing"))
    with pytest.raises(LookupError):
        ShortWay(hold, app, {"/livez": "live"}).begin(scope(path=Drains(hold)), send, None)
    assert (len(app.told), hold.in_flight(), hold.totals) == (1, [], (0, 0))

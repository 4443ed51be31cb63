"""What people said, on both databases: kept in order, asked as of an instant, never changed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine

from shoal.domain.errors import InvalidInputError
from shoal.store.consents import Consents

WORDS = 40


@pytest.fixture
def consents(tables: Engine) -> Consents:
    return Consents(tables)


def test_words_come_back_in_their_order_up_to_an_instant(consents: Consents) -> None:
    for at_ns, by, content in ((30, "c", b"{}"), (10, "a", b'{"x":1}'), (20, "b", '{"é":"ü"}'.encode())):
        consents.say("mode", subject="big", by=by, at_ns=at_ns, content=content)
    consents.say("mode", subject="small", by="d", at_ns=5, content=b"{}")
    consents.say("approval", subject="big", by="e", at_ns=5, content=b"{}")
    found = consents.said("mode", subject="big", as_of_ns=20)
    assert [(one.by, one.at_ns, one.content.decode()) for one in found] == [
        ("a", 10, '{"x":1}'),
        ("b", 20, '{"é":"ü"}'),
    ]
    assert consents.said("manual", subject="big", as_of_ns=2**62) == []


def test_words_of_one_instant_keep_the_order_in_which_they_were_said(consents: Consents) -> None:
    for number in range(5):
        consents.say("mode", subject="big", by=str(number), at_ns=7, content=b"{}")
    assert [one.by for one in consents.said("mode", subject="big", as_of_ns=7)] == list("01234")


def test_words_of_many_at_once_are_all_kept(consents: Consents) -> None:
    def say(number: int) -> None:
        consents.say("approval", subject=f"bid-{number % 4}", by=str(number), at_ns=number, content=b"{}")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(say, range(WORDS)))
    assert consents.subjects("approval") == [f"bid-{number}" for number in range(4)]
    assert (
        sum(
            len(consents.said("approval", subject=name, as_of_ns=99))
            for name in consents.subjects("approval")
        )
        == WORDS
    )


def test_word_of_no_kind_is_refused(consents: Consents) -> None:
    with pytest.raises(InvalidInputError):
        consents.say("rumour", subject="big", by="x", at_ns=1, content=b"{}")  # type: ignore[arg-type]

"""The hello of a device: once, unless the plant refuses; the answer decides the version."""

from __future__ import annotations

import msgspec
import numpy as np

from shoal.domain.negotiate import SchemaAnswer, answer_hello, refuse_versions
from shoal.edge.negotiation import Negotiation

ROWS = np.arange(3)


def encoded(answer: SchemaAnswer, versions: tuple[int, ...] | None = None) -> bytes:
    if versions is not None:
        accepts = msgspec.structs.replace(answer.accepts, versions=versions)
        answer = msgspec.structs.replace(answer, accepts=accepts)
    return msgspec.json.encode(answer)


def test_hello_is_understood_and_said_once() -> None:
    negotiation = Negotiation(3)
    answer = answer_hello(negotiation.hello)
    assert negotiation.to_say(ROWS).tolist() == [0, 1, 2]
    negotiation.said(1)
    assert negotiation.to_say(ROWS).tolist() == [0, 2]
    assert negotiation.heard(1, encoded(answer)) == answer.version == 2
    assert negotiation.to_say(ROWS).tolist() == [0, 2]
    assert (negotiation.answered, negotiation.refused) == (1, 0)


def test_refusal_falls_back_to_what_the_plant_takes_and_is_asked_about_again() -> None:
    negotiation = Negotiation(3)
    negotiation.said(0)
    assert negotiation.heard(0, encoded(refuse_versions([2]), (1,))) == 1
    assert negotiation.to_say(ROWS).tolist() == [0, 1, 2]
    assert negotiation.refused == 1


def test_refusal_of_everything_and_answers_that_make_no_sense_change_nothing() -> None:
    negotiation = Negotiation(3)
    assert negotiation.heard(0, encoded(refuse_versions([2]), (7, 8))) is None
    assert negotiation.heard(0, b"{}") is None
    later = msgspec.structs.replace(answer_hello(b'{"versions": [2]}'), version=9)
    assert negotiation.heard(0, encoded(later)) == 2, "a version that it cannot send is passed over"

"""The frame parser and its connection, held against a plain reading of the protocol, whatever the bytes and the cuts."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shoal.fabric._frames import DATA, MAX_LINE_BYTES, MESSAGE, PING
from tests.fuzz.plain_frames import End, Frame, read_frames
from tests.fuzz.strategies import inputs_of
from tests.fuzz.streams import (
    MOST_BYTES,
    TARGETS,
    check_control,
    check_cuts,
    check_frames,
    parse_frames,
    receive,
)
from tests.fuzz.target import Target

ROOT = Path(__file__).parents[3]
FRAMES, CUTS, CONTROL, _ = TARGETS
POSITION = b"$JS.ACK.TELE.c1.1.8.9.10.11"
SOUND = (
    b"PING\r\n",
    b"MSG tele.1.home-a 1 " + POSITION + b" 7\r\na\r\nb\r\nc\r\n",
    b"HMSG _INBOX.a 1 12 15\r\nNATS/1.0\r\n\r\n\r\n\r\r\n",
    b"+OK\r\n",
    b"MSG a 1 r 0\r\n\r\n",
    b"-ERR 'slow'\r\n",
)


@settings(max_examples=300, deadline=None)
@given(inputs_of(FRAMES))
def test_parser_equals_the_plain_reader(stream: bytes) -> None:
    check_frames(stream)


@settings(max_examples=80, deadline=None)
@given(inputs_of(CUTS))
def test_connection_gives_the_same_frames_however_the_stream_is_cut(stream: bytes) -> None:
    check_cuts(stream)


@settings(max_examples=100, deadline=None)
@given(inputs_of(CONTROL))
def test_connection_goes_on_or_ends_in_order_whatever_the_server_says(stream: bytes) -> None:
    check_control(stream)


def test_every_single_cut_gives_the_same_frames() -> None:
    stream = b"".join(SOUND)
    expected, used, end = read_frames(stream, MOST_BYTES)
    assert (len(expected), used, end) == (len(SOUND), len(stream), End.SHORT)
    assert [frame.kind for frame in expected[:3]] == [PING, DATA, MESSAGE]
    assert expected[1] == Frame(DATA, b"tele.1.home-a", b"", b"a\r\nb\r\nc", (8, 9, 10, 11))
    for at in range(len(stream) + 1):
        assert receive(stream, [0, at, len(stream)]) == (expected, False)
    assert receive(stream, list(range(len(stream) + 1))) == (expected, False)


def test_every_beginning_of_a_stream_is_a_beginning_of_its_frames() -> None:
    stream = b"".join(SOUND)
    whole, _, _ = parse_frames(stream, 50)
    for size in range(len(stream)):
        frames, used, malformed = parse_frames(stream[:size], 50)
        assert not malformed and frames == whole[: len(frames)]
        assert used == sum(len(sound) for sound in SOUND[: len(frames)])


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(b"".join(SOUND)) - 1), st.integers(0, 255))
def test_changed_byte_gives_no_frame_that_the_protocol_does_not(at: int, value: int) -> None:
    stream = bytearray(b"".join(SOUND))
    stream[at] = value
    check_frames(bytes(stream))


@pytest.mark.parametrize(
    "line",
    [
        b"PINGS",
        b"PIxx",
        b"INxx",
        b"INFO{}",
        b"POxx",
        b"+Ox",
        b"-ERROR",
        b"MSx a 1 0\r\n",
        b"MSGS a 1 0\r\n",
        b"HMSx a 1 0 0\r\n",
        b"MSG  a 1 0\r\n",
        b"MSG a  1 0\r\n",
        b"MSG a 1 0 \r\n",
        b"MSG a\t1 r 0\r\n",
        b"MSG a\r 1 0\r\n",
        b"MSG a 1 9223372036854775808\r\n",
        b"MSG a 1 $JS.ACK.s.c.1.9223372036854775808.1.1.1 0\r\n",
    ],
)
def test_what_looks_like_a_frame_is_none(line: bytes) -> None:
    stream = b"PING\r\n" + line + b"\r\n" + b"PING\r\n"
    assert parse_frames(stream, 9) == ([Frame(PING, b"", b"", b"PING")], 6, True)
    check_frames(stream)


def test_too_long_a_line_is_refused_whether_it_comes_whole_or_in_pieces() -> None:
    for length, is_broken in ((MAX_LINE_BYTES - 1, False), (MAX_LINE_BYTES, True)):
        stream = b"INFO " + b"x" * (length - 5) + b"\r\n"
        for places in ([0, len(stream)], [*range(0, len(stream), 13_000), len(stream)]):
            frames, broken = receive(stream, places)
            assert (len(frames), broken) == (0 if is_broken else 1, is_broken)
            assert all(low < high for low, high in pairwise(places))


def headed(headers: bytes) -> bytes:
    """Return a message of headers alone."""
    return b"HMSG i 1 %d %d\r\n%b\r\n" % (len(headers), len(headers), headers)


@pytest.mark.parametrize(
    "said",
    [
        b"INFO {\r\n",
        b"INFO 5\r\n",
        b"INFO " + b"[" * 5_000 + b"\r\n",
        b'INFO {"max_payload":"x"}\r\n',
        b'INFO {"max_payload":-1}\r\n',
        b'INFO {"max_payload":123456789012345678901234567890}\r\n',
        b'INFO {"max_payload":null}\r\n',
        headed(b"NATS/1.0 \xc2\xb2\r\n\r\n"),
        headed(b"NATS/1.0 100\r\nNats-Last-Consumer: x\r\n\r\n"),
        headed(b"NATS/1.0 100\r\nNats-Last-Consumer: " + b"9" * 5_000 + b"\r\n\r\n"),
        headed(b"NATS/1.0 408\r\nNats-Pending-Messages: -1\r\n\r\n"),
        headed(b"NATS/1.0 408\r\nNats-Pending-Messages: 999999999999999999\r\n\r\n"),
    ],
)
def test_nonsense_from_the_server_ends_the_connection_and_nothing_else(said: bytes) -> None:
    assert check_control(said) in {("ProtocolError", 0, 21), ("ConnectionError", 0, 21)}


@pytest.mark.parametrize(
    "target", [target for target in TARGETS if target not in (CUTS, CONTROL)], ids=lambda t: t.name
)
def test_seeds_of_a_target_make_different_things_happen(target: Target) -> None:
    """A target whose inputs all end the same way would find nothing."""
    assert len({target.check(seed) for seed in target.seeds}) >= 4


def test_kernels_run_as_plain_python_stay_within_their_arrays(tmp_path: Path) -> None:
    """Compiled code does not look whether an index is within its array; plain Python does."""
    command = [sys.executable, "-m", "tests.fuzz", "--kernels", "interpreted", "--executions", "60"]
    names = [name for target in ("frames", "binary", "records", "directory") for name in ("--target", target)]
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    done = subprocess.run(
        [*command, *names, "--keep", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("60 executions") == 4

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame as ReferenceFrame
from websockets.frames import Opcode
from websockets.streams import StreamReader

from realtime.frames import MAX_ARRAY_BYTES, Batch, Frame, MixedBatch, text_frame
from tests.conftest import CountingDeflate


@pytest.mark.parametrize("length", [0, 1, 125, 126, 65_535, 65_536, 100_000])
def test_frames_are_those_of_a_reference_implementation(length):
    payload = b"x" * length
    assert text_frame(payload) == ReferenceFrame(Opcode.TEXT, payload).serialize(mask=False)


@given(st.lists(st.text(), max_size=5))
def test_a_batch_is_its_frames_in_order(texts):
    frames = [Frame(text.encode()) for text in texts]
    batch = Batch(frames)
    assert batch.plain == b"".join(text_frame(text.encode()) for text in texts)
    assert batch.size_bytes == sum(len(text.encode()) for text in texts)


def test_a_frame_is_made_once():
    frame = Frame(b"{}")
    assert frame.plain is frame.plain
    assert frame.text is frame.text


def inflate(wire: bytes) -> tuple[list[bytes], int]:
    """The payloads of frames as a client with permessage-deflate reads them, and how many came compressed."""
    client = CountingDeflate()
    reader = StreamReader()
    reader.feed_data(wire)
    payloads = []
    while reader.buffer:
        parsing = ReferenceFrame.parse(reader.read_exact, mask=False, extensions=[client])
        try:
            next(parsing)
        except StopIteration as parsed:
            payloads.append(bytes(parsed.value.data))
    return payloads, client.compressed


def message(text: str, *, compressible: bool = True) -> Frame:
    return Frame(json.dumps({"text": text}).encode(), compressible=compressible)


@given(st.lists(st.tuples(st.text(max_size=2_000), st.booleans()), max_size=5))
@pytest.mark.parametrize("kind", [Batch, MixedBatch])
def test_every_form_of_a_batch_says_the_same(kind, messages):
    frames = [message(text * 3, compressible=compressible) for text, compressible in messages]
    batch = kind(frames)
    expected = [json.loads(frame.payload) for frame in frames]
    for one_each in (batch.plain, batch.deflated):
        assert [json.loads(payload) for payload in inflate(one_each)[0]] == expected
    for arrays in (batch.array, batch.deflated_array):
        assert [m for payload in inflate(arrays)[0] for m in json.loads(payload)] == expected
    assert [json.loads(text) for text in batch.texts] == expected
    assert [m for text in batch.array_texts for m in json.loads(text)] == expected


def test_only_what_was_published_and_is_large_is_compressed():
    assert inflate(Batch([message("a" * 2_000)]).deflated)[1] == 1
    assert inflate(Batch([message("a" * 100)]).deflated)[1] == 0
    assert inflate(Batch([message("a" * 2_000, compressible=False)]).deflated)[1] == 0
    assert inflate(Batch([message("a" * 2_000), message("b", compressible=False)]).deflated_array)[1] == 0


def test_what_would_grow_is_not_compressed():
    noise = Frame(random.Random(7).randbytes(4_000), compressible=True)
    assert inflate(noise.deflated) == ([noise.payload], 0)


def test_small_messages_compress_together_in_batch_mode():
    batch = Batch([message(f"price of NIFTY number {n}") for n in range(100)])
    assert len(batch.deflated_array) < len(batch.deflated) / 3


def test_a_mixed_batch_compresses_each_publication_alone_and_once_for_all_and_joins_the_rest():
    large = [message("a" * 2_000), message("a" * 2_000)]
    small = [message("b"), message("c" * 2_000, compressible=False)]
    batch = MixedBatch([*small, *large, *small])
    payloads, compressed = inflate(batch.deflated_array)
    assert [len(json.loads(payload)) for payload in payloads] == [2, 1, 1, 2]
    assert compressed == 2
    assert large[0].deflated_array is large[0].deflated_array


def test_an_array_stays_below_what_clients_take_and_one_message_always_fits():
    batch = Batch([message("x" * size) for size in (100_000, 100_000, 100_000, 400_000, 10)])
    payloads, _ = inflate(batch.array)
    assert [len(json.loads(payload)) for payload in payloads] == [2, 1, 1, 1]
    assert all(len(payload) <= MAX_ARRAY_BYTES + 1 for payload in (payloads[0], payloads[1], payloads[3]))

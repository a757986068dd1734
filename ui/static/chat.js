// The only writer of what was said: questions, answers, alerts and notices in the feed, remarks in
// the commentary lane. Everything shown comes from the server's events.

import { byId, count, icon, make, refreshTimes, serverNow, severity, streamTime, when } from "./format.js";

const MAX_FEED = 300;
const MAX_LANE = 60;
const SUBTITLE_S = 10;

const WRITERS = new Set(["answer", "remark", "alert", "notice", "note", "failed"]);

const key = (line) => [line.type, line.wall, line.t, line.text].join("|");

export class Transcript {
  // ask(text): asks again; rate(t, good) -> told?
  constructor({ pictures, ask, rate, onAlert, say }) {
    Object.assign(this, { pictures, ask, rate, onAlert, say });
    this.feed = byId("feed");
    this.lane = byId("lane");
    this.caption = byId("caption");
    this.waiting = [];          // questions asked here, not begun to be answered
    this.open = new Map();      // turn -> item being written
    this.shown = new Set();
    this.scrolledAway = new Set();
    this.places = new Map();    // list -> how far it was scrolled
    for (const list of [this.feed, this.lane]) {
      list.addEventListener("scroll", () => this.scrolled(list), { passive: true });
      new ResizeObserver(() => this.keepingEnd(list, () => {})).observe(list);
    }
    this.search = byId("search");
    this.search.addEventListener("input", () => this.find());
    setInterval(() => document.hidden || [this.feed, this.lane].forEach(refreshTimes), 5000);
    this.clear();
  }

  clear() {
    this.feed.replaceChildren(make("li", { class: "hint", text: "Ask anything about the picture, for instance \"What is happening?\"" }));
    this.lane.replaceChildren(make("li", { class: "hint", text: "When something new happens, it is told here." }));
    this.caption.textContent = "";
    this.shown.clear();
    this.open.clear();
    this.waiting = [];
    this.lines = [];
  }

  // Everything, or what came at stream time `since` and later.
  forget(since) {
    if (since == null) this.clear();
    else this.resync(this.lines.filter((line) => line.t < since));
  }

  // After a (re)connection: the server's history is the truth; a question still waiting stays.
  resync(history) {
    const answered = new Set(history.filter((line) => line.type === "answer").map((line) => line.question));
    const waiting = this.waiting.map((item) => item.dataset.question).filter((q) => !answered.has(q));
    this.clear();
    this.quiet = true;
    history.forEach((line) => this.add(line));
    this.quiet = false;
    waiting.forEach((question) => this.asked(question));
  }

  add(line) {
    if (!WRITERS.has(line.type) || this.shown.has(key(line))) return;
    this.shown.add(key(line));
    this.lines.push(line);
    if (this.lines.length > MAX_FEED + MAX_LANE) this.shown.delete(key(this.lines.shift()));
    this[line.type](line);
  }

  asked(question) {
    const item = this.question(question);
    this.waiting.push(item);
    this.scrolledAway.delete(this.feed);
    return this.append(this.feed, item, MAX_FEED);
  }

  question(text) {
    const answer = make("p", { class: "words" });
    const item = make("li", { class: "turn" },
      make("p", { class: "asked" }, make("span", { class: "sr", text: "You asked: " }), make("span", { text })),
      make("div", { class: "answer waiting", "aria-busy": "true" }, answer));
    item.dataset.question = text;
    return item;
  }

  started(line) {
    const at = this.waiting.findIndex((item) => item.dataset.question === line.question);
    const item = at >= 0 ? this.waiting.splice(at, 1)[0] : this.append(this.feed, this.question(line.question), MAX_FEED);
    item.querySelector(".answer").classList.remove("waiting");
    this.open.set(line.turn, item);
    return item;
  }

  delta(line) {
    const item = this.open.get(line.turn) ?? this.started({ turn: line.turn, question: "" });
    this.keepingEnd(this.feed, () => item.querySelector(".words").append(line.text));
  }

  answer(line) {
    const item = this.open.get(line.turn) ?? this.started(line);
    this.open.delete(line.turn);
    const box = item.querySelector(".answer");
    item.querySelector(".asked span:last-child").textContent = line.question;
    item.dataset.question = line.question;
    item.querySelector(".words").textContent = line.text || "(no words)";
    box.classList.toggle("cut", line.interrupted);
    const used = line.used?.length > 0 && make("p", { class: "used", text: line.used.join(" ") });
    const foot = make("div", { class: "foot" }, this.freshness(line), ...this.tools(line));
    this.keepingEnd(this.feed, () => box.append(...[used, this.pictures.thumbs(line.evidence), foot].filter(Boolean)));
    box.setAttribute("aria-busy", "false");
  }

  freshness(line) {
    const parts = [];
    if (line.interrupted) parts.push("stopped");
    if (line.span) parts.push(`saw ${streamTime(line.span[0])} to ${streamTime(line.span[1])}`);
    parts.push(`newest frame ${line.frame_age_s.toFixed(1)} s old`, `${count(line.dropped)} frames dropped`);
    if (line.first_word_ms != null) parts.push(`first word ${Math.round(line.first_word_ms)} ms`);
    return make("p", { class: "fresh" }, when(line.wall, line.t), make("span", { text: " · " + parts.join(" · ") }));
  }

  tools(line) {
    const copy = this.tool("copy", "Copy this answer", () => this.copy(copy, line.text));
    return [copy, line.question && this.tool("again", "Ask this again", () => this.ask(line.question))];
  }

  tool(picture, label, act) {
    return make("button", { type: "button", class: "bare", title: label, "aria-label": label, onclick: act }, icon(picture));
  }

  async copy(button, text) {
    try {
      await navigator.clipboard.writeText(text);
      button.replaceChildren(icon("done"));
      setTimeout(() => button.replaceChildren(icon("copy")), 1500);
    } catch {
      this.say("The browser did not allow copying; mark the text and press Ctrl+C.");
    }
  }

  remark(line) {
    const reason = line.reason && make("small", { class: "muted", text: `Why: ${line.reason}` });
    const foot = make("div", { class: "foot" }, when(line.wall), ...this.judging(line, "Good: say more of this", "Not worth it: say less"));
    const item = make("li", { class: "remark" }, this.pictures.thumbs(line.evidence.slice(-1)), make("p", { text: line.text }), reason, foot);
    this.append(this.lane, item, MAX_LANE);
    this.subtitle(line.text, SUBTITLE_S - (serverNow() - line.wall));
  }

  // Thumbs up and down; what comes of it the server says.
  judging(line, good, bad) {
    const up = this.tool("up", good, () => judge(true));
    const down = this.tool("down", bad, () => judge(false));
    const press = (is) => [[up, is === true], [down, is === false]].forEach(([button, on]) => button.setAttribute("aria-pressed", String(on)));
    const judge = (is) => this.rate(line.t, is) && press(is);
    press(null);
    return [up, down];
  }

  // Over the picture only while it is fresh: an old remark would be about another picture.
  subtitle(text, seconds) {
    if (seconds <= 0) return;
    clearTimeout(this.fading);
    this.caption.textContent = text;
    this.fading = setTimeout(() => { this.caption.textContent = ""; }, seconds * 1000);
  }

  alert(line) {
    const { key: kind, badge } = severity(line.severity);
    const item = make("li", { class: `alert ${kind}` },
      make("p", { class: "rule" }, badge(), make("span", { text: line.rule })),
      line.text && line.text !== line.rule && make("p", { text: line.text }),
      this.pictures.thumbs(line.evidence),
      make("div", { class: "foot" }, make("p", { class: "fresh" }, when(line.wall, line.t)),
        ...this.judging(line, "Right: go on like this", "False alarm: be surer next time")));
    this.append(this.feed, item, MAX_FEED);
    this.onAlert(line, this.quiet);
  }

  notice(line) {
    this.append(this.feed, make("li", { class: "notice" }, make("span", { text: line.text }), when(line.wall, line.t)), MAX_FEED);
  }

  note(line) {
    const words = `Note to itself, ${streamTime(line.since)} to ${streamTime(line.t)}: `;
    this.append(this.feed, make("li", { class: "note" }, make("span", { text: words }), make("span", { text: line.text })), MAX_FEED);
  }

  // An answer that was under way when the model failed will not be finished.
  failed(line) {
    this.open.forEach((item) => item.querySelector(".answer").setAttribute("aria-busy", "false"));
    this.open.clear();
    this.append(this.feed, make("li", { class: "failed" }, make("span", { text: line.text }), when(line.wall, line.t)), MAX_FEED);
  }

  // A question that asked to be told later became a rule; it will have no other answer.
  ruled(rules) {
    const texts = new Set(rules.map((rule) => rule.text));
    const became = this.waiting.filter((item) => texts.has(item.dataset.question.trim().replace(/\s+/g, " ")));
    this.waiting = this.waiting.filter((item) => !became.includes(item));
    for (const item of became) {
      const box = item.querySelector(".answer");
      box.classList.remove("waiting");
      box.setAttribute("aria-busy", "false");
      item.querySelector(".words").textContent = "I will tell you.";
    }
  }

  refused(line) {
    const item = line.command === "ask" ? this.waiting.pop() : null;
    item?.remove();
    return item?.dataset.question;
  }

  append(list, item, most) {
    this.keepingEnd(list, () => {
      list.querySelector(".hint")?.remove();
      list.append(item);
      while (list.children.length > most) list.firstElementChild.remove();
      this.hide(item);
    });
    return item;
  }

  // Follow the newest unless the reader scrolled away from it.
  keepingEnd(list, change) {
    change();
    if (!this.scrolledAway.has(list)) list.scrollTo(list.scrollWidth, list.scrollHeight);
  }

  // Only who goes back scrolled away: a list that became smaller or longer did not.
  scrolled(list) {
    const place = list === this.lane ? list.scrollLeft : list.scrollTop;
    const left = list === this.lane ? list.scrollWidth - list.clientWidth - place : list.scrollHeight - list.clientHeight - place;
    if (left <= 80) this.scrolledAway.delete(list);
    else if (place < this.places.get(list)) this.scrolledAway.add(list);
    this.places.set(list, place);
  }

  hide(item) {
    const words = this.search.value.trim().toLowerCase();
    item.hidden = Boolean(words) && !item.textContent.toLowerCase().includes(words);
    return !item.hidden;
  }

  find() {
    const found = [...this.feed.children, ...this.lane.children].filter((item) => this.hide(item)).length;
    byId("found").textContent = this.search.value ? `${found} found` : "";
  }
}

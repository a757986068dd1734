// The page's beginning: waits for its two parts, connects, hands each message to who shows it.

import { Alarm } from "./alarm.js";
import { Transcript } from "./chat.js";
import { byId, clock, serverNow, setServerNow, streamTime } from "./format.js";
import { Microphone } from "./mic.js";
import { Stats, Urge } from "./panels.js";
import { Pictures } from "./pictures.js";
import { Rules } from "./rules.js";
import { Connection } from "./socket.js";
import { Sources } from "./sources.js";
import { Trial } from "./trial.js";
import { Typing } from "./typing.js";
import { Why } from "./why.js";

const STALE_S = 5;

let page;

export function mount() {
  if (page || !byId("stage") || !byId("talk")) return;
  page = new Page(byId("stage").dataset.token);
}

class Page {
  constructor(token) {
    const send = (message) => this.connection.send(message) || this.sources.offline();
    this.connection = new Connection(token, {
      onLine: (line) => this.receive(line),
      onPicture: (blob, pts) => this.paint(blob, pts),
      onState: (state, words) => this.linked(state, words),
      onAck: (number) => this.sources.capture.acked(number),
      onLost: () => this.sources.capture.lost(),
    });
    this.sources = new Sources(this.connection, token, (words) => this.say(words));
    const pictures = new Pictures(token);
    this.transcript = new Transcript({
      pictures,
      ask: (text) => this.ask(text),
      rate: (t, good) => send({ type: "rate", t, good }),
      onAlert: (line, isOld) => this.alerted(line, isOld),
      say: (words) => this.say(words),
    });
    [this.stats, this.urge, this.why, this.send] = [new Stats(), new Urge(send), new Why(), send];
    [this.rules, this.trial] = [new Rules(send, pictures), new Trial(send, pictures)];
    this.alarm = new Alarm((words) => this.say(words));
    this.typing = new Typing(byId("question"), (message) => this.connection.send(message));
    this.mic = new Microphone(this.connection);
    this.listen();
    this.connection.connect();
    setInterval(() => this.tick(), 1000);
  }

  receive(line) {
    const { transcript, sources } = this;
    const readers = {
      hello: () => this.hello(line),
      reply_started: () => transcript.started(line),
      text_delta: () => transcript.delta(line),
      remark: () => this.remarked(line),
      why: () => this.why.add(line),
      rules: () => this.ruled(line.rules),
      rule_tried: () => this.trial.show(line),
      source: () => sources.show(line),
      send: () => sources.obey(line),
      stats: () => this.counted(line),
      configured: () => this.urge.configured(line),
      forgotten: () => this.forget(line.since),
      refused: () => this.refused(line),
    };
    (readers[line.type] ?? (() => transcript.add(line)))();
  }

  ruled(rules) {
    this.rules.show(rules);
    this.transcript.ruled(rules);
  }

  hello(line) {
    setServerNow(line.now);
    this.sources.obey(line.send ?? {});
    byId("model").textContent = line.model;
    byId("model").hidden = false;
    byId("note").textContent = line.note;
    byId("mic").hidden = !line.speech;
    this.transcript.resync(line.history);
    this.why.resync(line.whys ?? [], line.history);
    this.rules.show(line.rules);
    this.trial.refused();
    this.sources.show(line);
    if (line.stats) this.counted(line.stats);
  }

  remarked(line) {
    this.transcript.add(line);
    this.why.spoke(line.t);
  }

  alerted(line, isOld) {
    this.rules.alerted(line);
    if (!isOld) this.alarm.alert(line);
  }

  forget(since) {
    for (const part of [this.transcript, this.rules, this.why]) part.forget(since);
    this.trial.clear();
  }

  counted(line) {
    this.heard = serverNow();
    if (line.t < this.t) this.trial.refused();   // another stream
    this.t = line.t;
    this.stats.show(line);
    this.urge.show(line);
    this.why.counted(line);
  }

  refused(line) {
    const question = this.transcript.refused(line);
    if (question && !byId("question").value) byId("question").value = question;
    if (line.command === "source") this.sources.refused();
    if (line.command === "try_rule") this.trial.refused();
    this.say(line.text);
  }

  async paint(blob, pts) {
    const image = await createImageBitmap(blob);
    const canvas = byId("preview");
    if (canvas.width !== image.width || canvas.height !== image.height) Object.assign(canvas, { width: image.width, height: image.height });
    canvas.getContext("2d").drawImage(image, 0, 0);
    image.close();
    canvas.dataset.pts = pts;
    this.painted = serverNow();
    this.sources.drawn();
  }

  linked(state, words) {
    const link = byId("link");
    link.dataset.state = state;
    link.textContent = state === "off" ? "not connected" : words;
    if (state === "off") this.say(words);
  }

  say(words) {
    const box = byId("trouble");
    box.hidden = !words;
    box.querySelector("span").textContent = words;
  }

  ask(text) {
    if (!this.send({ type: "ask", text })) return false;
    this.transcript.asked(text);
    return true;
  }

  tick() {
    const quiet = this.heard && serverNow() - this.heard;
    const runs = !this.sources.current.paused && this.sources.current.kind !== "none";
    const old = this.painted && !this.sources.mine && serverNow() - this.painted;   // the filming page may be gone
    const stale = runs && Math.max(quiet, old) > STALE_S;
    const why = quiet > STALE_S ? `no news for ${Math.round(quiet)} s` : `this picture is ${Math.round(old)} s old`;
    const stream = this.t == null ? "" : ` · ${streamTime(this.t)}`;
    byId("clock").textContent = clock(serverNow()) + stream + (stale ? ` · ${why}` : "");
    byId("clock").classList.toggle("stale", stale);
    if (this.t != null) this.rules.tick(this.t);
  }

  listen() {
    const question = byId("question");
    byId("ask").addEventListener("submit", (event) => { event.preventDefault(); this.submit(question); });
    question.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.submit(question);
    });
    byId("stop").addEventListener("click", () => this.hush());
    byId("trouble").querySelector("button").addEventListener("click", () => this.say(""));
    byId("mic").addEventListener("click", () => this.toggleMic());
    const dialog = byId("forget-ask");
    byId("forget").addEventListener("click", () => { dialog.returnValue = "no"; dialog.showModal(); });
    dialog.addEventListener("close", () => dialog.returnValue === "yes" && this.send({
      type: "forget", rules: byId("forget-rules").checked, minutes: Number(byId("forget-span").value) || null,
    }));
    document.addEventListener("keydown", (event) => this.key(event));
  }

  submit(question) {
    const text = question.value.trim();
    if (text && this.ask(text)) {
      question.value = "";
      this.typing.stop();
    }
    question.focus();
  }

  hush() {
    this.alarm.hush();
    this.send({ type: "interrupt" });
  }

  key(event) {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.key === "Escape") {
      event.target.blur?.();
      this.hush();
      return;
    }
    if (event.target.closest("input, textarea, select, [contenteditable]")) return;
    if (event.key === " " && !event.target.closest("button, a, summary")) {
      event.preventDefault();
      this.sources.toggle();
    }
    if (event.key.toLowerCase() === "m") this.alarm.toggle();
    if (event.key.toLowerCase() === "t") {
      event.preventDefault();
      byId("question").focus();
    }
  }

  async toggleMic() {
    try {
      await (this.mic.on ? this.mic.stop() : this.mic.start());
    } catch {
      this.mic.stop();
      this.say("The microphone could not be used. Allow it by the sign in the address bar, then press Microphone again.");
    }
    byId("mic").setAttribute("aria-pressed", String(this.mic.on));
  }
}

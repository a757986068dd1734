// The page's beginning: waits for its two parts, connects, hands each message to who shows it.

import { Transcript } from "./chat.js";
import { byId, clock, serverNow, setServerNow, streamTime } from "./format.js";
import { Microphone } from "./mic.js";
import { Rules, Stats, Urge } from "./panels.js";
import { Connection } from "./socket.js";
import { Sources } from "./sources.js";

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
    this.transcript = new Transcript({
      thumb: (frame) => `/thumb?frame=${frame}&token=${encodeURIComponent(token)}`,
      ask: (text) => this.ask(text),
      onAlert: (line) => this.alarm(line),
      say: (words) => this.say(words),
    });
    [this.stats, this.urge, this.rules, this.send] = [new Stats(), new Urge(send), new Rules(send), send];
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
      rules: () => this.rules.show(line.rules),
      source: () => sources.show(line),
      send: () => sources.obey(line),
      stats: () => this.counted(line),
      configured: () => this.urge.configured(line),
      forgotten: () => transcript.forget(line.since),
      refused: () => this.refused(line),
    };
    (readers[line.type] ?? (() => transcript.add(line)))();
  }

  hello(line) {
    setServerNow(line.now);
    this.sources.obey(line.send ?? {});
    byId("model").textContent = line.model;
    byId("model").hidden = false;
    byId("note").textContent = line.note;
    byId("mic").hidden = !line.speech;
    this.transcript.resync(line.history);
    this.rules.show(line.rules);
    this.sources.show(line);
    if (line.stats) this.counted(line.stats);
  }

  counted(line) {
    this.heard = serverNow();
    this.t = line.t;
    this.stats.show(line);
    this.urge.show(line);
  }

  refused(line) {
    const question = this.transcript.refused(line);
    if (question && !byId("question").value) byId("question").value = question;
    if (line.command === "source") this.sources.refused();
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

  alarm(line) {
    byId("alert-live").textContent = `Alert: ${line.rule}. ${line.text}`;
    if (window.Notification?.permission === "granted") new Notification("streamassist", { body: line.text || line.rule, tag: `rule-${line.rule_id}` });
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
  }

  listen() {
    const question = byId("question");
    byId("ask").addEventListener("submit", (event) => { event.preventDefault(); this.submit(question); });
    question.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.submit(question);
    });
    byId("stop").addEventListener("click", () => this.send({ type: "interrupt" }));
    byId("trouble").querySelector("button").addEventListener("click", () => this.say(""));
    byId("mic").addEventListener("click", () => this.toggleMic());
    byId("notify").addEventListener("click", () => this.allowNotices());
    this.noticesShown();
    const dialog = byId("forget-ask");
    byId("forget").addEventListener("click", () => { dialog.returnValue = "no"; dialog.showModal(); });
    dialog.addEventListener("close", () => dialog.returnValue === "yes" && this.send({
      type: "forget", rules: byId("forget-rules").checked, minutes: Number(byId("forget-span").value) || null,
    }));
    document.addEventListener("keydown", (event) => this.key(event));
  }

  submit(question) {
    const text = question.value.trim();
    if (text && this.ask(text)) question.value = "";
    question.focus();
  }

  key(event) {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (event.key === "Escape") {
      event.target.blur?.();
      this.send({ type: "interrupt" });
      return;
    }
    if (event.target.closest("input, textarea, select, [contenteditable]")) return;
    if (event.key === " " && !event.target.closest("button, a, summary")) {
      event.preventDefault();
      this.sources.toggle();
    }
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

  async allowNotices() {
    if (!window.Notification) return this.say("This browser shows no notifications on this page; keep it in view, or open it over https.");
    if (await Notification.requestPermission() !== "granted") this.say("The browser does not allow notifications; allow them by the sign in the address bar.");
    this.noticesShown();
  }

  noticesShown() {
    const on = window.Notification?.permission === "granted";
    byId("notify").setAttribute("aria-pressed", String(on));
    byId("notify").querySelector("span").textContent = on ? "Notifications on" : "Notify me";
  }
}

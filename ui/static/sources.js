// What is being watched: the picker, this page's own camera or screen, uploads, pause.

import { Capture } from "./capture.js";
import { byId, make } from "./format.js";
import { Sending } from "./sending.js";

const JPEG = 1;
const SAME = 3;
const NOTHING = new ArrayBuffer(0);

export class Sources {
  // connection; say(words): tells the user
  constructor(connection, token, say) {
    Object.assign(this, { connection, token, say, current: { kind: "none" } });
    this.capture = new Capture(byId("own"), {
      onPicture: (jpeg, time) => connection.sendBinary(JPEG, time, jpeg),
      onSame: (time) => connection.sendBinary(SAME, time, NOTHING),
      onCounts: (counts) => this.sending.count(counts),
      onEnded: (words) => this.ended(words),
    });
    this.sending = new Sending((message) => connection.send(message));
    byId("sources").addEventListener("click", (event) => this.pick(event.target.closest("[data-source]")?.dataset.source));
    byId("file").addEventListener("change", (event) => this.upload(event.target));
    byId("net").addEventListener("submit", (event) => this.network(event));
    byId("camera").addEventListener("change", (event) => this.film("camera", event.target.value));
    byId("pause").addEventListener("click", () => this.toggle());
    byId("resume").addEventListener("click", () => this.toggle());
    addEventListener("pagehide", () => this.capture.stop());
  }

  open(spec, label = "") { return this.connection.send({ type: "source", spec, label }) || this.offline(); }

  offline() {
    this.say("There is no connection to the server just now; try again when it is back.");
    return false;
  }

  // What the server wants of this page's camera.
  obey(line) {
    if (this.capture.obey(line)) this.sending.heldBackBy(line.why);
    else this.say("The server asked for pictures of no possible size or rate, so this page sends what it sent before. Reload it.");
  }

  pick(source) {
    if (source === "sample") this.open("sample");
    if (source === "camera" || source === "screen") this.film(source);
    if (source === "file") byId("file").click();
    if (source === "rtsp") this.askAddress();
  }

  askAddress() {
    const form = byId("net");
    form.hidden = !form.hidden;
    document.querySelector("[data-source=rtsp]").setAttribute("aria-expanded", String(!form.hidden));
    if (!form.hidden) byId("url").focus();
  }

  network(event) {
    event.preventDefault();
    const address = byId("url").value.trim();
    if (address && this.open(address)) this.askAddress();
  }

  // Permission first: when it is refused, the stream that runs goes on. Another camera of the same
  // page goes on in the same stream, so that what was seen is not forgotten.
  async film(kind, choice) {
    const goesOn = this.mine && this.current.name === kind;
    if (!await this.begin(kind, choice)) return;
    this.expected = !goesOn;
    if (goesOn && this.current.paused) this.connection.send({ type: "pause", paused: false });
    else if (!goesOn && !this.open("browser", kind)) this.lose();
  }

  async begin(kind, choice) {
    try {
      await this.capture.start(kind, choice);
    } catch (error) {
      this.say(error.message);
      this.report();
      return false;
    }
    this.say("");
    this.report();
    if (kind === "camera") this.offerCameras();
    return true;
  }

  refused() {
    if (this.expected) this.lose();
    this.expected = false;
  }

  async offerCameras() {
    const choices = await this.capture.choices();
    const used = this.capture.track?.getSettings().deviceId;
    byId("camera").replaceChildren(...choices.map(({ value, text }) => make("option", { value, text })));
    byId("camera").value = this.capture.choice || used || choices[0]?.value;
    byId("camera-pick").hidden = choices.length < 2;
  }

  ended(words) {
    this.say(words);
    this.open("none");
    this.report();
  }

  report() {
    const { on, kind } = this.capture;
    const badge = byId("capture");
    this.connection.send({ type: "capture", state: on ? "on" : "off" });
    badge.hidden = !on;
    this.sending.show(on);
    badge.querySelector("b").textContent = kind === "screen" ? "Screen shared" : "Camera on";
    byId("own").hidden = !on;
    byId("preview").hidden = on;
    byId("empty").hidden = on || this.pictured;
    if (!on || kind !== "camera") byId("camera-pick").hidden = true;
  }

  drawn() {
    this.pictured = true;
    byId("empty").hidden = true;
  }

  // The server says what is watched now; another page may have chosen it, paused it, started it.
  show(line) {
    this.current = line.type === "hello" ? line.source : line;
    const { kind, filming, paused, name } = this.current;
    this.mine = kind === "browser" && filming === this.connection.id;
    if (this.mine) this.expected = false;
    if (this.capture.on && !this.expected && (paused || !this.mine)) this.lose();
    if (this.mine && !paused && !this.capture.on) this.begin(name);
    if (kind === "none") this.blank();
    this.mark(this.current);
  }

  // The last picture stays in view when the camera is let go.
  lose() {
    const own = byId("own");
    if (own.videoWidth) {
      const canvas = byId("preview");
      Object.assign(canvas, { width: own.videoWidth, height: own.videoHeight });
      canvas.getContext("2d").drawImage(own, 0, 0);
      this.drawn();
    }
    this.capture.stop();
    this.report();
  }

  blank() {
    const canvas = byId("preview");
    canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
    this.pictured = false;
    byId("empty").textContent = "Nothing is being watched. Choose a source above.";
    byId("empty").hidden = this.capture.on;
  }

  mark({ kind, name, paused }) {
    const shown = kind === "browser" ? name : kind;
    document.querySelectorAll("[data-source]").forEach((button) => {
      const is = button.dataset.source === shown || (button.dataset.source === "rtsp" && ["rtsps", "camera"].includes(shown) && kind !== "browser");
      button.setAttribute("aria-pressed", String(is));
    });
    const pause = byId("pause");
    pause.querySelector("span").textContent = paused ? "Start" : "Pause";
    pause.querySelector("use").setAttribute("href", paused ? "#i-play" : "#i-pause");
    pause.disabled = kind === "none";
    byId("resume").hidden = !paused;
    byId("picture").classList.toggle("paused", paused);
  }

  // Pausing lets go of the camera, so that its light goes out; the memory is kept.
  async toggle() {
    const { kind, paused, name } = this.current;
    if (kind === "none") return;
    if (paused && this.mine && !await this.begin(name)) return;
    if (!this.connection.send({ type: "pause", paused: !paused })) this.offline();
  }

  upload(input) {
    const [file] = input.files;
    if (!file) return;
    const request = new XMLHttpRequest();
    request.open("POST", `/upload?token=${encodeURIComponent(this.token)}&name=${encodeURIComponent(file.name)}`);
    request.responseType = "json";
    request.upload.onprogress = ({ loaded, total }) => this.say(`Sending ${file.name}: ${Math.floor((100 * loaded) / total)} %`);
    request.onload = () => this.uploaded(request, file.name);
    request.onerror = () => this.say("The file did not reach the server; check the connection and choose it again.");
    request.send(file);
    input.value = "";
  }

  uploaded(request, name) {
    if (request.status !== 200) return this.say(request.response?.error ?? "The server did not take the file; reload the page and choose it again.");
    this.say("");
    this.open(request.response.spec, name);
  }
}

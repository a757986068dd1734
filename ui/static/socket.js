// The one connection to the server: reconnects by itself, keeps at most two pictures under way.

const JPEG = 1;
const HEADER = 9;
const SLOWEST_RETRY_MS = 10000;
const REASONS = {
  4403: "The server refused this page because it was opened under a foreign address. Open it as http://localhost.",
  4401: "The server was started again and no longer knows this page. Reload it.",
};

// Kept over a reload, so that this page's camera is still its own.
function pageId() {
  const id = sessionStorage.getItem("sa-page") ?? crypto.getRandomValues(new Uint32Array(4)).join("-");
  sessionStorage.setItem("sa-page", id);
  return id;
}

export class Connection {
  // onLine(message), onPicture(blob, pts), onState("on" | "wait" | "off", words), onAck(number): so
  // many more pictures arrived, onLost(): none of those under way did
  constructor(token, { onLine, onPicture, onState, onAck, onLost }) {
    Object.assign(this, { token, onLine, onPicture, onState, onAck, onLost });
    this.id = pageId();
    this.tries = 0;
    this.unseen = 0;
    addEventListener("online", () => this.hurry());
    addEventListener("pagehide", () => this.socket?.close());
    addEventListener("pageshow", (event) => event.persisted && this.hurry());
    document.addEventListener("visibilitychange", () => document.hidden || this.shown());
  }

  connect() {
    clearTimeout(this.timer);
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}/live?token=${encodeURIComponent(this.token)}`);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.send({ type: "hello", id: this.id, now: Date.now() / 1000 });
    socket.onmessage = (event) => this.receive(event.data);
    socket.onclose = (event) => this.closed(event);
    this.socket = socket;
    this.unseen = this.arrived = 0;
  }

  get open() { return this.socket?.readyState === WebSocket.OPEN; }

  send(message) {
    if (this.open) this.socket.send(JSON.stringify(message));
    return this.open;
  }

  sendBinary(kind, time, payload) {
    if (!this.open) return false;
    const message = new Uint8Array(HEADER + payload.byteLength);
    const view = new DataView(message.buffer);
    view.setUint8(0, kind);
    view.setFloat64(1, time);
    message.set(new Uint8Array(payload), HEADER);
    this.socket.send(message);
    return true;
  }

  receive(data) {
    if (typeof data !== "string") return this.picture(data);
    const message = JSON.parse(data);
    if (message.type === "hello") {
      this.tries = 0;
      sessionStorage.removeItem("sa-reloaded");
      this.onState("on", "connected");
    }
    if (message.type === "ack") this.acked(message.received);
    else this.onLine(message);
  }

  // One message may stand for several pictures: only the newest that waits is sent.
  acked(received) {
    const more = received - this.arrived;
    if (!(more > 0)) return;
    this.arrived = received;
    this.onAck(more);
  }

  async picture(data) {
    const view = new DataView(data);
    if (view.getUint8(0) !== JPEG) return;
    await this.onPicture(new Blob([data.slice(HEADER)], { type: "image/jpeg" }), view.getFloat64(1));
    this.unseen += 1;
    if (!document.hidden) this.shown();
  }

  // Pictures are acknowledged when someone can look at them: a hidden page is sent no more than two.
  shown() {
    for (; this.unseen > 0; this.unseen -= 1) this.send({ type: "seen" });
    if (!this.open) this.hurry();
  }

  closed(event) {
    if (event.target !== this.socket) return;
    this.onLost();
    if (event.code === 4401 && !sessionStorage.getItem("sa-reloaded")) {
      sessionStorage.setItem("sa-reloaded", "1");
      location.reload();
      return;
    }
    if (REASONS[event.code]) {
      this.stopped = true;
      this.onState("off", REASONS[event.code]);
      return;
    }
    const wait = Math.min(SLOWEST_RETRY_MS, 500 * 2 ** this.tries) * (0.75 + Math.random() / 2);
    this.tries += 1;
    this.onState("wait", `connection lost, trying again in ${Math.ceil(wait / 1000)} s`);
    this.timer = setTimeout(() => this.connect(), wait);
  }

  hurry() {
    if (this.stopped || !this.socket || this.socket.readyState < WebSocket.CLOSING) return;
    this.connect();
  }
}

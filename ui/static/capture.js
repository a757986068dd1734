// The browser's own camera or screen: permission, the picture on the page, pictures to the server.

const HELP = {
  NotAllowedError: "The browser may not use the {what}. Allow it by the sign in the address bar, then press {button} again.",
  NotFoundError: "No {what} was found. Plug one in, or watch the sample, a file or your screen.",
  NotReadableError: "The {what} is in use by another program. Close that program, then press {button} again.",
  OverconstrainedError: "That {what} is not there any more. Choose another one.",
  AbortError: "The {what} stopped while it was starting. Press {button} again.",
};
const INSECURE = "Browsers give the camera only to https pages and to localhost. Open this page through " +
  "\"ssh -L 7860:localhost:7860 USER@SERVER\" as http://localhost:7860, or put https in front of it.";

export function sentence(error, what) {
  const words = HELP[error.name] ?? `The {what} could not be started (${error.message}). Press {button} again.`;
  return words.replaceAll("{what}", what).replaceAll("{button}", what === "screen" ? "Screen" : "Camera");
}

export class Capture {
  // onPicture(jpeg, time) -> sent?; onSame(time): it looks as the one before; onCounts(numbers):
  // what was done in the last second; onEnded(words)
  constructor(video, { onPicture, onSame, onCounts, onEnded }) {
    Object.assign(this, { video, onPicture, onSame, onCounts, onEnded });
    this.plan = {};
    this.choice = "";
  }

  get on() { return Boolean(this.stream); }

  // Resolves when pictures flow; rejects with words for the user. `kind`: "camera" or "screen".
  async start(kind, choice = this.choice) {
    if (!navigator.mediaDevices) throw new Error(INSECURE);
    let stream;
    try {
      stream = await (kind === "screen" ? this.screen() : this.camera(choice));
    } catch (error) {
      throw new Error(sentence(error, kind));
    }
    this.stop();
    Object.assign(this, { stream, kind, choice });
    this.track = stream.getVideoTracks()[0];
    this.video.srcObject = stream;
    this.video.classList.toggle("mirror", this.isFront());
    await this.video.play().catch(() => {});   // a picture nobody sees yet is no reason to stop
    if (this.stream !== stream) throw new Error("");   // another choice was made meanwhile
    if (this.track.readyState === "ended") {
      this.stop();
      throw new Error(sentence({ name: "AbortError" }, kind));
    }
    this.track.onended = () => this.ended();
    this.grab();
  }

  screen() {
    return navigator.mediaDevices.getDisplayMedia({ video: { frameRate: 10 }, audio: false });
  }

  camera(choice) {
    const video = { width: { ideal: 640 }, height: { ideal: 480 }, frameRate: { ideal: 15 } };
    if (choice.startsWith("facing:")) video.facingMode = { ideal: choice.slice(7) };
    else if (choice) video.deviceId = { exact: choice };
    return navigator.mediaDevices.getUserMedia({ video, audio: false });
  }

  // Your own face is shown as in a mirror; what is sent is never mirrored.
  isFront() {
    return this.kind === "camera" && this.track.getSettings?.().facingMode === "user";
  }

  grab() {
    const worker = new Worker(new URL("./grabber.js", import.meta.url));
    worker.onmessage = ({ data }) => this.fromWorker(worker, data);
    this.worker = worker;
    if (window.MediaStreamTrackProcessor) {
      const { readable } = new MediaStreamTrackProcessor({ track: this.track, maxBufferSize: 1 });   // the newest only
      worker.postMessage({ plan: this.plan, readable }, [readable]);
    } else {
      worker.postMessage({ plan: this.plan, timer: true });
    }
  }

  // What the server wants to be sent; false when its numbers are none.
  obey({ side, fps, quality, refresh_s }) {
    if (![side, fps, quality, refresh_s].every((n) => Number.isFinite(n) && n >= 0)) return false;
    this.plan = { side, fps, quality, refresh_s };
    this.worker?.postMessage({ plan: this.plan });
    return true;
  }

  async fromWorker(worker, data) {
    if (worker !== this.worker) return;
    if (data.wanted) {
      const bitmap = this.video.readyState >= 2 ? await createImageBitmap(this.video) : null;
      worker.postMessage({ bitmap, at: Date.now() }, bitmap ? [bitmap] : []);
    }
    if (data.jpeg) this.offer(worker, data.jpeg, data.time);
    if (data.same) this.onSame(data.time);
    if (data.counts) this.onCounts(data.counts);
  }

  offer(worker, jpeg, time) {
    if (!this.onPicture(jpeg, time)) worker.postMessage({ unsent: jpeg.byteLength });
  }

  acked(number) { this.worker?.postMessage({ acked: number }); }

  // The connection is lost: what was under way never arrived.
  lost() { this.worker?.postMessage({ reset: true }); }

  stop() {
    if (this.track) this.track.onended = null;
    this.stream?.getTracks().forEach((track) => track.stop());
    this.worker?.postMessage({ stop: true });
    this.video.srcObject = null;
    this.stream = this.track = this.worker = null;
  }

  ended() {
    const words = this.kind === "screen" ? "Sharing the screen ended." : "The camera went away. Plug it in and press Camera again.";
    this.stop();
    this.onEnded(words);
  }

  // [{value, text}] for the picker; names are known only once the camera was allowed.
  async choices() {
    const devices = (await navigator.mediaDevices.enumerateDevices()).filter((d) => d.kind === "videoinput");
    const phone = matchMedia("(pointer: coarse)").matches;
    const facing = phone ? [{ value: "facing:user", text: "Front camera" }, { value: "facing:environment", text: "Back camera" }] : [];
    return [...facing, ...devices.map((d, i) => ({ value: d.deviceId, text: d.label || `Camera ${i + 1}` }))];
  }
}

// Tells the server that its user is typing, so that it does not speak up in between.

const AGAIN_MS = 2000;
const OVER_MS = 2500;

export class Typing {
  // input: the box; send(message)
  constructor(input, send) {
    this.send = send;
    this.told = -Infinity;
    input.addEventListener("input", () => this.typed());
    input.addEventListener("blur", () => this.stop());
  }

  typed() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.stop(), OVER_MS);
    const now = performance.now();
    if (this.on && now - this.told < AGAIN_MS) return;
    [this.on, this.told] = [true, now];
    this.send({ type: "user_speaking", speaking: true });
  }

  stop() {
    clearTimeout(this.timer);
    if (!this.on) return;
    this.on = false;
    this.send({ type: "user_speaking", speaking: false });
  }
}

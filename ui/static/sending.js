// What this page sends of its camera: a line of plain words, and the report to the server.

import { byId, sendingWords } from "./format.js";

const SECONDS = 5;   // reports of about a second each: the line is to be read, not to flicker

export class Sending {
  // send(message)
  constructor(send) {
    Object.assign(this, { send, why: "", last: [], line: byId("sending") });
  }

  heldBackBy(why) { this.why = typeof why === "string" ? why : ""; }

  show(on) {
    this.last = [];
    this.line.hidden = true;   // until there is something to say
    this.on = on;
  }

  count(counts) {
    const { sent, same, late, bytes, seconds, round_trip_s } = counts;
    this.send({ type: "sending", sent, same, late, bytes, seconds, round_trip_s });
    if (!this.on) return;
    this.last = [...this.last, counts].slice(-SECONDS);
    this.line.textContent = sendingWords(this.last, this.why);
    this.line.hidden = !counts.width;
  }
}

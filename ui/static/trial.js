// "Try on the past": would this rule have fired on what was seen in the last minutes?

import { byId, count, icon, lasting, make, streamTime, times } from "./format.js";
import { worded } from "./rules.js";

const MINUTES = 10;
const MAX_PICTURES = 12;

export class Trial {
  constructor(send, pictures) {
    Object.assign(this, { send, pictures, box: byId("tried"), waiting: new Set() });
    byId("try").addEventListener("click", () => this.ask());
  }

  ask() {
    const input = byId("rule");
    if (!input.value.trim()) return input.focus();
    const text = worded(input.value.trim());
    if (!this.send({ type: "try_rule", text, minutes: MINUTES })) return;
    this.waiting.add(text);
    this.say(make("p", { text: `Looking at the last ${MINUTES} minutes…` }));
  }

  // Other pages are told too; only the one that asked shows it.
  show(line) {
    if (!this.waiting.delete(line.text)) return;
    const fired = line.times;
    const span = `in the last ${lasting(line.t - line.since)}`;
    const shown = fired.slice(0, MAX_PICTURES);
    const more = fired.length - shown.length;
    const close = make("button", { type: "button", class: "bare", title: "Close", "aria-label": "Close this result", onclick: () => this.clear() }, icon("close"));
    this.say(
      make("p", {}, make("b", { text: fired.length ? `Would have fired ${times(fired.length)} ${span}.` : this.not(line, span) }), close),
      make("p", { class: "muted", text: `“${line.condition || line.text}”` }),
      fired.length > 0 && make("p", { class: "sr", text: `At ${shown.map(({ t }) => streamTime(t)).join(", ")}.` }),
      make("div", { class: "thumbs" }, ...shown.map((seen) => this.picture(seen))),
      more > 0 && make("p", { class: "muted", text: `and ${count(more)} more` }),
    );
  }

  not({ checked }, span) {
    if (!checked) return "There is nothing to try it on yet: no picture was kept.";
    return `Would not have fired ${span}; ${count(checked)} ${checked === 1 ? "picture was" : "pictures were"} looked at.`;
  }

  picture({ t, frame, score }) {
    const figure = this.pictures.one(t, frame);
    if (score != null) figure.title = `${Math.round(100 * score)} % sure`;
    return figure;
  }

  say(...parts) {
    this.box.replaceChildren(...parts.filter(Boolean));
    this.box.hidden = false;
  }

  clear() {
    if (this.box.contains(document.activeElement)) byId("rule").focus();
    this.waiting.clear();
    this.box.replaceChildren();
    this.box.hidden = true;
  }

  // The answer will not come: it was refused, the connection lost, or another stream begun.
  refused() { if (this.waiting.size) this.clear(); }
}

// The settings of one watch rule as a form. Only what was changed is handed on.

import { make, SEVERITIES } from "./format.js";

const ACTIONS = { sound: "a sound", speech: "words said aloud", webhook: "the webhook" };
const HOURS = /^(\d\d:\d\d)\s*(?:-|and)\s*(\d\d:\d\d)$/;
const DAY_S = 86400;

export class RuleForm {
  // save(changes): {name: value}, some of them; cancel()
  constructor(rule, { save, cancel }) {
    Object.assign(this, { save, cancel });
    this.readers = {};      // name of the setting -> what the form says of it
    const parts = [...(rule.kind === "time" ? this.ofTimes(rule) : this.ofEvents(rule)), ...this.ofAll(rule)];
    const ends = make("div", { class: "ends" }, make("button", { type: "submit", class: "small primary", text: "Save" }),
      make("button", { type: "button", class: "small", text: "Cancel", onclick: cancel }));
    this.node = make("form", { class: "settings", "aria-label": `Settings of the rule: ${rule.condition || rule.text}` }, ...parts, ends);
    this.before = this.values();
    this.node.addEventListener("submit", (event) => this.submit(event));
    this.node.addEventListener("keydown", (event) => event.key === "Escape" && this.leave(event));
  }

  ofEvents(rule) {
    return [
      this.number("dwell_s", "Must hold for", rule.dwell_s ?? 0, [0, 3600], "s"),
      this.number("cooldown_s", "Wait between alerts", rule.cooldown_s ?? 10, [1, DAY_S], "s"),
      this.number("threshold", "Sure enough from", rule.threshold ?? 0.7, [0.05, 0.99], "of 1"),
      this.choice("once", "Tell me", { "": "every time", once: "once, then stop" }, rule.once ? "once" : "", Boolean),
      this.check("only_if_changed", "Again only if the view changed", rule.only_if_changed),
    ];
  }

  ofTimes(rule) {
    return rule.every_s ? [this.number("every_s", "Every", rule.every_s, [10, DAY_S], "s")] : [];
  }

  ofAll(rule) {
    return [
      this.choice("severity", "How serious", SEVERITIES, rule.severity || "warning", String),
      this.hours(rule.schedule),
      this.actions(rule.actions ?? []),
    ];
  }

  number(name, words, value, [min, max], unit) {
    const input = make("input", { type: "number", min, max, step: "any", required: "", value, inputmode: "decimal" });
    this.readers[name] = () => Number(input.value);
    return make("label", {}, make("span", { text: words }), input, make("span", { text: unit }));
  }

  check(name, words, on) {
    const input = this.box(on);
    this.readers[name] = () => input.checked;
    return make("label", {}, input, make("span", { text: words }));
  }

  box(on) {
    const input = make("input", { type: "checkbox" });
    input.checked = Boolean(on);
    return input;
  }

  choice(name, words, choices, value, read) {
    const select = make("select", {}, ...Object.entries(choices).map(([key, text]) => make("option", { value: key, text })));
    select.value = value;
    this.readers[name] = () => read(select.value);
    return make("label", {}, make("span", { text: words }), select);
  }

  // Both times or none; hours that are said in other words stay as they are until times are given.
  hours(schedule = "") {
    const [, from = "", to = ""] = HOURS.exec(schedule) ?? [];
    this.clocks = [from, to].map((value, i) => make("input", { type: "time", value, "aria-label": i ? "Only until" : "Only from" }));
    const other = schedule && !from ? schedule : "";
    this.readers.schedule = () => this.clocks[0].value ? this.clocks.map((clock) => clock.value).join("-") : other;
    this.clocks.forEach((clock) => clock.addEventListener("input", () => this.clocks[1].setCustomValidity("")));
    return make("div", {}, make("span", { text: "Only between" }), this.clocks[0], make("span", { text: "and" }), this.clocks[1]);
  }

  actions(chosen) {
    const boxes = Object.entries(ACTIONS).map(([name, words]) => [name, words, this.box(chosen.includes(name))]);
    this.readers.actions = () => boxes.filter(([, , box]) => box.checked).map(([name]) => name);
    return make("fieldset", {}, make("legend", { text: "Also by" }),
      ...boxes.map(([, words, box]) => make("label", {}, box, make("span", { text: words }))));
  }

  values() {
    return Object.fromEntries(Object.entries(this.readers).map(([name, read]) => [name, read()]));
  }

  submit(event) {
    event.preventDefault();
    const [from, to] = this.clocks.map((clock) => clock.value);
    if (Boolean(from) !== Boolean(to)) {
      this.clocks[1].setCustomValidity("Give both times, or none.");
      this.clocks[1].reportValidity();
      return;
    }
    const changed = Object.entries(this.values()).filter(([name, value]) => String(value) !== String(this.before[name]));
    if (changed.length) this.save(Object.fromEntries(changed));
    else this.cancel();
  }

  leave(event) {
    event.preventDefault();
    this.cancel();
  }

  focus() { this.node.querySelector("input, select").focus(); }
}

// The watch rules: what each waits for, how it stands, and what can be done with it.

import { age, Bar, byId, icon, lasting, make, severity, times } from "./format.js";
import { RuleForm } from "./rule_form.js";

const MAX_ROWS = 60;
const SNOOZE_S = 600;

const OPENINGS = /^(please|tell|alert|notify|warn|inform|ping|watch|look|when|whenever|if|once|as soon|let|every|remind|urgent|in \d+)\b/i;

// "a dog appears" is meant as "Tell me when a dog appears".
export const worded = (text) => OPENINGS.test(text) ? text : `Tell me when ${text}`;

export class Rules {
  // send(message) -> sent?; pictures: see pictures.js
  constructor(send, pictures) {
    Object.assign(this, { send, pictures, t: 0 });
    this.rows = new Map();        // rule id -> Row
    this.fired = new Map();       // rule id -> {t, frame} of its newest alert
    this.list = byId("rules");
    byId("rule-form").addEventListener("submit", (event) => this.submit(event));
  }

  submit(event) {
    event.preventDefault();
    const input = byId("rule");
    const text = input.value.trim();
    if (!text) return input.focus();
    if (this.send({ type: "add_rule", text: worded(text) })) input.value = "";
  }

  // Rows stay what they are, so that a form being filled in is not taken away.
  show(given) {
    const rules = given.slice(0, MAX_ROWS);
    const ids = new Set(rules.map((rule) => rule.id));
    for (const [id, row] of this.rows) if (!ids.has(id)) this.drop(id, row);
    for (const id of this.fired.keys()) if (!ids.has(id)) this.fired.delete(id);
    for (const rule of rules) {
      if (!this.rows.has(rule.id)) this.add(rule);
      this.rows.get(rule.id).show(rule, this.t);
    }
  }

  add(rule) {
    const row = new Row(rule.id, this.send);
    this.rows.set(rule.id, row);
    this.list.append(row.node);
    this.picture(rule.id);
  }

  // The keyboard goes on from where the row was.
  drop(id, row) {
    const focused = row.node.contains(document.activeElement);
    row.node.remove();
    this.rows.delete(id);
    if (focused) byId("rule").focus();
  }

  alerted(line) {
    const [seen] = line.evidence ?? [];
    if (!seen) return;
    this.fired.set(line.rule_id, seen);
    if (this.fired.size > MAX_ROWS) this.fired.delete(this.fired.keys().next().value);
    this.picture(line.rule_id);
  }

  picture(id) {
    const seen = this.fired.get(id);
    this.rows.get(id)?.shot.replaceChildren(...(seen ? [this.pictures.one(seen.t, seen.frame)] : []));
  }

  // Pictures of stream time `since` and later are gone, or all of them.
  forget(since) {
    for (const [id, { t }] of this.fired) {
      if (since != null && t < since) continue;
      this.fired.delete(id);
      this.picture(id);
    }
  }

  tick(t) {
    this.t = t;
    for (const row of this.rows.values()) row.state(t);
  }
}

class Row {
  constructor(id, send) {
    Object.assign(this, { id, send });
    [this.bar, this.shot, this.badge] = [new Bar(), make("div", { class: "shot" }), make("span")];
    this.condition = make("b");
    this.words = make("small", { class: "muted" });
    this.snooze = this.button(() => this.edit({ snooze_s: this.asleep ? 0 : SNOOZE_S }));
    this.change = this.button(() => this.toggle());
    this.change.setAttribute("aria-expanded", "false");
    this.remove = this.button(() => send({ type: "remove_rule", rule_id: id }));
    const acts = make("div", { class: "acts" }, this.snooze, this.change, this.remove);
    const told = make("div", { class: "told" }, make("p", {}, this.condition, this.badge), this.words, this.bar.node, acts);
    this.node = make("li", {}, this.shot, told);
  }

  button(act) { return make("button", { type: "button", class: "small", onclick: act }); }

  name(button, picture, words, whole = `${words}: ${this.condition.textContent}`) {
    if (button.getAttribute("aria-label") === whole) return;
    button.setAttribute("aria-label", whole);
    button.replaceChildren(icon(picture), make("span", { text: words }));
  }

  edit(what) { return this.send({ type: "edit_rule", rule_id: this.id, changes: {}, snooze_s: null, ...what }); }

  show(rule, t) {
    [this.rule, this.shownAt] = [rule, t];
    this.condition.textContent = rule.condition || rule.text;
    const { key, badge } = severity(rule.severity);
    if (this.node.dataset.severity !== key) this.badge.replaceChildren(badge());
    this.node.dataset.severity = key;
    this.bar.node.hidden = rule.kind === "time" || rule.score == null;
    this.bar.show(rule.score ?? 0, rule.threshold);
    this.name(this.change, "edit", "Change");
    this.name(this.remove, "close", "Remove", `Remove the rule: ${rule.text}`);
    this.state(t);
  }

  get asleep() { return this.left > 0; }

  state(t) {
    this.left = this.rule.snoozed_until == null ? 0 : this.rule.snoozed_until - t;
    this.name(this.snooze, this.asleep ? "bell" : "snooze", this.asleep ? "Wake" : "Snooze 10 min");
    this.snooze.hidden = Boolean(this.rule.done);
    const words = this.sentence(t);
    if (this.words.textContent !== words) this.words.textContent = words;
  }

  sentence(t) {
    const { state, kind, fired, schedule, timeouts, done, every_s: every } = this.rule;
    const parts = [this.asleep ? `snoozed, ${lasting(this.left)} left` : done ? "done" : state || "watching"];
    if (every) parts.push(`every ${lasting(every)}`);
    parts.push(kind === "time" ? this.next(t) : this.checked(t));
    if (fired) parts.push(`told ${times(fired)}`);
    if (schedule) parts.push(`only between ${schedule}`);
    if (timeouts) parts.push(`not checked in time ${times(timeouts)}`);
    return parts.filter(Boolean).join(" · ");
  }

  next(t) {
    const left = this.rule.next_check_s;
    return left == null ? "" : `next in ${lasting(left - (t - this.shownAt))}`;
  }

  checked(t) {
    const { last_checked: checked, check_interval_s: interval } = this.rule;
    const often = interval >= 1 ? `, about every ${lasting(interval)}` : "";
    return checked == null ? "not checked yet" : `checked ${age(t - checked)}${often}`;
  }

  toggle() {
    if (this.form) return this.close();
    this.form = new RuleForm(this.rule, {
      save: (changes) => this.edit({ changes }) && this.close(),
      cancel: () => this.close(),
    });
    this.node.append(this.form.node);
    this.change.setAttribute("aria-expanded", "true");
    this.form.focus();
    this.form.node.scrollIntoView({ block: "nearest" });
  }

  close() {
    this.form.node.remove();
    this.form = null;
    this.change.setAttribute("aria-expanded", "false");
    this.change.focus();
  }
}

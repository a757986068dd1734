// Words for times and sizes, and the one way elements are made: text is never read as HTML.

const clockFormat = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

export const byId = (id) => document.getElementById("sa-" + id);

export function make(tag, given = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (name === "text") node.textContent = value;
    else if (name === "class") node.className = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value);
  }
  node.append(...children.filter(Boolean));
  return node;
}

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  svg.setAttribute("class", "ico");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", "#i-" + name);
  svg.append(use);
  return svg;
}

export const clock = (wall) => clockFormat.format(new Date(wall * 1000));

export function age(seconds) {
  if (seconds < 2) return "just now";
  if (seconds < 90) return `${Math.round(seconds)} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86400)} days ago`;
}

export function streamTime(t) {
  const whole = Math.max(0, Math.floor(t));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (n) => String(n).padStart(2, "0");
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

// "40 s", "10 minutes", of a length of time.
export function lasting(seconds) {
  if (seconds < 90) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} minutes`;
  return `${Math.round(seconds / 3600)} hours`;
}

export const times = (n) => n === 1 ? "once" : `${count(n)} times`;

export function bytes(count) {
  if (count < 1e6) return `${Math.round(count / 1e3)} kB`;
  if (count < 1e9) return `${(count / 1e6).toFixed(count < 1e7 ? 1 : 0)} MB`;
  return `${(count / 1e9).toFixed(1)} GB`;
}

// "sending 3.9 pictures/s, 384 × 288 px, 45 kB/s · 61 % unchanged, 0 late", of the last counts.
export function sendingWords(last, why) {
  const sum = (name) => last.reduce((total, counts) => total + counts[name], 0);
  const [seconds, sent, same] = [sum("seconds") || 1, sum("sent"), sum("same")];
  const { width, height } = last.at(-1);
  const share = Math.round((100 * same) / (sent + same || 1));
  const held = why ? ` · held back: ${why}` : "";
  return `sending ${(sent / seconds).toFixed(1)} pictures/s, ${width} × ${height} px, ${bytes(sum("bytes") / seconds)}/s`
    + ` · ${share} % unchanged, ${count(sum("late"))} late${held}`;
}

export const count = (n) => n.toLocaleString("en");

// How serious an alert is: never told by a colour alone. A server that does not say means a warning.
export const SEVERITIES = { info: "Information", warning: "Warning", urgent: "Urgent" };

export function severity(given) {
  const key = Object.hasOwn(SEVERITIES, given) ? given : "warning";
  return { key, word: SEVERITIES[key], badge: () => make("span", { class: `severity ${key}` }, icon(key), make("span", { text: SEVERITIES[key] })) };
}

// A thin bar: how much, and the line it must pass.
export class Bar {
  constructor() {
    [this.fill, this.mark] = [make("i"), make("u")];
    this.node = make("span", { class: "meter", role: "img" }, this.fill, this.mark);
  }

  show(value, line) {
    const percent = (n) => `${100 * Math.max(0, Math.min(1, n))}%`;
    this.fill.style.width = percent(value);
    this.fill.classList.toggle("over", line != null && value >= line);
    this.mark.hidden = line == null;
    if (line != null) this.mark.style.left = percent(line);
    this.node.setAttribute("aria-label", value.toFixed(2) + (line == null ? "" : ` of ${line.toFixed(2)}`));
    return this.node;
  }
}

// The server's clock: ages stay right when this machine's clock is off.
let ahead = 0;
export const setServerNow = (now) => { ahead = Date.now() / 1000 - now; };
export const serverNow = () => Date.now() / 1000 - ahead;

// "14:32:05, 20 s ago", and the stream time when it is given; `refreshTimes` keeps the age right.
export function when(wall, t) {
  const node = make("time", { datetime: new Date(wall * 1000).toISOString() });
  node.dataset.wall = wall;
  if (t != null) node.dataset.stream = ` · ${streamTime(t)} in`;
  refresh(node);
  return node;
}

function refresh(node) {
  const wall = Number(node.dataset.wall);
  node.textContent = `${clock(wall)}, ${age(serverNow() - wall)}${node.dataset.stream ?? ""}`;
}

export const refreshTimes = (root) => root.querySelectorAll("time[data-wall]").forEach(refresh);

// The urge to speak over the last two minutes, the line it must pass, and where it spoke.

import { times } from "./format.js";

const SPAN_S = 120;
const STEP_S = 0.25;
const MAX_POINTS = SPAN_S / STEP_S + 2;
const MAX_MARKS = 60;
const EDGE = 12;          // pixels above the curve, for the marks

export class Curve {
  // canvas; told: where its gist is written
  constructor(canvas, told) {
    Object.assign(this, { canvas, told, points: [], marks: [] });
  }

  add({ t, urge, threshold }) {
    const last = this.points.at(-1);
    if (last && t < last.t) [this.points, this.marks] = [[], this.marks.filter((mark) => mark <= t)];   // another stream
    else if (last && t - last.t < STEP_S) return;
    this.points = [...this.points, { t, urge, threshold }].filter((point) => point.t > t - SPAN_S).slice(-MAX_POINTS);
    this.marks = this.marks.filter((mark) => mark > t - SPAN_S);
  }

  spoke(t) { if (!this.marks.includes(t)) this.marks = [...this.marks, t].slice(-MAX_MARKS); }

  forget(since) {
    this.points = this.points.filter(({ t }) => since != null && t < since);
    this.marks = this.marks.filter((t) => since != null && t < since);
  }

  draw() {
    const newest = this.points.at(-1);
    const { clientWidth: w, clientHeight: h } = this.canvas;
    if (!newest || !w) return;
    const ratio = devicePixelRatio || 1;
    Object.assign(this.canvas, { width: w * ratio, height: h * ratio });
    const pen = this.canvas.getContext("2d");
    const style = getComputedStyle(this.canvas);
    const colour = (name) => style.getPropertyValue(name);
    const x = (t) => w - ((newest.t - t) / SPAN_S) * w;
    const y = (v) => h - 2 - Math.max(0, Math.min(1, v)) * (h - EDGE - 4);
    pen.scale(ratio, ratio);
    this.line(pen, (p) => [x(p.t), y(p.urge)], colour("--sa-accent"), []);
    this.line(pen, (p) => [x(p.t), y(p.threshold)], colour("--sa-muted"), [5, 4]);
    pen.fillStyle = colour("--sa-remark");
    for (const mark of this.marks) this.triangle(pen, Math.max(5, Math.min(w - 5, x(mark))));
    this.tell(newest);
  }

  line(pen, place, colour, dashes) {
    pen.beginPath();
    for (const point of this.points) pen.lineTo(...place(point));
    Object.assign(pen, { strokeStyle: colour, lineWidth: 1.5 });
    pen.setLineDash(dashes);
    pen.stroke();
  }

  triangle(pen, x) {
    pen.beginPath();
    pen.moveTo(x - 5, 1);
    pen.lineTo(x + 5, 1);
    pen.lineTo(x, 9);
    pen.fill();
  }

  tell({ t, urge, threshold }) {
    const most = Math.max(...this.points.map((point) => point.urge));
    const spoke = this.marks.filter((mark) => mark <= t).length;
    const gist = `now ${urge.toFixed(2)}, at most ${most.toFixed(2)}, line at ${threshold.toFixed(2)}; `
      + (spoke ? `spoke ${times(spoke)}` : "did not speak");
    if (this.told.textContent === gist) return;
    this.told.textContent = gist;
    this.canvas.setAttribute("aria-label", `How much it wanted to speak in the last 2 minutes: ${gist}`);
  }
}

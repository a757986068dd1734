// Worker: looks at the camera at a steady rate, also while the page is hidden (page timers and
// animation frames stop there, a Worker's do not), makes pictures as small as the server asks and
// encodes them. The newest wins: two at most are under way, none waits in line.

const MAX_UNDER_WAY = 2;
const LATE_MS = 1000;          // a picture that waited longer in the page is not worth sending
const TICK_MS = 25;
const REPORT_MS = 1000;
const SKETCH = { width: 32, height: 24 };
const STEP = 5;                // levels of a colour in one cell; noise of a camera stays below
const LONGEST = 4;             // times the shorter side: a picture is not made longer
const LIMITS = { side: [16, 2160], fps: [0.1, 60], quality: [0.1, 0.95], refresh_s: [0, 10] };

const plan = { side: 448, fps: 4, quality: 0.8, refresh_s: 1 };
const sketchPen = new OffscreenCanvas(SKETCH.width, SKETCH.height).getContext("2d", { alpha: false, willReadFrequently: true });

let canvas;
let due = 0;
let busy = false;              // a picture is being encoded
let asked = 0;                 // when the page was asked for a bitmap that has not come
let sentSketch = null;         // of the picture that the server has
let sentAt = 0;
let unacked = [];              // when each picture under way was handed over
let counts = fresh();
let reader;

function fresh() { return { sent: 0, same: 0, late: 0, bytes: 0, trips: [], since: performance.now() }; }

function obey(wanted) {
  for (const [name, [low, high]] of Object.entries(LIMITS)) {
    if (Number.isFinite(wanted[name])) plan[name] = Math.min(high, Math.max(low, wanted[name]));
  }
}

function period() { return 1000 / plan.fps; }

function draw(image, width, height) {
  const scale = Math.min(1, plan.side / Math.min(width, height), LONGEST * plan.side / Math.max(width, height));
  const [w, h] = [width, height].map((length) => Math.max(1, Math.round(length * scale)));
  if (canvas?.width !== w || canvas?.height !== h) canvas = new OffscreenCanvas(w, h);
  paint(canvas.getContext("2d", { alpha: false }), image, w, h);
}

// "medium" takes the mean of what becomes one pixel, so that noise and fine lines do not flicker.
function paint(pen, image, w, h) {
  pen.imageSmoothingQuality = "medium";
  pen.drawImage(image, 0, 0, w, h);
}

// In colour: a light that turns from red to green may be as bright as before.
function sketch() {
  paint(sketchPen, canvas, SKETCH.width, SKETCH.height);
  return sketchPen.getImageData(0, 0, SKETCH.width, SKETCH.height).data;
}

// Against the picture the server has, not the one before, so that a slow drift adds up.
function unchanged(seen) {
  const age = performance.now() - sentAt;
  if (!sentSketch || age >= plan.refresh_s * 1000 - Math.min(period(), plan.refresh_s * 1000) / 2) return false;
  return seen.every((level, i) => Math.abs(level - sentSketch[i]) <= STEP);
}

async function take(image, width, height, time) {
  let seen;
  try {
    draw(image, width, height);
    seen = sketch();
  } finally {
    image.close();
  }
  if (unchanged(seen)) {
    counts.same += 1;
    postMessage({ same: true, time });
    return;
  }
  busy = true;
  try {
    const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: plan.quality });
    send(await blob.arrayBuffer(), time, seen);
  } finally {
    busy = false;
  }
}

function send(jpeg, time, seen) {
  [sentSketch, sentAt] = [seen, performance.now()];
  unacked.push(sentAt);
  counts.sent += 1;
  counts.bytes += jpeg.byteLength;
  postMessage({ jpeg, time }, [jpeg]);
}

// The page had no connection: the server does not have that picture.
function unsent(bytes) {
  unacked.pop();
  sentSketch = null;
  counts.sent = Math.max(0, counts.sent - 1);
  counts.bytes = Math.max(0, counts.bytes - bytes);
}

function acked(number) {
  for (const then of unacked.splice(0, number)) counts.trips.push(performance.now() - then);
}

// Due times follow a fixed grid, so that the rate does not depend on the camera's own.
function isDue() {
  const now = performance.now();
  if (now < due) return false;
  if (busy || unacked.length >= MAX_UNDER_WAY) {
    passOver(now);
    return false;
  }
  due = Math.max(due + period(), now - period());
  return true;
}

// Pictures whose time is over while those before are under way are dropped; the next moment with
// room takes what the camera then shows.
function passOver(now) {
  const slots = Math.floor((now - due) / period());
  counts.late += Math.min(slots, Math.ceil(plan.fps));   // the camera itself may have slept for long
  due += slots * period();
}

async function follow(readable) {
  reader = readable.getReader();
  for (;;) {
    const { value: frame, done } = await reader.read();
    if (done) return;
    if (isDue()) await take(frame, frame.displayWidth, frame.displayHeight, Date.now() / 1000);
    else frame.close();
  }
}

// Browsers without MediaStreamTrackProcessor: this timer asks the page for a bitmap of its <video>,
// one at a time, since a busy page would answer a whole row of requests with the same picture.
function tick() {
  setInterval(() => {
    const now = performance.now();
    if (asked && now - asked < LATE_MS) return passOver(Math.max(now, due));
    if (!isDue()) return;
    asked = now;
    postMessage({ wanted: true });
  }, TICK_MS);
}

function arrived(bitmap, at) {
  asked = 0;
  if (!bitmap) return;
  const age = Date.now() - at;
  if (!busy && !(age > LATE_MS)) return take(bitmap, bitmap.width, bitmap.height, (Number.isFinite(at) ? at : Date.now()) / 1000);
  bitmap.close();
  counts.late += 1;
}

function report() {
  const { trips, since, ...numbers } = counts;
  const waits = unacked.length ? performance.now() - unacked[0] : 0;
  const mean = trips.reduce((sum, trip) => sum + trip, 0) / trips.length;   // NaN without any
  const trip = Math.max(mean || 0, waits > REPORT_MS ? waits : 0);
  counts = fresh();
  postMessage({ counts: {
    ...numbers, seconds: (counts.since - since) / 1000, round_trip_s: trip ? trip / 1000 : null,
    width: canvas?.width ?? 0, height: canvas?.height ?? 0,
  } });
}

setInterval(report, REPORT_MS);

onmessage = ({ data }) => {
  if (data.plan) obey(data.plan);
  if (data.readable) follow(data.readable);
  if (data.timer) tick();
  if ("bitmap" in data) arrived(data.bitmap, data.at);
  if (data.acked) acked(data.acked);
  if (data.unsent) unsent(data.unsent);
  if (data.reset) [unacked, sentSketch] = [[], null];
  if (data.stop) {
    reader?.cancel();
    close();
  }
};

// Worker: takes pictures at a steady rate, also while the page is hidden (page timers and animation
// frames stop there, a Worker's do not), makes them small and encodes them. Two at most under way.

const QUALITY = 0.8;
const LONG_SIDE = 640;
const MAX_UNDER_WAY = 2;

let canvas;
let period = 200;
let due = 0;
let underWay = 0;
let reader;
let ticker;

function fit(width, height) {
  const scale = Math.min(1, LONG_SIDE / Math.max(width, height));
  const [w, h] = [Math.round(width * scale), Math.round(height * scale)];
  if (canvas?.width !== w || canvas?.height !== h) canvas = new OffscreenCanvas(w, h);
}

async function encode(image, width, height) {
  const time = Date.now() / 1000;
  underWay += 1;
  try {
    fit(width, height);
    canvas.getContext("2d", { alpha: false }).drawImage(image, 0, 0, canvas.width, canvas.height);
    image.close();
    const blob = await canvas.convertToBlob({ type: "image/jpeg", quality: QUALITY });
    const jpeg = await blob.arrayBuffer();
    postMessage({ jpeg, time }, [jpeg]);
  } catch (error) {
    underWay -= 1;
    throw error;
  }
}

// Due times follow a fixed grid, so that the rate does not depend on the camera's own.
function isDue() {
  const now = performance.now();
  if (now < due || underWay >= MAX_UNDER_WAY) return false;
  due = Math.max(due + period, now - period);
  return true;
}

async function follow(readable) {
  reader = readable.getReader();
  for (;;) {
    const { value: frame, done } = await reader.read();
    if (done) return;
    if (isDue()) await encode(frame, frame.displayWidth, frame.displayHeight);
    else frame.close();
  }
}

// Browsers without MediaStreamTrackProcessor: this timer asks the page for a bitmap of its <video>.
function tick() {
  ticker = setInterval(() => { if (isDue()) postMessage({ wanted: true }); }, Math.min(period / 2, 50));
}

onmessage = ({ data }) => {
  if (data.fps) period = 1000 / data.fps;
  if (data.readable) follow(data.readable);
  if (data.timer) tick();
  if (data.bitmap) encode(data.bitmap, data.bitmap.width, data.bitmap.height);
  if (data.acked) underWay = Math.max(0, underWay - 1);
  if (data.reset) underWay = 0;
  if (data.stop) {
    clearInterval(ticker);
    reader?.cancel();
    close();
  }
};

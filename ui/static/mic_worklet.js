// AudioWorklet: gathers samples into pieces of 640 (40 ms at 16 kHz) of 16-bit integers.

const PIECE = 640;

class Pieces extends AudioWorkletProcessor {
  piece = new Int16Array(PIECE);
  filled = 0;

  process([[channel]]) {
    for (const sample of channel ?? []) {
      this.piece[this.filled++] = Math.max(-1, Math.min(1, sample)) * 32767;
      if (this.filled === PIECE) {
        this.port.postMessage(this.piece.buffer, [this.piece.buffer]);
        this.piece = new Int16Array(PIECE);
        this.filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("pieces", Pieces);

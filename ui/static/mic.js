// The microphone: 16 kHz PCM16 in pieces of 40 ms. Shown only where the server can listen.

const KIND = 2;

export class Microphone {
  constructor(connection) { this.connection = connection; }

  get on() { return Boolean(this.context); }

  async start() {
    const audio = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
    this.stream = await navigator.mediaDevices.getUserMedia({ audio });
    this.context = new AudioContext({ sampleRate: 16000 });
    await this.context.audioWorklet.addModule(new URL("./mic_worklet.js", import.meta.url));
    const node = new AudioWorkletNode(this.context, "pieces");
    node.port.onmessage = ({ data }) => this.connection.sendBinary(KIND, Date.now() / 1000, data);
    this.context.createMediaStreamSource(this.stream).connect(node);
  }

  stop() {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.context?.close();
    this.context = this.stream = null;
  }
}

// What an alert does beside being shown: two tones, words said aloud, the browser's notification.

import { byId, clock, icon, severity } from "./format.js";

const LOW_HZ = 660;
const HIGH_HZ = 880;
const TONE_S = 0.16;
const LOUDNESS = 0.25;
const KEPT = "sa-muted";

export class Alarm {
  // say(words): shows the user what is in the way
  constructor(say) {
    this.say = say;
    this.muted = localStorage.getItem(KEPT) === "1";
    for (const gesture of ["pointerup", "keydown"]) addEventListener(gesture, () => this.unlock(), { capture: true });
    byId("mute").addEventListener("click", () => this.toggle());
    byId("notify").addEventListener("click", () => this.allowNotices());
    this.noticesShown();
    this.muteShown();
  }

  // Browsers give sound only to a page that was pressed or typed in; it rests until it is needed.
  unlock() {
    if (this.audio || !window.AudioContext || navigator.userActivation?.isActive === false) return;
    this.audio = new AudioContext();
    this.audio.suspend();
  }

  alert(line) {
    const { key, word } = severity(line.severity);
    const words = line.text || line.rule;
    if (key === "urgent") byId("alert-live").textContent = `${word}, ${clock(line.wall)}: ${line.rule}. ${line.text}`;
    if (window.Notification?.permission === "granted") new Notification(`streamassist: ${word}`, { body: words, tag: `rule-${line.rule_id}` });
    if (this.muted) return;
    const actions = line.actions ?? [];
    if (actions.includes("sound")) this.sound(key === "urgent" ? [HIGH_HZ, LOW_HZ, HIGH_HZ, LOW_HZ] : [LOW_HZ, HIGH_HZ]);
    if (actions.includes("speech")) this.speak(`${word}. ${words}`);
  }

  async sound(tones) {
    if (!this.audio) return this.say("An alert has no sound yet: browsers allow it once you pressed something on this page.");
    await this.audio.resume();
    if (this.muted) return;
    tones.forEach((hertz, i) => this.tone(hertz, this.audio.currentTime + i * TONE_S));
    clearTimeout(this.resting);
    this.resting = setTimeout(() => this.audio.suspend(), 1000 * (tones.length + 2) * TONE_S);
  }

  // Swells and fades, so that nothing clicks.
  tone(hertz, start) {
    const [pitch, loudness] = [this.audio.createOscillator(), this.audio.createGain()];
    pitch.frequency.value = hertz;
    loudness.gain.setValueAtTime(0, start);
    loudness.gain.linearRampToValueAtTime(LOUDNESS, start + 0.02);
    loudness.gain.linearRampToValueAtTime(0, start + TONE_S);
    pitch.connect(loudness).connect(this.audio.destination);
    pitch.start(start);
    pitch.stop(start + TONE_S);
  }

  // The newest alert is said; older ones that still wait are in the conversation.
  speak(words) {
    if (!window.speechSynthesis) return this.say("This browser cannot say alerts aloud; they are shown, and can sound.");
    if (speechSynthesis.pending) speechSynthesis.cancel();
    const spoken = new SpeechSynthesisUtterance(words);
    spoken.lang = "en";
    speechSynthesis.speak(spoken);
  }

  hush() {
    window.speechSynthesis?.cancel();
    this.audio?.suspend();
  }

  toggle() {
    this.muted = !this.muted;
    localStorage.setItem(KEPT, this.muted ? "1" : "0");
    if (this.muted) this.hush();
    this.muteShown();
    byId("told").textContent = this.muted ? "Muted: alerts are shown without a sound." : "Sound is on: alerts may sound and be said aloud.";
  }

  muteShown() {
    const button = byId("mute");
    button.setAttribute("aria-pressed", String(this.muted));
    button.querySelector("span").textContent = this.muted ? "Muted" : "Mute";
    button.querySelector(".ico").replaceWith(icon(this.muted ? "hush" : "sound"));
  }

  async allowNotices() {
    if (!window.Notification) return this.say("This browser shows no notifications on this page; keep it in view, or open it over https.");
    if (await Notification.requestPermission() !== "granted") this.say("The browser does not allow notifications; allow them by the sign in the address bar.");
    this.noticesShown();
  }

  noticesShown() {
    const on = window.Notification?.permission === "granted";
    byId("notify").setAttribute("aria-pressed", String(on));
    byId("notify").querySelector("span").textContent = on ? "Notifications on" : "Notify me";
  }
}

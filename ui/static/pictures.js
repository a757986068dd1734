// The pictures that an answer, an alert or a rule rests on, as long as the server holds them.

import { make, streamTime } from "./format.js";

const MAX_THUMBS = 4;

export class Pictures {
  constructor(token) { this.token = token; }

  // At most so many of them, spread over all; evidence: [{t, frame}].
  thumbs(evidence, most = MAX_THUMBS) {
    const step = Math.max(1, evidence.length / most);
    const picked = evidence.filter((_, i) => Math.floor(i / step) !== Math.floor((i - 1) / step)).slice(0, most);
    return make("div", { class: "thumbs" }, ...picked.map(({ t, frame }) => this.one(t, frame)));
  }

  one(t, frame) {
    const src = `/thumb?frame=${encodeURIComponent(frame)}&token=${encodeURIComponent(this.token)}`;
    const image = make("img", { src, alt: `The picture at ${streamTime(t)}`, loading: "lazy" });
    const figure = make("figure", {}, image, make("figcaption", { text: streamTime(t) }));
    image.addEventListener("error", () => figure.remove());
    return figure;
  }
}

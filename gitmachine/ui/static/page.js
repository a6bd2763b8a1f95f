// Keeps an open page as the server would show it now, and appends what running commands write.
// The server renders everything: this fetches the page again and changes what differs, element by element, so that
// focus, scroll positions and opened details stay. Without it the page works all the same, and does not move.

import { change } from "./morph.js";

const MAX_CHARACTERS = 200_000;
const source = document.body.dataset.pulse;
const state = document.getElementById("link-state");
let stream = null;
let loading = false;
let again = false;

function load() {
  if (loading) {
    again = true;
    return;
  }
  loading = true;
  const request = new XMLHttpRequest();
  request.open("GET", location.href);
  request.responseType = "document"; // parsed without running anything in it
  request.onloadend = () => {
    loading = false;
    const fresh = request.response?.querySelector("[data-live]");
    if (request.status === 200 && fresh) change(document.querySelector("[data-live]"), fresh);
    document.dispatchEvent(new Event("changed"));
    if (again) {
      again = false;
      load();
    }
  };
  request.send();
}

const waiting = new Map(); // output that came before its place on the page did

function append({ call, first, pieces }) {
  if (first) {
    waiting.delete(call);
    document.getElementById(`output-${call}`)?.replaceChildren();
  }
  waiting.set(call, [...(waiting.get(call) ?? []), ...pieces]);
  flush();
}

function flush() {
  for (const [call, pieces] of waiting) {
    const place = document.getElementById(`output-${call}`);
    if (!place) continue;
    const atEnd = place.scrollHeight - place.scrollTop - place.clientHeight < 40;
    for (const [text, spelled] of pieces) {
      if (spelled) {
        const span = document.createElement("span");
        span.className = "unseen";
        span.textContent = text;
        place.append(span);
      } else {
        place.append(text);
      }
    }
    waiting.set(call, []);
    for (let excess = place.textContent.length - MAX_CHARACTERS; excess > 0; ) {
      excess -= place.firstChild.textContent.length;
      place.firstChild.remove();
    }
    if (atEnd) place.scrollTop = place.scrollHeight;
  }
}

function listen() {
  stream = new EventSource(source);
  stream.addEventListener("ready", () => {
    state.textContent = "live";
    state.className = "link-state on";
    load(); // what happened while nobody listened
  });
  stream.addEventListener("change", load);
  stream.addEventListener("output", (event) => append(JSON.parse(event.data)));
  stream.onerror = () => {
    state.textContent = "not connected";
    state.className = "link-state off";
  };
}

document.addEventListener("changed", flush);
if (source) {
  listen();
  // A browser keeps few connections to one host: a page that nobody sees gives its own back.
  document.addEventListener("visibilitychange", () => {
    stream.close();
    if (!document.hidden) listen();
  });
}

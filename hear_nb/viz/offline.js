// What a saved page has instead of a kernel: its data, its sounds, and a model that a widget's front end cannot tell from a live one.
// Names and labels come from strangers: they reach the page through textContent, fillText and value only.
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);

function add(parent, tag, name = "", text = "") {
  const node = parent.appendChild(document.createElement(tag));
  if (name) node.className = name;
  if (text !== "") node.textContent = text;
  return node;
}

function bytesOf(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

function numbersOf(base64, Type) { return new Type(bytesOf(base64).buffer); }

const arrived = new Map(), awaited = new Map();  // sounds that lie beside the page: those that are here, and those that are on their way
window.hearSound = (number, base64) => {
  arrived.set(number, bytesOf(base64));
  if (arrived.size > 50) arrived.delete(arrived.keys().next().value);
};

function loaded(number) {  // a promise of a sound beside the page; it is a script, because a page on a disk may read no other file
  return new Promise((done, failed) => {
    const script = document.createElement("script"), source = `${data.folder}/${number}.js`;
    const missing = () => failed(new Error(`${decodeURIComponent(source)} is missing: the folder belongs beside this page`));
    script.onerror = missing;
    script.onload = () => { script.remove(); if (arrived.has(number)) done(arrived.get(number)); else missing(); };
    script.src = source;
    document.head.append(script);
  }).finally(() => awaited.delete(number));
}

function soundOf(number) {  // its bytes, at once where they are in the page, or a promise of them
  if (data.sounds === "inside") {
    const here = $(`sound-${number}`);
    if (here) return bytesOf(here.textContent);
    if (document.readyState !== "loading") throw new Error("this page has no sound for it");
    return new Promise((done) => document.addEventListener("DOMContentLoaded", done, { once: true })).then(() => soundOf(number));
  }
  if (arrived.has(number)) return arrived.get(number);
  if (!awaited.has(number)) awaited.set(number, loaded(number));
  return awaited.get(number);
}

async function samplesOf(bytes) {  // (samples,) at 16 kHz
  const context = new OfflineAudioContext(1, 1, 16000);
  const sound = await context.decodeAudioData(bytes.slice().buffer);
  return sound.getChannelData(0);
}

class StillModel {  // anywidget's model; what is sent to the kernel goes to `answer`
  constructor(state, answer = () => {}) { Object.assign(this, { state, answer, listeners: {} }); }
  get(name) { return this.state[name]; }
  set(name, value) {
    if (this.state[name] === value) return;
    this.state[name] = value;
    this.tell(`change:${name}`);
  }
  update(state) {  // all at once, and then their listeners
    const changed = Object.keys(state).filter((name) => this.state[name] !== state[name]);
    Object.assign(this.state, state);
    changed.forEach((name) => this.tell(`change:${name}`));
  }
  on(name, f) { (this.listeners[name] ??= new Set()).add(f); }
  off(name, f) { this.listeners[name]?.delete(f); }
  tell(name, ...args) { [...this.listeners[name] ?? []].forEach((f) => f(...args)); }
  save_changes() {}
  send(message) { this.answer(message, (reply, buffers) => this.tell("msg:custom", reply, buffers)); }
}

function playerModel(state, failed) {  // of the player: sounds are those of this page
  return new StillModel(state, (message, reply) => {
    if (message.type !== "sound") return;
    const track = state.tracks.find((t) => t.id === message.id);
    const answer = (bytes) => reply({ type: "sound", id: message.id, mime: "audio/mpeg" }, [bytes]);
    try {
      const bytes = soundOf(track.sound);
      if (bytes instanceof Promise) bytes.then(answer, failed); else answer(bytes);  // at once, or a phone would not play it
    } catch (e) { failed(e); }
  });
}

const dark = matchMedia("(prefers-color-scheme: dark)");
const themed = [];  // who is told that the theme has changed

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  $("theme").textContent = name === "dark" ? "☀" : "☾";
  $("theme").setAttribute("aria-label", name === "dark" ? "light theme" : "dark theme");
  themed.forEach((f) => f());
}

function startPage() {
  $("title").textContent = data.title;
  $("note").textContent = data.note;
  setTheme(dark.matches ? "dark" : "light");
  dark.addEventListener("change", () => setTheme(dark.matches ? "dark" : "light"));
  $("theme").onclick = () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
}

// A log-mel picture, its sound and a cursor; below it tokens, above it other sounds to compare with. Text goes through
// textContent or fillText only. The kernel is asked for a sound when it is to be heard, and not before. Colours are CSS variables,
// from figures/palette.py.
const LEFT = 46, RIGHT = 10, AXIS = 34, STRIP = 20, GAP = 6;
const SHORTEST = .1;  // seconds: 20 ms of a token are a mere tick
const STEPS = [.01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600];

function add(parent, tag, name, text = "") {
  const node = parent.appendChild(document.createElement(tag));
  node.className = name;
  node.textContent = text;
  return node;
}

function render({ model, el }) {
  const root = add(el, "div", "hear-player");
  const bar = add(root, "div", "hear-bar");
  const button = add(bar, "button", "hear-play", "▶ Play");
  const tracks = add(bar, "span", "hear-tracks");
  const title = add(bar, "span", "hear-title");
  const readout = add(bar, "span", "hear-readout");
  const plot = add(root, "div", "hear-plot");
  const canvas = add(plot, "canvas", "hear-canvas");
  const cursor = add(plot, "div", "hear-cursor");
  const audio = add(root, "audio", "hear-audio");
  plot.tabIndex = 0;
  let pictures = [], sounds = {}, wanted = null, position = 0, stop = null, frame = null, gone = false;

  const get = (name) => model.get(name);
  const colour = (name) => getComputedStyle(root).getPropertyValue("--hear-" + name).trim();
  const current = () => get("tracks")[get("track")];
  const now = () => (audio.src ? audio.currentTime : position);  // before the sound is here, the cursor can be moved all the same
  const seconds = () => Math.max(...get("tracks").map((t) => t.seconds), 1e-3);
  const width = () => Math.max(plot.clientWidth - LEFT - RIGHT, 1);
  const x = (s) => LEFT + (s / seconds()) * width();
  const top = (k) => k * (get("height") + GAP);
  const bottom = () => top(get("tracks").length) - GAP;
  const height = () => bottom() + (get("strip").length ? GAP + STRIP : 0) + AXIS;
  const at = (e) => {
    const box = plot.getBoundingClientRect(), s = ((e.clientX - box.left - LEFT) / width()) * seconds();
    return [Math.min(Math.max(s, 0), seconds()), e.clientY - box.top];
  };

  function axes(c) {
    const hz = get("hz"), row = (f) => hz.findIndex((g) => g >= f), tall = get("height");
    c.textAlign = "right";
    c.textBaseline = "middle";
    get("tracks").forEach((t, k) => [100, 500, 1000, 2000, 4000].forEach((f) =>
      c.fillText(f < 1000 ? f : f / 1000 + "k", LEFT - 6, top(k) + tall * (1 - (row(f) + .5) / hz.length))));
    get("tracks").forEach((t, k) => c.fillText("Hz", LEFT - 6, top(k) + 6));
    c.textAlign = "center";
    c.textBaseline = "top";
    const step = STEPS.find((s) => (s / seconds()) * width() > 48) ?? 7200, y = height() - AXIS;
    for (let n = 0; n * step <= seconds(); n++) {
      c.fillRect(x(n * step), y, 1, 4);
      c.fillText(+(n * step).toFixed(2), x(n * step), y + 6);
    }
    c.fillText("time (s)", LEFT + width() / 2, y + 19);
  }

  function paint(c, t, k) {  // one track's picture, what is lit on it, and its name
    const tall = get("height"), y = top(k), lit = get("highlight"), [first, hop] = get("frame");
    c.save();
    c.beginPath(); c.rect(LEFT, y, width(), tall); c.clip();
    if (pictures[k]) c.drawImage(pictures[k], x(t.start), y, x(t.stop) - x(t.start), tall);
    if (lit.length) {
      c.fillStyle = colour("veil");
      const edge = (i) => Math.round(x(first + i * hop));  // whole pixels, or seams would show
      lit.forEach((v, i) => { c.globalAlpha = .8 * (1 - v); c.fillRect(edge(i), y, edge(i + 1) - edge(i), tall); });
      c.globalAlpha = 1; c.strokeStyle = colour("lit"); c.lineWidth = 2; c.beginPath();
      lit.forEach((v, i) => [0, 1].forEach((j) => c.lineTo(x(first + (i + j) * hop), y + (tall - 3) * (1 - v) + 2)));
      c.stroke();
    }
    c.strokeStyle = colour("mark"); c.lineWidth = 1.5; c.setLineDash([4, 3]);
    get("marks").forEach((s) => { c.beginPath(); c.moveTo(x(s), y); c.lineTo(x(s), y + tall); c.stroke(); });
    if (get("tracks").length > 1) {
      c.textAlign = "left"; c.textBaseline = "top"; c.font = "bold 12px sans-serif"; c.shadowColor = colour("veil"); c.shadowBlur = 4;
      c.fillStyle = colour(k === get("track") ? "mark" : "quiet");
      c.fillText((k === get("track") ? "♪ " : "") + t.name, LEFT + 6, y + 5);
    }
    c.restore();
  }

  function tokens(c) {
    const y = bottom() + GAP;
    c.font = "11px sans-serif"; c.textAlign = "center"; c.textBaseline = "middle";
    for (const [start, length, label, colour, ink] of get("strip")) {
      const a = x(start), w = x(start + length) - a;
      c.fillStyle = colour;
      c.fillRect(a, y, Math.max(w - 1, .5), STRIP);
      c.fillStyle = ink;
      if (c.measureText(label).width < w - 2) c.fillText(label, a + w / 2, y + STRIP / 2);
    }
  }

  function draw() {
    if (gone || !plot.clientWidth) return;
    const dense = window.devicePixelRatio || 1, c = canvas.getContext("2d");
    plot.style.height = height() + "px";
    canvas.width = plot.clientWidth * dense;
    canvas.height = height() * dense;
    c.scale(dense, dense);
    if (get("tracks").length) {
      c.font = "11px sans-serif";
      c.fillStyle = getComputedStyle(root).color;
      axes(c);
      get("tracks").forEach((t, k) => paint(c, t, k));
      tokens(c);
    }
    cursor.style.height = bottom() + (get("strip").length ? GAP + STRIP : 0) + "px";
    move();
  }

  function move() {
    cursor.style.left = x(now()) + "px";
    if (stop !== null && audio.currentTime >= stop) { audio.pause(); end(); }
    if (!audio.paused && !gone) frame = requestAnimationFrame(move);
  }

  function end() {
    stop = null;
    model.set("ended", get("ended") + 1);
    model.save_changes();
  }

  function play(from = null, until = null) {  // asks for the sound first if it is not here
    const t = current();
    if (!t) return;
    if (!sounds[t.id]) {
      wanted = [t.id, from, until];
      button.textContent = "… waiting for the sound";
      return model.send({ type: "sound", id: t.id });
    }
    if (from === null) from = now() >= t.seconds - .01 ? 0 : now();
    wanted = null;
    seek(from);
    stop = until;
    audio.play().catch(() => { button.textContent = "▶ Play"; });  // the browser wants a click first, or it was paused at once
  }

  const tokenAt = (s) => get("strip").find(([start, length]) => s >= start && s < start + length);

  function heardAs([start, length]) {  // a token's seconds, and a little around it if it is very short
    const more = Math.max(SHORTEST - length, 0) / 2;
    return [Math.max(start - more, 0), Math.min(start + length + more, current().seconds)];
  }

  function choose(k) {
    const [from, on] = [now(), !audio.paused];
    audio.pause();
    model.set("track", k);
    model.save_changes();
    seek(from);
    if (on) play(from);
  }

  function label() {
    tracks.replaceChildren();
    if (get("tracks").length > 1) get("tracks").forEach((t, k) => {
      const b = add(tracks, "button", k === get("track") ? "hear-track hear-on" : "hear-track", t.name);
      b.title = "hear this one, from the same moment";
      b.onclick = () => choose(k);
    });
    title.textContent = get("title");
    button.style.visibility = get("tracks").length ? "visible" : "hidden";
    plot.style.display = get("tracks").length ? "" : "none";
    plot.setAttribute("aria-label", "log-mel spectrogram of " + get("title") + "; space plays, arrow keys move");
    draw();
  }

  async function fresh() {  // other sounds than before
    audio.pause();
    audio.removeAttribute("src");
    audio.load();
    Object.values(sounds).forEach(URL.revokeObjectURL);
    [sounds, pictures, wanted, position, stop] = [{}, [], null, 0, null];
    button.textContent = "▶ Play";
    label();
    const shown = get("tracks");
    const made = await Promise.all(shown.map(async (t) => {  // a PNG from the kernel; a saved page promises what it is still computing
      const picture = await t.picture;
      return createImageBitmap(picture instanceof ImageData ? picture : new Blob([picture], { type: "image/png" }));
    }));
    if (shown === get("tracks")) { pictures = made; draw(); }
  }

  function answer(message, buffers) {
    if (message.type === "play") { if (el.isConnected) play(message.start, message.stop); }
    else if (message.type === "pause") audio.pause();
    else if (message.type === "sound" && get("tracks").some((t) => t.id === message.id)) {
      sounds[message.id] ??= URL.createObjectURL(new Blob([buffers[0]], { type: message.mime ?? "audio/wav" }));
      if (wanted?.[0] === message.id) play(wanted[1], wanted[2]);
    }
  }

  function seek(s) {
    const source = sounds[current().id];
    [position, stop] = [s, null];
    if (wanted) wanted[1] = s;
    if (!source) audio.removeAttribute("src");
    else if (audio.src !== source) audio.src = source;
    if (source) audio.currentTime = s;
    move();
  }

  button.onclick = () => (audio.paused ? play() : audio.pause());
  plot.onkeydown = (e) => {
    const by = { ArrowLeft: -.2, ArrowRight: .2 }[e.key];
    if (e.key === " ") button.onclick(); else if (by) seek(Math.min(Math.max(now() + by, 0), seconds())); else return;
    e.preventDefault(); e.stopPropagation();
  };
  plot.onpointerdown = (e) => {
    if (!current()) return;
    const [s, y] = at(e), k = Math.min(Math.floor(y / (get("height") + GAP)), get("tracks").length - 1);
    if (k !== get("track") && y < bottom()) choose(k);
    const run = y >= bottom() && tokenAt(s);
    model.set("clicked", s);
    model.save_changes();
    if (run) play(...heardAs(run));
    else seek(s);
  };
  plot.onpointermove = (e) => {
    if (!current()) return;
    const [s, y] = at(e), hz = get("hz"), row = Math.floor((1 - (y % (get("height") + GAP)) / get("height")) * hz.length);
    const run = tokenAt(s);
    const pitch = y < bottom() && hz[row] ? ` · ${Math.round(hz[row])} Hz` : "";
    readout.textContent = `${s.toFixed(2)} s${pitch}${run ? ` · token ${run[2]}` : ""}`;
  };
  plot.onpointerleave = () => { readout.textContent = ""; };
  audio.onplay = () => {  // one sound at a time on a page
    document.querySelectorAll(".hear-audio").forEach((other) => { if (other !== audio) other.pause(); });
    button.textContent = "❚❚ Pause";
    move();
  };
  audio.onpause = () => { button.textContent = "▶ Play"; };
  audio.onended = () => { move(); end(); };
  audio.onseeked = move;
  const observers = [["change:tracks", fresh], ["change:track", label], ["change:title", label], ["change:strip", draw],
    ["change:highlight", draw], ["change:marks", draw], ["change:height", draw], ["msg:custom", answer]];
  observers.forEach(([name, f]) => model.on(name, f));
  const resized = new ResizeObserver(draw);
  resized.observe(plot);
  fresh();
  return () => {
    gone = true;
    cancelAnimationFrame(frame);
    observers.forEach(([name, f]) => model.off(name, f));
    resized.disconnect();
    audio.pause();
    Object.values(sounds).forEach(URL.revokeObjectURL);
  };
}

export default { render };

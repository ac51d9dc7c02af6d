// The map of a saved page: dots, and how one points at them, hears them, filters and catches them.
const n = data.count, columns = data.columns, STEP = .25;
const clip = data.clip ? numbersOf(data.clip, Int32Array) : null;     // of each dot: the number of its sound; none: its own
const time = data.time ? numbersOf(data.time, Float32Array) : null;   // of each dot that is a moment in a sound: seconds
const seconds = numbersOf(data.seconds, Float32Array);                // of each sound
const near = data.near && { ids: numbersOf(data.near.ids, Int32Array), away: numbersOf(data.near.away, Float32Array), k: data.near.k };
const magma = bytesOf(data.mel), viridis = bytesOf(data.number);
const spaces = data.spaces.map((s) => ({ name: s.name, xy: numbersOf(s.xy, Float32Array) }));
for (const c of columns) {
  if (c.codes) c.codes = numbersOf(c.codes, Int32Array);
  if (c.numbers) c.numbers = numbersOf(c.numbers, Float64Array);
}
const fileColumn = columns.findIndex((c) => c.name === "file");
const soundNumber = (i) => (clip ? clip[i] : i);
const text = (c, i) => (c.values ? c.values[c.codes ? c.codes[i] : i] : Number.isNaN(c.numbers[i]) ? "" : String(c.numbers[i]));
const format = (v) => (Number.isInteger(v) ? String(v) : String(+v.toPrecision(5)));
const short = (c, i) => (c.numbers && !c.values ? (Number.isNaN(c.numbers[i]) ? "" : format(c.numbers[i])) : text(c, i));  // to be read
const clock = (s) => (s < 60 ? `${+s.toFixed(2)} s` : `${Math.floor(s / 3600) ? Math.floor(s / 3600) + ":" : ""}${
  String(Math.floor(s / 60) % 60).padStart(s >= 3600 ? 2 : 1, "0")}:${String(Math.floor(s % 60)).padStart(2, "0")}`);

function nameOf(i) {
  const value = (name) => columns.find((c) => c.name === name);
  const file = fileColumn < 0 ? `sound ${soundNumber(i) + 1}` : text(columns[fileColumn], i).split(/[/\\]/).pop();
  const start = value("start")?.numbers?.[i];
  const from = time ? time[i] : start;
  return from === undefined || Number.isNaN(from) ? file : `${file} · ${clock(from)}`;
}

// What is shown, and what is not

let colour = Math.max(columns.findIndex((c) => c.name === data.color), 0);
let space = 0, xy = spaces[0].xy.slice(), grid = null;
let view = { x: 0, y: 0, scale: 1 };
let classes = new Set(), range = null, query = "", haystack = null;
let chosen = [], queue = [], playing = 0, current = -1, hover = -1, target = -1;
const passes = new Uint8Array(n).fill(1), isChosen = new Uint8Array(n);

function matches(i) {
  const c = columns[colour];
  if (c && classes.size && !classes.has(c.groups[i])) return false;
  if (c && range && !(c.numbers[i] >= range[0] && c.numbers[i] <= range[1])) return false;
  return !query || haystack[i].includes(query);
}

function filter() {
  if (query && !haystack) haystack = Array.from({ length: n }, (_, i) => columns.map((c) => text(c, i)).join("\n").toLowerCase());
  let count = 0;
  for (let i = 0; i < n; i++) count += passes[i] = matches(i) ? 1 : 0;
  const some = query || classes.size || range;
  $("found").textContent = some ? `${count.toLocaleString("en")} of ${n.toLocaleString("en")}` : "";
  paint();
}

function found() { return Array.from({ length: n }, (_, i) => i).filter((i) => passes[i]); }

// The dots

const dots = $("dots"), over = $("over"), box = $("map");
let wide = 0, tall = 0, dense = 1, wanted = false, sprites = null, spriteKey = "", image = null;
const variable = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const perUnit = () => Math.min(wide, tall) / 2.16 * view.scale;  // pixels
const screen = (i) => [wide / 2 + (xy[2 * i] - view.x) * perUnit(), tall / 2 - (xy[2 * i + 1] - view.y) * perUnit()];
const radius = () => (n < 1000 ? 5.5 : n < 5000 ? 4 : n < 30000 ? 2.8 : n < 300000 ? 2 : 1.2) * Math.min(Math.max(view.scale, .6) ** .35, 2.5);

function shape(c, kind, x, y, r) {  // after eight colours come other shapes
  c.beginPath();
  if (kind % 4 === 0) c.arc(x, y, r, 0, 7);
  else if (kind % 4 === 1) c.rect(x - r * .86, y - r * .86, r * 1.72, r * 1.72);
  else if (kind % 4 === 2) { c.moveTo(x, y - r * 1.25); c.lineTo(x + r * 1.1, y + r * .85); c.lineTo(x - r * 1.1, y + r * .85); c.closePath(); }
  else { c.moveTo(x, y - r * 1.25); c.lineTo(x + r * 1.25, y); c.lineTo(x, y + r * 1.25); c.lineTo(x - r * 1.25, y); c.closePath(); }
}

const themeColour = (hex) => (hex === "#000000" && document.documentElement.dataset.theme === "dark" ? "#f2f2f2" : hex);

function shades() {  // [colour, shape] of each group of the coloured column, and last that of a dot that is out of the filter
  const c = columns[colour];
  if (!c) return [["#0072B2", 0]];
  if (c.numbers && c.ramp) return Array.from({ length: 64 }, (_, k) => [`rgb(${viridis.slice(12 * k, 12 * k + 3).join(",")})`, 0]).concat([[data.missing, 0]]);
  return c.names.map((_, k) => [themeColour(c.colours[k]), 0]);
}

function makeSprites() {
  const r = radius() * dense, key = [r.toFixed(1), colour, document.documentElement.dataset.theme, dense].join();
  if (key === spriteKey) return;
  const size = 2 * Math.ceil(r * 1.25 + 1.5) + 1, canvas = document.createElement("canvas");
  canvas.width = canvas.height = size;
  const c = canvas.getContext("2d", { willReadFrequently: true });
  sprites = [...shades(), [variable("--dim"), 0]].map(([fill, kind], k, all) => {
    const dim = k === all.length - 1;
    c.clearRect(0, 0, size, size);
    shape(c, kind, size / 2, size / 2, dim ? r * .75 : r);
    c.fillStyle = fill;
    c.fill();
    if (!dim && r > 2) { c.strokeStyle = variable("--edge"); c.lineWidth = Math.min(r / 5, 1.2); c.stroke(); }
    const pixels = c.getImageData(0, 0, size, size).data, runs = [];  // only the pixels that are not empty
    for (let i = 0; i < size * size; i++) {
      if (pixels[4 * i + 3]) runs.push(i % size - (size >> 1), Math.floor(i / size) - (size >> 1), ...pixels.subarray(4 * i, 4 * i + 4));
    }
    return Int16Array.from(runs);
  });
  spriteKey = key;
}

function blend(out, sprite, x, y, w, h) {
  for (let k = 0; k < sprite.length; k += 6) {
    const px = x + sprite[k], py = y + sprite[k + 1];
    if (px < 0 || py < 0 || px >= w || py >= h) continue;
    const at = 4 * (py * w + px), a = sprite[k + 5] / 255;
    out[at] += (sprite[k + 2] - out[at]) * a;
    out[at + 1] += (sprite[k + 3] - out[at + 1]) * a;
    out[at + 2] += (sprite[k + 4] - out[at + 2]) * a;
  }
}

function drawDots() {  // pixel by pixel into one image: 100,000 dots take some hundredths of a second, without a graphics card
  const w = dots.width, h = dots.height, c = dots.getContext("2d");
  if (!w || !h) return;
  makeSprites();
  if (image?.width !== w || image.height !== h) image = c.createImageData(w, h);
  const back = getComputedStyle(box).backgroundColor.match(/\d+/g);
  new Uint32Array(image.data.buffer).fill(0xff000000 | back[2] << 16 | back[1] << 8 | back[0]);
  const k = perUnit() * dense, dim = sprites[sprites.length - 1], groups = columns[colour]?.groups, any = chosen.length;
  for (const lit of [0, 1]) {
    for (let i = 0; i < n; i++) {
      if ((passes[i] && (!any || isChosen[i])) != lit) continue;
      const x = Math.round(w / 2 + (xy[2 * i] - view.x) * k), y = Math.round(h / 2 - (xy[2 * i + 1] - view.y) * k);
      if (x < -20 || y < -20 || x > w + 20 || y > h + 20) continue;
      blend(image.data, lit ? sprites[groups ? groups[i] : 0] : dim, x, y, w, h);
    }
  }
  c.putImageData(image, 0, 0);
}

function drawOver() {  // rings and the lasso
  const c = over.getContext("2d"), r = radius();
  c.setTransform(dense, 0, 0, dense, 0, 0);
  c.clearRect(0, 0, wide, tall);
  const ring = (i, extra, width, style) => {
    if (i < 0) return;
    c.beginPath(); c.arc(...screen(i), r + extra, 0, 7);
    c.lineWidth = width; c.strokeStyle = style; c.stroke();
  };
  const all = shades(), groups = columns[colour]?.groups;
  for (const i of new Set([hover, target, current])) {
    if (i < 0) continue;
    const [fill, kind] = all[groups ? groups[i] : 0];
    shape(c, kind, ...screen(i), r + 1.5);
    c.fillStyle = fill; c.fill();
  }
  ring(hover, 2.5, 1.5, variable("--ring"));
  if (document.activeElement === box) ring(target, 5, 2, variable("--focus"));
  ring(current, 3, 2.5, variable("--ring"));
  ring(current, 7, 2, variable("--accent"));
  if (path.length > 1) {
    c.beginPath();
    path.forEach(([x, y]) => c.lineTo(x, y));
    c.closePath();
    c.fillStyle = "#0072B222"; c.fill();
    c.setLineDash([5, 4]); c.lineWidth = 1.5; c.strokeStyle = variable("--focus"); c.stroke(); c.setLineDash([]);
  }
}

function paint() {
  if (wanted) return;
  wanted = true;
  requestAnimationFrame(() => { wanted = false; drawDots(); drawOver(); });
}

function resize() {
  [wide, tall, dense] = [box.clientWidth, box.clientHeight, Math.min(window.devicePixelRatio || 1, n > 50000 ? 1.5 : 3)];
  for (const canvas of [dots, over]) [canvas.width, canvas.height] = [Math.round(wide * dense), Math.round(tall * dense)];
  paint();
}

// Where the dots are

function sortIntoGrid() {  // cells of the square from -1 to 1, so that the dot below the mouse is found at once
  const side = Math.max(1, Math.ceil(Math.sqrt(n / 2))), starts = new Int32Array(side * side + 1), order = new Int32Array(n);
  const cell = (v) => Math.min(Math.max(Math.floor((v + 1) / 2 * side), 0), side - 1);
  for (let i = 0; i < n; i++) starts[cell(xy[2 * i + 1]) * side + cell(xy[2 * i]) + 1]++;
  for (let k = 0; k < side * side; k++) starts[k + 1] += starts[k];
  const next = starts.slice();
  for (let i = 0; i < n; i++) order[next[cell(xy[2 * i + 1]) * side + cell(xy[2 * i])]++] = i;
  grid = { side, starts, order, cell };
}

function dotAt(x, y, reach) {  // the nearest dot that is not filtered away, or -1
  const k = perUnit(), gx = view.x + (x - wide / 2) / k, gy = view.y - (y - tall / 2) / k, r = reach / k;
  const { side, starts, order, cell } = grid;
  let best = -1, least = r * r;
  for (let row = cell(gy - r); row <= cell(gy + r); row++) {
    for (let at = starts[row * side + cell(gx - r)], end = starts[row * side + cell(gx + r) + 1]; at < end; at++) {
      const i = order[at], d = (xy[2 * i] - gx) ** 2 + (xy[2 * i + 1] - gy) ** 2;
      if (d < least && passes[i] && (!chosen.length || isChosen[i])) { least = d; best = i; }
    }
  }
  return best;
}

function zoom(by, x = wide / 2, y = tall / 2) {
  const before = perUnit(), scale = Math.min(Math.max(view.scale * by, .5), 2000);
  const gx = view.x + (x - wide / 2) / before, gy = view.y - (y - tall / 2) / before;
  view.scale = scale;
  const k = perUnit();
  Object.assign(view, { x: gx - (x - wide / 2) / k, y: gy + (y - tall / 2) / k });
  paint();
}

function pan(dx, dy) {
  view.x = Math.min(Math.max(view.x - dx / perUnit(), -1.5), 1.5);
  view.y = Math.min(Math.max(view.y + dy / perUnit(), -1.5), 1.5);
  paint();
}

function show(i) {  // brings a dot into sight
  const [x, y] = screen(i);
  if (x < 20 || y < 20 || x > wide - 20 || y > tall - 20) Object.assign(view, { x: xy[2 * i], y: xy[2 * i + 1] });
}

function chooseSpace(k) {  // the dots wander from one map to the other
  [...$("spaces").children].forEach((b, j) => b.setAttribute("aria-pressed", j === k));
  const from = xy.slice(), to = spaces[k].xy, began = performance.now();
  const still = n > 50000 || matchMedia("(prefers-reduced-motion: reduce)").matches;
  space = k;
  const step = (now) => {
    if (space !== k) return;
    const t = still ? 1 : Math.min((now - began) / 700, 1), share = t * t * (3 - 2 * t);
    for (let i = 0; i < 2 * n; i++) xy[i] = from[i] + (to[i] - from[i]) * share;
    if (t < 1) requestAnimationFrame(step); else { xy.set(to); sortIntoGrid(); }
    paint();
  };
  requestAnimationFrame(step);
}

// To hear

const state = { tracks: [], track: 0, title: "", strip: [], highlight: [], marks: [], clicked: null, ended: 0, height: 170, hz: rowHz, frame: data.frame };
const model = playerModel(state, problem);
Player.render({ model, el: $("player") });
model.on("change:ended", next);

function problem(e) {
  $("problem").textContent = e ? e.message || String(e) : "";
  $("problem").hidden = !e;
  if (e && queue.length) next();
}

const pictures = new Map();  // of the last sounds
function pictureOf(number) {
  if (!pictures.has(number)) {
    const made = Promise.resolve(soundOf(number)).then(samplesOf).then((x) => melPicture(x, magma));
    pictures.set(number, made);
    if (pictures.size > 20) pictures.delete(pictures.keys().next().value);
  }
  return pictures.get(number);
}

function hear(i) {
  const number = soundNumber(i), at = time ? time[i] : null;
  [current, target] = [i, i];
  problem(null);
  show(i);
  tell(i);
  $("empty").hidden = true;
  $("player").hidden = data.sounds === "none";
  if (data.sounds !== "none") {
    let picture;
    try { picture = pictureOf(number); } catch (e) { return problem(e); }
    picture.catch((e) => problem(e.name === "EncodingError" ? new Error("this browser cannot decode the sound") : e));
    model.update({ track: 0, title: nameOf(i), marks: at === null ? [] : [at],
      tracks: [{ id: `${number}.${Math.random()}`, sound: number, name: nameOf(i), seconds: seconds[number], start: -.005,
        picture: picture.catch(() => new ImageData(1, 1)),  // nothing to see where nothing is to be heard
        stop: (Math.floor(seconds[number] * 100) + .5) / 100 }] });
    const [from, until] = at === null ? [0, null] : [Math.max(0, at - .25), at + .25];
    model.tell("msg:custom", { type: "play", start: from, stop: until });
  }
  paint();
}

function tell(i) {  // beside the map: what is known of a dot
  $("facts").replaceChildren();
  for (const c of columns) {
    if (text(c, i) === "") continue;
    add($("facts"), "dt", "", c.name);
    add($("facts"), "dd", "", short(c, i));
  }
  if (time) { add($("facts"), "dt", "", "time"); add($("facts"), "dd", "", `${time[i].toFixed(2)} s`); }
  $("near").replaceChildren();
  $("said").textContent = `${nameOf(i)}${columns[colour] ? ", " + text(columns[colour], i) : ""}`;
  document.querySelectorAll("#rows tr").forEach((row) => row.classList.toggle("now", +row.dataset.dot === i));
  if (!near) return;
  add($("near"), "h2", "", "Nearest in all dimensions");
  const list = add($("near"), "ol");
  for (let k = 0; k < near.k; k++) {
    const j = near.ids[i * near.k + k];
    if (j < 0) continue;
    const button = add(add(list, "li"), "button");
    button.type = "button";
    swatch(button, j);
    add(button, "span", "name", nameOf(j)).title = nameOf(j);
    add(button, "small", "", columns[colour] ? short(columns[colour], j) : "");
    add(button, "small", "", near.away[i * near.k + k].toFixed(1)).title = "distance";
    button.onclick = () => { queue = []; hear(j); label(); };
  }
}

function swatch(parent, i, group = columns[colour]?.groups?.[i] ?? 0) {
  const canvas = add(parent, "canvas", "swatch"), c = canvas.getContext("2d"), [fill, kind] = shades()[group];
  canvas.width = canvas.height = 24;
  shape(c, kind, 12, 12, 8.5);
  c.fillStyle = fill; c.fill();
}

// The legend

function legend() {
  const root = $("legend"), c = columns[colour];
  root.replaceChildren();
  if (!c) return;
  root.setAttribute("aria-label", `${c.name}: click to show only these`);
  root.classList.toggle("some", classes.size > 0);
  if (c.ramp) return ramp(root, c);
  c.names.forEach((name, k) => {
    const button = add(root, "button");
    button.type = "button";
    button.setAttribute("aria-pressed", classes.has(k));
    swatch(button, 0, k);
    add(button, "span", "", name).title = name;
    add(button, "small", "", c.counts[k].toLocaleString("en"));
    button.onclick = () => {
      if (!classes.delete(k)) classes.add(k);
      if (classes.size === c.names.length) classes.clear();
      filter();
      root.classList.toggle("some", classes.size > 0);
      [...root.querySelectorAll("button")].forEach((b, j) => b.setAttribute("aria-pressed", classes.has(j)));
    };
  });
}

function ramp(root, c) {  // of a column of numbers: its colours, and two sliders
  const [low, high] = c.range, canvas = document.createElement("canvas"), g = canvas.getContext("2d");
  [canvas.width, canvas.height, canvas.className] = [64, 1, "ramp"];
  shades().forEach(([fill], k) => { g.fillStyle = fill; g.fillRect(k, 0, 1, 1); });
  const said = (v) => (c.values ? text(c, c.numbers.indexOf(v)) : format(v));  // a date says more than its seconds
  add(root, "small", "", said(low));
  root.append(canvas);
  add(root, "small", "", said(high));
  const kept = document.createElement("small"), ends = ["from", "to"].map((name, k) => {
    const input = add(root, "input");
    Object.assign(input, { type: "range", min: 0, max: 1000, value: range ? (range[k] - low) / (high - low) * 1000 : 1000 * k, title: `${c.name} ${name}` });
    input.setAttribute("aria-label", `${c.name} ${name}`);
    input.oninput = () => {
      const [a, b] = ends.map((e) => low + e.value / 1000 * (high - low));
      range = ends[0].value <= 0 && ends[1].value >= 1000 ? null : [Math.min(a, b), Math.max(a, b)];
      kept.textContent = range && !c.values ? `${format(range[0])} to ${format(range[1])}` : "";
      filter();
    };
    return input;
  });
  root.append(kept);
}

// What was caught

function choose(list) {
  chosen = list;
  isChosen.fill(0);
  for (const i of list) isChosen[i] = 1;
  [queue, playing] = [[], 0];
  $("bar").hidden = $("chosen").hidden = !list.length;
  if (list.length) bar();
  paint();
}

function bar() {
  const root = $("bar"), rows = $("rows"), button = (text, work, name = "") => {
    const b = add(root, "button", name, text);
    b.type = "button";
    b.onclick = work;
    return b;
  };
  root.replaceChildren();
  add(root, "h2", "", `${chosen.length.toLocaleString("en")} of ${n.toLocaleString("en")} chosen`);
  if (data.sounds !== "none") {
    button("▶ Play all", playAll, "main").id = "all";
    button("Skip", next).id = "skip";
    button("■ Stop", stop).id = "stop";
    add(root, "output").id = "which";
  }
  add(root, "span", "gap");
  button("Download CSV", download).id = "csv";
  button("Clear", () => choose([])).id = "clear";
  rows.replaceChildren();
  const table = add(rows, "table"), head = add(add(table, "thead"), "tr"), body = add(table, "tbody");
  columns.forEach((c) => add(head, "th", c.numbers ? "number" : "", c.name));
  for (const i of chosen.slice(0, 200)) {
    const row = add(body, "tr");
    row.dataset.dot = i;
    row.tabIndex = 0;
    columns.forEach((c) => { add(row, "td", c.numbers ? "number" : "", short(c, i)).title = text(c, i); });
    row.onclick = () => { queue = []; hear(i); label(); };
    row.onkeydown = (e) => { if (e.key === "Enter") row.onclick(); };
  }
  if (chosen.length > 200) add(rows, "p", "", `and ${(chosen.length - 200).toLocaleString("en")} more; all are in the CSV`);
  label();
}

function label() {
  if (!$("which")) return;
  $("which").textContent = queue.length ? `${playing} of ${queue.length}` : "";
  $("skip").disabled = $("stop").disabled = !queue.length;
}

function playAll() { [queue, playing] = [chosen, 0]; next(); }

function next() {
  if (!queue.length) return;
  if (playing >= queue.length) return stop();
  hear(queue[playing++]);
  label();
}

function stop() {
  [queue, playing] = [[], 0];
  model.tell("msg:custom", { type: "pause" });
  label();
}

function csv(list) {
  const cell = (v) => (/[",\r\n]|^\s|\s$/.test(v) ? `"${v.replaceAll('"', '""')}"` : v);
  const names = [...columns.map((c) => c.name), ...time ? ["time"] : []];
  const lines = list.map((i) => [...columns.map((c) => text(c, i)), ...time ? [String(+time[i].toFixed(3))] : []]);
  return [names, ...lines].map((row) => row.map(cell).join(",") + "\n").join("");
}

function download() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csv(chosen)], { type: "text/csv" }));
  link.download = "chosen.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// Mouse, fingers, keys

let tool = "pan", path = [], fingers = new Map(), moved = false, pinch = null, awake = false, hinted = 0;
const place = (e) => { const b = box.getBoundingClientRect(); return [e.clientX - b.left, e.clientY - b.top]; };
const ICONS = { pan: "M5 9V6a1.5 1.5 0 0 1 3 0v4V4a1.5 1.5 0 0 1 3 0v6V5a1.5 1.5 0 0 1 3 0v6 -3a1.5 1.5 0 0 1 3 0v5a6 6 0 0 1-6 6h-1a6 6 0 0 1-5-3l-2-4a1.5 1.5 0 0 1 2-2z",
  lasso: "M11 4c4.500 0 8 2.200 8 5.200s-3.500 5.300-8 5.300-8-2.300-8-5.300S6.500 4 11 4zM6 13.500c-1.500 1.500 0 3 1.500 2.500s1.500 2.500-.5 4", more: "M11 5v12M5 11h12", less: "M5 11h12",
  home: "M4 9V4h5M18 9V4h-5M4 13v5h5M18 13v5h-5" };

function toolButton(name, what, work) {
  const button = add($("buttons"), "button"), svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("viewBox", "0 0 22 22");
  line.setAttribute("d", ICONS[name]);
  svg.append(line);
  button.append(svg);
  Object.assign(button, { type: "button", title: what, id: `tool-${name}`, onclick: work });
  button.setAttribute("aria-label", what);
}

function setTool(name) {
  tool = name;
  for (const k of ["pan", "lasso"]) $(`tool-${k}`).setAttribute("aria-pressed", k === name);
  box.classList.toggle("lasso", name === "lasso");
  if (name === "lasso") { wake(true); hint("Draw around the dots that you want."); }
}

function wake(on) {
  awake = on;
  box.classList.toggle("awake", on);
}

function hint(words) {
  $("hint").textContent = words;
  $("hint").classList.add("seen");
  clearTimeout(hinted);
  hinted = setTimeout(() => $("hint").classList.remove("seen"), 2200);
}

function point(i, x, y) {  // what is below the mouse
  if (i !== hover) {
    hover = i;
    box.classList.toggle("dot", i >= 0);
    $("tip").hidden = i < 0;
    if (i >= 0) {
      $("tip").textContent = nameOf(i);
      const shown = [colour, ...columns.keys()].filter((k, at, all) => k !== fileColumn && columns[k] && all.indexOf(k) === at && text(columns[k], i) !== "");
      shown.slice(0, 4).forEach((k) => add($("tip"), "small", "", `${columns[k].name}: ${short(columns[k], i).slice(0, 120)}`));
    }
    drawOver();
    clearTimeout(point.later);
    if (i >= 0 && $("hovering").checked) point.later = setTimeout(() => { queue = []; hear(i); }, 120);
  }
  if (i >= 0) {
    const tip = $("tip"), w = tip.offsetWidth, h = tip.offsetHeight;
    tip.style.left = `${Math.min(Math.max(x + 14, 4), wide - w - 4)}px`;
    tip.style.top = `${y + 16 + h > tall ? Math.max(y - h - 12, 4) : y + 16}px`;
  }
}

function inside(list, x, y) {
  let odd = false;
  for (let a = 0, b = list.length - 1; a < list.length; b = a++) {
    const [x1, y1] = list[a], [x2, y2] = list[b];
    if (y1 > y !== y2 > y && x < (x2 - x1) * (y - y1) / (y2 - y1) + x1) odd = !odd;
  }
  return odd;
}

function caught() {
  const list = path.filter((_, k) => path.length < 400 || k % 2 === 0);
  path = [];
  choose([]);  // what was chosen before does not count
  const result = found().filter((i) => inside(list, ...screen(i)));
  choose(result);
  if (!result.length) hint("No dots there.");
  $("said").textContent = `${result.length} chosen`;
}

box.onpointerdown = (e) => {
  if (e.target.closest("#buttons") || e.button) return;
  box.setPointerCapture(e.pointerId);
  fingers.set(e.pointerId, place(e));
  moved = fingers.size > 1;
  pinch = null;
  path = fingers.size === 1 && (tool === "lasso" || e.shiftKey) ? [place(e)] : [];
};

box.onpointermove = (e) => {
  const [x, y] = place(e), before = fingers.get(e.pointerId);
  if (!before) { if (e.pointerType === "mouse" && !e.target.closest("#buttons")) point(dotAt(x, y, 12), x, y); return; }
  if (fingers.size === 1 && !moved && Math.hypot(x - before[0], y - before[1]) < 4) return;
  moved = true;
  point(-1);
  fingers.set(e.pointerId, [x, y]);
  if (fingers.size > 1) {
    const [a, b] = [...fingers.values()], apart = Math.hypot(a[0] - b[0], a[1] - b[1]), middle = [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
    if (pinch) { pan(middle[0] - pinch.middle[0], middle[1] - pinch.middle[1]); zoom(apart / pinch.apart, ...middle); }
    pinch = { apart, middle };
  } else if (path.length) { path.push([x, y]); drawOver(); }
  else { box.classList.add("drag"); pan(x - before[0], y - before[1]); }
};

box.onpointerup = (e) => {
  if (!fingers.delete(e.pointerId)) return;
  box.classList.remove("drag");
  pinch = null;
  wake(true);
  if (path.length > 2) caught();
  else if (!moved) {
    const i = dotAt(...place(e), e.pointerType === "mouse" ? 12 : 24);
    if (i >= 0) { queue = []; hear(i); label(); }
  }
  path = [];
  drawOver();
};

box.onpointercancel = (e) => { fingers.delete(e.pointerId); path = []; pinch = null; };
box.onpointerleave = () => { clearTimeout(point.later); point(-1); };
box.ondblclick = (e) => { if (!e.target.closest("#buttons") && dotAt(...place(e), 12) < 0) zoom(2, ...place(e)); };
document.addEventListener("pointerdown", (e) => { if (!box.contains(e.target)) wake(false); });
box.addEventListener("wheel", (e) => {
  if (!awake && !e.ctrlKey) return hint("Click the map, then the wheel zooms.");
  e.preventDefault();
  zoom(Math.exp(-e.deltaY * (e.deltaMode ? .05 : e.ctrlKey ? .01 : .0015)), ...place(e));
}, { passive: false });

function walk(dx, dy) {  // to the nearest dot in this direction
  if (target < 0) target = dotAt(wide / 2, tall / 2, Infinity);
  else {
    const [x0, y0] = screen(target);
    let best = -1, least = Infinity;
    for (let i = 0; i < n; i++) {
      if (i === target || !passes[i] || chosen.length && !isChosen[i]) continue;
      const [x, y] = screen(i), along = (x - x0) * dx + (y - y0) * dy, aside = Math.abs((x - x0) * dy - (y - y0) * dx);
      if (along > 1 && along + 2 * aside < least) { least = along + 2 * aside; best = i; }
    }
    if (best >= 0) target = best;
  }
  if (target < 0) return;
  show(target);
  $("said").textContent = `${nameOf(target)}${columns[colour] ? ", " + text(columns[colour], target) : ""}`;
  point(target, ...screen(target));
  paint();
}

const KEYS = [["← → ↑ ↓", "on the map: to the next dot that way"], ["Enter", "on the map: hear it; in the search: choose all that was found"],
  ["+ −  0", "on the map: zoom, and all of it again"], ["Shift + drag", "lasso"], ["Esc", "nothing is chosen, found or filtered any more"], ["/", "search"],
  ["Space", "on the spectrogram: play and pause; ← → move the cursor"]];

box.onkeydown = (e) => {
  if (e.target !== box) return;
  const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[e.key];
  if (way) walk(...way);
  else if ((e.key === "Enter" || e.key === " ") && target >= 0) { queue = []; hear(target); label(); }
  else if (e.key === "+" || e.key === "=") zoom(1.4);
  else if (e.key === "-") zoom(1 / 1.4);
  else if (e.key === "0") { view = { x: 0, y: 0, scale: 1 }; paint(); }
  else return;
  e.preventDefault();
};
box.onfocus = box.onblur = () => drawOver();

document.addEventListener("keydown", (e) => {
  if (e.key === "Escape") {
    [query, $("search").value, range] = ["", "", null];
    classes.clear();
    setTool("pan");
    choose([]);
    legend();
    filter();
    wake(false);
  } else if (e.key === "/" && !/INPUT|SELECT|TEXTAREA/.test(document.activeElement.tagName)) { e.preventDefault(); $("search").focus(); }
});

// The start

function chooseColour(k) {
  colour = k;
  classes.clear();
  range = null;
  legend();
  filter();
  if (current >= 0) tell(current);
}

function prepare(c) {  // a group a dot: which colour it has
  if (c.ramp) {
    const [low, high] = c.range;
    c.groups = Uint8Array.from(c.numbers, (v) => (Number.isNaN(v) ? 64 : Math.min(63, Math.floor((v - low) / Math.max(high - low, 1e-12) * 64))));
  } else if (c.names) {
    c.groups = numbersOf(c.group, Uint8Array);
    c.counts = new Array(c.names.length).fill(0);
    for (const g of c.groups) c.counts[g]++;
  }
}

startPage();
columns.forEach(prepare);
columns.forEach((c, k) => { if (c.groups) add($("colour"), "option", "", c.name).value = k; });
if (!columns[colour]?.groups) colour = columns.findIndex((c) => c.groups);
$("colour").value = colour;
$("colour").parentNode.hidden = colour < 0;
$("colour").onchange = () => chooseColour(+$("colour").value);
const search = () => { clearTimeout(search.later); query = $("search").value.trim().toLowerCase(); filter(); };
$("search").oninput = () => { clearTimeout(search.later); search.later = setTimeout(search, n > 20000 ? 250 : 30); };
$("search").onkeydown = (e) => { if (e.key === "Enter") { search(); if (query) choose(found()); } };
toolButton("pan", "move the map", () => setTool("pan"));
toolButton("lasso", "lasso: catch dots (or hold Shift and drag)", () => setTool("lasso"));
toolButton("more", "zoom in", () => zoom(1.5));
toolButton("less", "zoom out", () => zoom(1 / 1.5));
toolButton("home", "all dots", () => { view = { x: 0, y: 0, scale: 1 }; paint(); });
$("spaces").hidden = spaces.length < 2;
if (spaces.length > 1) spaces.forEach((s, k) => {
  const button = add($("spaces"), "button", "", s.name || `map ${k + 1}`);
  button.type = "button";
  button.setAttribute("aria-pressed", !k);
  button.onclick = () => chooseSpace(k);
});
box.setAttribute("aria-label", `map of ${n} sounds: arrow keys go from dot to dot, Enter plays`);
add($("empty"), "b", "", data.sounds === "none" ? "Click a dot to see what it is" : "Click a dot to hear it");
const HELP = ["Dots that lie close together sound alike to the model.", "Drag to move, click and turn the wheel to zoom.",
  "Lasso many to play, list and save them.", "Click names below the map to see only those."];
const help = add($("empty"), "ul");
for (const line of HELP) add(help, "li", "", line);
$("player").hidden = true;
$("hovering").parentNode.hidden = data.sounds === "none";
for (const [key, what] of KEYS) { add(add($("keys"), "span"), "kbd", "", key); add($("keys"), "span", "", what); }
sortIntoGrid();
setTool("pan");
wake(false);
themed.push(() => { legend(); paint(); if (current >= 0) tell(current); });
legend();
new ResizeObserver(resize).observe(box);
resize();

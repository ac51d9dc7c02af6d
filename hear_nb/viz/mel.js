// The picture that `hear_nb.viz.player.picture` makes in Python, from samples in the browser: log-mel, 128 rows, magma.
const RATE = 16000, N_FFT = 1024, WINDOW = 400, HOP = 160, MELS = 128, PAD = N_FFT / 2;

const hann = Float64Array.from({ length: WINDOW }, (_, i) => .5 - .5 * Math.cos(2 * Math.PI * i / WINDOW));
const reversed = Uint16Array.from({ length: N_FFT }, (_, i) => parseInt(i.toString(2).padStart(10, "0").split("").reverse().join(""), 2));
const cosine = Float64Array.from({ length: PAD }, (_, i) => Math.cos(2 * Math.PI * i / N_FFT));
const sine = Float64Array.from({ length: PAD }, (_, i) => -Math.sin(2 * Math.PI * i / N_FFT));

const topMel = 2595 * Math.log10(1 + RATE / 2 / 700);  // HTK's scale
const edge = Array.from({ length: MELS + 2 }, (_, i) => 700 * (10 ** (topMel * i / (MELS + 1) / 2595) - 1));
const rowHz = edge.slice(1, -1);  // the centre of each row

const bands = (() => {  // of each mel row: its first bin, and the weights from there; triangles of height 1
  return Array.from({ length: MELS }, (_, m) => {
    const weights = [];
    let first = 0;
    for (let k = 0; k <= PAD; k++) {
      const hz = k * RATE / N_FFT;
      const w = Math.min((hz - edge[m]) / (edge[m + 1] - edge[m]), (edge[m + 2] - hz) / (edge[m + 2] - edge[m + 1]));
      if (w > 0) { if (!weights.length) first = k; weights.push(w); }
    }
    return { first, weights };
  });
})();

function transform(re, im) {  // in place, 1024 complex numbers
  for (let i = 0; i < N_FFT; i++) {
    const j = reversed[i];
    if (j > i) { [re[i], re[j]] = [re[j], re[i]]; [im[i], im[j]] = [im[j], im[i]]; }
  }
  for (let half = 1; half < N_FFT; half *= 2) {
    const step = PAD / half;
    for (let start = 0; start < N_FFT; start += 2 * half) {
      for (let k = 0; k < half; k++) {
        const a = start + k, b = a + half, c = cosine[k * step], s = sine[k * step];
        const x = re[b] * c - im[b] * s, y = re[b] * s + im[b] * c;
        re[b] = re[a] - x; im[b] = im[a] - y; re[a] += x; im[a] += y;
      }
    }
  }
}

function logMel(samples, frames) {  // (frames.length, 128) log-mel values of these frames, 100 a second
  const n = samples.length, last = n - 1, out = new Float32Array(frames.length * MELS);
  const re = new Float64Array(N_FFT), im = new Float64Array(N_FFT), power = [0, 0].map(() => new Float64Array(PAD + 1));
  let mean = 0;
  for (let i = 0; i < n; i++) mean += samples[i];
  mean /= n;
  const fill = (into, frame) => {  // the clip is reflected at its ends, the window lies in the middle of 1024 samples
    into.fill(0);
    for (let i = 0, at = frame * HOP - WINDOW / 2; i < WINDOW; i++, at++) {
      const j = last ? last - Math.abs(Math.abs(at) % (2 * last) - last) : 0;
      into[PAD - WINDOW / 2 + i] = hann[i] * (samples[j] - mean);
    }
  };
  for (let f = 0; f < frames.length; f += 2) {  // two real frames are one complex transform
    fill(re, frames[f]);
    fill(im, frames[Math.min(f + 1, frames.length - 1)]);
    transform(re, im);
    for (let k = 0; k <= PAD; k++) {
      const j = (N_FFT - k) % N_FFT;
      power[0][k] = ((re[k] + re[j]) ** 2 + (im[k] - im[j]) ** 2) / 4;
      power[1][k] = ((im[k] + im[j]) ** 2 + (re[k] - re[j]) ** 2) / 4;
    }
    for (let which = 0; which < 2 && f + which < frames.length; which++) {
      for (let m = 0; m < MELS; m++) {
        const { first, weights } = bands[m];
        let sum = 0;
        for (let k = 0; k < weights.length; k++) sum += weights[k] * power[which][first + k];
        out[(f + which) * MELS + m] = Math.log(sum + 1e-6);
      }
    }
  }
  return out;
}

function melPicture(samples, palette, columns = 2000) {  // an ImageData of 128 rows; `palette` holds 256 colours of 3 bytes
  const frames = 1 + Math.floor(samples.length / HOP), each = Math.ceil(frames / columns), wide = Math.ceil(frames / each);
  const tried = Math.min(each, 4);  // of an hour, not every frame is looked at
  const which = [], shares = new Uint8Array(wide);
  for (let c = 0; c < wide; c++) {
    for (let k = 0; k < tried; k++) {
      const frame = c * each + Math.floor(k * each / tried);
      if (frame < frames) { which.push(frame); shares[c]++; }
    }
  }
  const values = logMel(samples, which), mean = new Float32Array(wide * MELS);
  for (let c = 0, at = 0; c < wide; c++)
    for (let k = 0; k < shares[c]; k++, at++)
      for (let m = 0; m < MELS; m++) mean[c * MELS + m] += values[at * MELS + m] / shares[c];
  let low = Infinity, high = -Infinity;
  for (const v of mean) { if (v < low) low = v; if (v > high) high = v; }
  const image = new ImageData(wide, MELS), scale = 255 / Math.max(high - low, 1e-6);
  for (let c = 0; c < wide; c++) {
    for (let m = 0; m < MELS; m++) {
      const shade = 3 * Math.round((mean[c * MELS + m] - low) * scale), at = 4 * ((MELS - 1 - m) * wide + c);
      for (let k = 0; k < 3; k++) image.data[at + k] = palette[shade + k];
      image.data[at + 3] = 255;
    }
  }
  return image;
}

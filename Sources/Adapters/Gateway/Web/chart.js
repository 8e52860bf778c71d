// Lines over an axis of steps, drawn as SVG from numbers: no library, no style that the page's policy forbids. What it shows
// is also in its description, and in a table beside it.

const space = 'http://www.w3.org/2000/svg';
const margin = { top: 12, right: 14, bottom: 34, left: 46 };
const heightPixels = 240;
const widthMin = 240;

function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(space, tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/** About `wanted` round numbers that cover what lies between. */
export function ticks(from, to, wanted) {
  const span = to - from;
  if (!(span > 0)) return [from];
  const raw = span / Math.max(1, wanted);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= raw);
  const list = [];
  for (let value = Math.ceil(from / step - 1e-9) * step; value <= to + step * 1e-9; value += step) list.push(Number(value.toPrecision(12)));
  return list;
}

const shown = (value) => String(Number(value.toPrecision(3)));

/** A line of so many points at most: where there are more, neighbours become their mean. */
export class Series {
  constructor(name, kind, pointsMax = 1000) {
    Object.assign(this, { name, kind, pointsMax, points: [], stride: 1, open: [] });
  }

  add(x, y) {
    if (!Number.isFinite(x) || !Number.isFinite(y)) return;
    this.last = { x, y };
    this.open.push([x, y]);
    if (this.open.length < this.stride) return;
    this.points.push(mean(this.open));
    this.open = [];
    if (this.points.length < this.pointsMax) return;
    const halves = [];
    for (let i = 0; i + 1 < this.points.length; i += 2) halves.push(mean(this.points.slice(i, i + 2)));
    this.points = halves;
    this.stride *= 2;
  }

  /** Everything before is taken back: the run says its lines again. */
  clear() { Object.assign(this, { points: [], stride: 1, open: [], last: undefined }); }

  get all() { return this.open.length ? [...this.points, mean(this.open)] : this.points; }
}

const mean = (points) => [points.reduce((sum, p) => sum + p[0], 0) / points.length, points.reduce((sum, p) => sum + p[1], 0) / points.length];

/** Keeps a drawing as wide as its place. `data()` gives {title, description, xTitle, yTitle, xMax, series}. */
export function chart(place, data, signal) {
  let frame = 0;
  const draw = () => { frame = 0; place.replaceChildren(drawing(data(), Math.max(widthMin, Math.floor(place.clientWidth)))); };
  const later = () => { if (!frame) frame = requestAnimationFrame(draw); };
  const observer = new ResizeObserver(later);
  observer.observe(place);
  signal.addEventListener('abort', () => { observer.disconnect(); cancelAnimationFrame(frame); });
  return later;
}

function drawing({ title, description, xTitle, yTitle, xMax, series }, width) {
  const lines = series.map((one) => ({ ...one, name: one.name, kind: one.kind, points: one.all })).filter((one) => one.points.length);
  const values = lines.flatMap((one) => one.points.map((p) => p[1]));
  const [low, high] = values.length ? [Math.min(...values), Math.max(...values)] : [0, 1];
  const room = high > low ? (high - low) * 0.06 : Math.max(Math.abs(high) * 0.1, 0.1);
  const [from, to] = [Math.max(0, low - room), high + room];
  const right = Math.max(1, xMax ?? 0, ...lines.flatMap((one) => one.points.map((p) => p[0])));
  const inner = { width: width - margin.left - margin.right, height: heightPixels - margin.top - margin.bottom };
  const x = (value) => margin.left + (value / right) * inner.width;
  const y = (value) => margin.top + (1 - (value - from) / (to - from)) * inner.height;
  const at = (value) => value.toFixed(1);
  const bottom = margin.top + inner.height;
  const element = svg('svg', { class: 'chart', role: 'img', viewBox: `0 0 ${width} ${heightPixels}`, width, height: heightPixels, 'aria-labelledby': 'chart-title chart-desc' },
    svg('title', { id: 'chart-title' }, title), svg('desc', { id: 'chart-desc' }, description));
  for (const value of ticks(from, to, 4)) {
    element.append(svg('line', { class: 'chart-grid', x1: margin.left, x2: width - margin.right, y1: at(y(value)), y2: at(y(value)) }),
      svg('text', { class: 'chart-text', x: margin.left - 7, y: at(y(value) + 4), 'text-anchor': 'end' }, shown(value)));
  }
  const steps = ticks(0, right, Math.max(2, Math.floor(inner.width / 90))).filter((value) => Number.isInteger(value));
  for (const value of steps) {
    element.append(svg('text', { class: 'chart-text', x: at(x(value)), y: bottom + 16, 'text-anchor': value === 0 ? 'start' : x(value) > width - 40 ? 'end' : 'middle' }, String(value)));
  }
  element.append(svg('line', { class: 'chart-axis', x1: margin.left, x2: width - margin.right, y1: bottom, y2: bottom }),
    svg('text', { class: 'chart-text', x: margin.left + inner.width / 2, y: heightPixels - 3, 'text-anchor': 'middle' }, xTitle),
    svg('text', { class: 'chart-text', x: margin.left + 4, y: margin.top + 2 }, yTitle));
  for (const line of lines) {
    element.append(svg('polyline', { class: `chart-line ${line.kind}`, points: line.points.map((p) => `${at(x(p[0]))},${at(y(p[1]))}`).join(' ') }));
    if (line.kind === 'judged') for (const p of line.points) element.append(svg('circle', { class: 'chart-point judged', cx: at(x(p[0])), cy: at(y(p[1])), r: 3.5 }));
  }
  return element;
}
